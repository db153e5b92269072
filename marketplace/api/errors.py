"""Every error of the student API as {code, message, field, problems}; never a traceback."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import redis.exceptions
import structlog
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.parsers import BaseParser
from rest_framework.response import Response

from accounts.ledger.posting import InsufficientCredits, KeyConflict
from jobs import artifacts, uploads
from jobs.job_types.base import Refusal
from marketplace.api import strict_json
from marketplace.api.answers import RETRY_AFTER_SECONDS, error_body
from marketplace.market import orders, template_quotes

log = structlog.get_logger(__name__)


class ApiError(exceptions.APIException):
    """An error a view raises itself."""

    def __init__(self, status: int, code: str, message: str, field: str = "", **more: Any) -> None:
        super().__init__(message, code)
        self.status_code = status
        self.body = error_body(code, message, field, **more)
        self.headers = _headers(status)


class StrictJSONParser(BaseParser):
    """DRF's JSON parser, by the strict decoder."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return strict_json.parse(stream.read())
        except strict_json.BadJson as error:
            raise ApiError(400, "bad_json", f"{error}.") from error


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER: what any exception of a view is answered with."""
    status, body, headers = _answer(error)
    if status >= 500:
        write = log.warning if status == 503 else log.error
        write(
            "api.failed", status=status, fault=type(error).__name__, exc_info=error if status == 500 else None
        )
    return Response(body, status=status, headers=headers)


def _answer(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    if isinstance(error, exceptions.APIException):
        return _of_framework(error)
    for kind, make in _ANSWERS.items():
        if isinstance(error, kind):
            status, body = make(error)
            return status, body, _headers(status)
    return 500, error_body("internal", "The site failed; it is logged with this request's id."), {}


def _of_framework(error: exceptions.APIException) -> tuple[int, dict[str, Any], dict[str, str]]:
    if isinstance(error, ApiError):
        return error.status_code, error.body, error.headers
    headers = _headers(error.status_code)
    if isinstance(error, exceptions.ValidationError):
        return error.status_code, _of_validation(error), headers
    if error.status_code == 401:
        headers["WWW-Authenticate"] = getattr(error, "auth_header", "Bearer")
    codes = error.get_codes()
    code = codes if isinstance(codes, str) else "error"
    code = {"authentication_failed": "not_authenticated", "permission_denied": "forbidden"}.get(code, code)
    return error.status_code, error_body(code, str(error.detail)), headers


def _of_validation(error: exceptions.ValidationError) -> dict[str, Any]:
    """The first complaint on top, all of them under `problems`."""
    found = list(_complaints(error.detail, ""))
    problems = [_problem("invalid", message, field) for field, message in found]
    field, message = found[0] if found else ("", "The request is not valid.")
    return {**error_body("invalid", message, field), "problems": problems}


def _complaints(detail: Any, field: str) -> Any:
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            where = "" if name == "non_field_errors" else str(name)
            yield from _complaints(inner, f"{field}.{where}".strip("."))
    elif isinstance(detail, list):
        for inner in detail:
            yield from _complaints(inner, field)
    else:
        yield field, str(detail)


def _of_refusal(error: Refusal) -> tuple[int, dict[str, Any]]:
    first = error.problems[0]
    problems = [asdict(problem) for problem in error.problems]
    body = error_body(first.code, first.message, first.field or "workflow", node=first.node)
    return 400, {**body, "node_type": first.node_type, "problems": problems}


def _of_credits(error: InsufficientCredits) -> tuple[int, dict[str, Any]]:
    amounts: dict[str, Any] = {
        "needed_milli": error.needed_milli,
        "available_milli": error.available_milli,
        "shortfall_milli": error.shortfall_milli,
    }
    return 402, {**error_body("insufficient_credits", f"{error}."), **amounts}


def _of_spent(error: orders.QuoteSpent) -> tuple[int, dict[str, Any]]:
    return 409, error_body("quote_spent", str(error), "quote", job=str(error.job.pk))


def _of_outage(error: Exception) -> tuple[int, dict[str, Any]]:
    return 503, error_body("unavailable", "A data store cannot be reached; try again.")


def _of_upload(error: uploads.BadUpload) -> tuple[int, dict[str, Any]]:
    return error.status, error_body(error.code, str(error), "file")


def _plain(status: int, code: str, field: str = "", message: str = "") -> "_Answer":
    return lambda error: (status, error_body(code, message or str(error), field))


def _problem(code: str, message: str, field: str) -> dict[str, str]:
    return {"code": code, "message": message, "node": "", "node_type": "", "field": field}


def _headers(status: int) -> dict[str, str]:
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if status in (429, 503, 507) else {}


_Answer = Callable[[Any], tuple[int, dict[str, Any]]]
_NOT_FOUND = "There is no such thing here."
# The first that fits answers: a kind stands before the kinds it is made of.
_ANSWERS: dict[type[Exception], _Answer] = {
    Refusal: _of_refusal,
    InsufficientCredits: _of_credits,
    orders.QuoteUnknown: _plain(404, "quote_unknown", "quote"),
    orders.QuoteExpired: _plain(410, "quote_expired", "quote"),
    orders.QuoteSpent: _of_spent,
    KeyConflict: _plain(409, "key_conflict", "Idempotency-Key"),
    orders.WaitingLimit: _plain(429, "too_many_waiting"),
    orders.WorkshopClosed: _plain(409, "workshop_closed", "workshop"),
    orders.NoAgentYet: _plain(503, "no_agent"),
    orders.NotAllowed: _plain(403, "forbidden"),
    template_quotes.LicenceBarred: _plain(403, "licence_barred", "template"),
    orders.BidsNotUsed: _plain(409, "bids_not_used", "bid"),
    orders.BadBid: _plain(400, "bad_bid", "bid"),
    orders.BidsFrozen: _plain(409, "bids_frozen", "bid"),
    orders.BidTooLate: _plain(409, "bid_too_late", "bid"),
    orders.HasCredits: _plain(409, "has_credits", "unpaid"),
    orders.NothingToBuy: _plain(409, "nothing_to_buy"),
    uploads.BadUpload: _of_upload,
    artifacts.StoreFull: _plain(507, "store_full", "", "The store is full; nothing was kept."),
    ObjectDoesNotExist: _plain(404, "not_found", "", _NOT_FOUND),
    Http404: _plain(404, "not_found", "", _NOT_FOUND),
    PermissionDenied: _plain(403, "forbidden", "", "You may not do that."),
    OperationalError: _of_outage,
    InterfaceError: _of_outage,
    redis.exceptions.RedisError: _of_outage,
}
