"""Log lines carry the ids that lead through a job's way, and never a prompt or a secret."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from marketplace import logs


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is logged as JSON while a test runs."""
    logs.configure("json")
    stream = io.StringIO()
    handler = next(one for one in logging.getLogger().handlers if one.name == "stream")
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield stream
    structlog.contextvars.clear_contextvars()
    logs.apply(settings.LOGGING)


def lines(written: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_bound_ids_stand_in_every_line_of_whoever_writes_it(written: io.StringIO) -> None:
    structlog.contextvars.bind_contextvars(request_id="r1", job="j1", attempt=7, agent="a1")
    structlog.get_logger("ours").info("delivered")
    logging.getLogger("of.a.library").warning("slow: %s", "query")
    ids = {"request_id": "r1", "job": "j1", "attempt": 7, "agent": "a1"}
    assert [line["event"] for line in lines(written)] == ["delivered", "slow: query"]
    assert all(line.items() >= ids.items() for line in lines(written))


@pytest.mark.parametrize(
    "name", ["password", "prompt", "workflow", "api_token", "AUTHORIZATION", "client_secret", "cookie"]
)
def test_secrets_and_prompts_are_withheld_by_their_names(written: io.StringIO, name: str) -> None:
    structlog.get_logger("ours").info("seen", **{name: "a cat in the rain", "headers": {name: "a cat"}})
    assert "cat" not in written.getvalue()
    assert lines(written)[0][name] == logs.WITHHELD


def test_ids_that_only_sound_like_secrets_are_shown(written: io.StringIO) -> None:
    structlog.get_logger("ours").info("seen", prompt_id="p1", fencing_token=3, workflow_sha256="ab")
    assert (
        lines(written)[0].items() >= {"prompt_id": "p1", "fencing_token": 3, "workflow_sha256": "ab"}.items()
    )


def test_tracebacks_come_without_local_variables(written: io.StringIO) -> None:
    def paint(description: str) -> None:
        raise ZeroDivisionError("no light")

    try:
        paint("a cat " + "in the rain")
    except ZeroDivisionError:
        structlog.get_logger("ours").exception("painting failed")
    assert "no light" in str(lines(written)[0]["exception"])
    assert "a cat in the rain" not in written.getvalue()


def test_a_long_value_is_cut_and_says_how_long_it_was(written: io.StringIO) -> None:
    structlog.get_logger("ours").info("answered", body="x" * 2000)
    body = str(lines(written)[0]["body"])
    assert len(body) < 600
    assert body.endswith("(2000 characters)")


def test_the_talk_of_http_clients_is_left_out(written: io.StringIO) -> None:
    logging.getLogger("httpx").info("GET http://127.0.0.1/files/1?signature=abc")
    logging.getLogger("httpx").warning("gave up")
    assert [line["event"] for line in lines(written)] == ["gave up"]


def test_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(ImproperlyConfigured, match="LOG_FORMAT must be one of console, json, not 'xml'"):
        logs.django_logging("xml")
