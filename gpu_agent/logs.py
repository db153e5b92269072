"""Structured log lines: readable in a terminal, or JSON. Never prompts, tokens or host secrets."""

import logging
import sys
from typing import Any, Literal

import structlog

from gpu_agent.config import Config


def set_up(config: Config) -> None:
    """Route structlog and the libraries' stdlib loggers through one handler on standard error."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Mask(config.token),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *_renderers(config.log_format),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.log_level)
    # These log every request (with addresses that carry attempt tokens) at INFO.
    for noisy in ("httpx", "httpcore", "websockets", "rq"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def bind_agent(agent: str) -> None:
    """Name this agent in every line that follows, in all threads that copy this context."""
    structlog.contextvars.bind_contextvars(agent=agent[:8])


def _renderers(log_format: Literal["console", "json"]) -> list[Any]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]


class _Mask:
    """Blanks the agent's token wherever it turns up, e.g. in an address inside an error text."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __call__(self, logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        for key, value in event.items():
            if isinstance(value, str) and self._secret in value:
                event[key] = value.replace(self._secret, "…")
        return event
