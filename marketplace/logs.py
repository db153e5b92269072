"""Structured log lines of the site's processes: readable in a terminal, or JSON with LOG_FORMAT=json.

One job can be followed through every process by the ids bound with `structlog.contextvars`: `request_id`,
`job`, `attempt`, `agent`. Prompts and secrets never reach a line: values under such names are withheld,
long values are cut, tracebacks come without local variables.
"""

import logging.config
from collections.abc import MutableMapping
from typing import Any

import structlog
from django.core.exceptions import ImproperlyConfigured

FORMATS = ("console", "json")
LONGEST_VALUE_CHARACTERS = 500
WITHHELD = "(withheld)"
WITHHELD_WORDS = (
    "authorization", "cookie", "credential", "graph", "password", "prompt", "secret", "session_key", "token",
    "workflow",
)  # fmt: skip
SHOWN_ALTHOUGH_NAMED_SO = frozenset({"fencing_token", "prompt_id", "workflow_bytes", "workflow_sha256"})

Event = MutableMapping[str, Any]


def django_logging(log_format: str) -> dict[str, Any]:
    """The LOGGING setting. ImproperlyConfigured unless `log_format` is one of FORMATS."""
    if log_format not in FORMATS:
        raise ImproperlyConfigured(f"LOG_FORMAT must be one of {', '.join(FORMATS)}, not {log_format!r}")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _shared_processors(),
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *_rendering(log_format),
                ],
            }
        },
        "handlers": {
            "stream": {
                "class": "logging.StreamHandler",
                "formatter": "structured",
                "stream": "ext://sys.stdout",
            }
        },
        "root": {"handlers": ["stream"], "level": "INFO"},
        "loggers": {
            # These bring handlers of their own; with them every line would come twice, once unstructured.
            **{name: {"handlers": [], "propagate": True} for name in ("uvicorn", "uvicorn.error", "django")},
            # Each names URLs, which carry tokens and signatures; the request's own line says what matters.
            **{name: {"handlers": [], "level": "WARNING", "propagate": True} for name in _TALKATIVE},
        },
    }


_TALKATIVE = ("asyncio", "django.server", "httpcore", "httpx", "rq.worker", "uvicorn.access")


def apply(config: dict[str, Any]) -> None:
    """Django's LOGGING_CONFIG: set up the standard library's logging and structlog on top of it."""
    logging.config.dictConfig(config)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def configure(log_format: str) -> None:
    """Set up logging in a process that has no Django settings, such as the supervisor's."""
    apply(django_logging(log_format))


def _shared_processors() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        withhold,
    ]


def _rendering(log_format: str) -> list[Any]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    # The default traceback formatter may print local variables, and with them prompts.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=plain)]


def withhold(_logger: Any, _method: str, event: Event) -> Event:
    """Processor: hide values named like secrets or prompts, and cut long ones."""
    for name, value in event.items():
        if name == "exc_info" or name.startswith("_"):
            continue
        event[name] = _presentable(name, value)
    return event


def _presentable(name: str, value: Any) -> Any:
    if _is_private(name):
        return WITHHELD
    if isinstance(value, dict):
        return {key: _presentable(str(key), inner) for key, inner in value.items()}
    if isinstance(value, str) and len(value) > LONGEST_VALUE_CHARACTERS:
        return f"{value[:LONGEST_VALUE_CHARACTERS]}… ({len(value)} characters)"
    return value


def _is_private(name: str) -> bool:
    plain = name.lower()
    return plain not in SHOWN_ALTHOUGH_NAMED_SO and any(word in plain for word in WITHHELD_WORDS)
