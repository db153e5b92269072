"""The statement: every credit that moved, with the balance after it, in bookkeeping's words."""

import csv
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts.ledger import balances
from accounts.ledger.balances import StatementLine
from jobs import queries
from jobs.models import Job
from marketplace.web.context import account_of
from marketplace.web.guard import SignedInRequest, signed_in
from marketplace.web.numbers import credits_exact
from marketplace.web.words import Badge

PAGE_LINES = 50
CSV_PAGE_LINES = 500
_JOB_NUMBER = re.compile(r"job \d+")  # the ledger's plain reason for a job's lines: its link says it better
KINDS = {
    "hold": Badge("hold", "pause", _("Held")),
    "capture": Badge("", "coin", _("Captured")),
    "release": Badge("done", "undo", _("Released")),
    "grant": Badge("done", "plus", _("Granted")),
    "allowance": Badge("done", "plus", _("Allowance")),
    "refund": Badge("done", "undo", _("Refunded")),
    "expire": Badge("", "clock", _("Expired")),
    "transfer_out": Badge("", "arrow", _("Passed on")),
    "transfer_in": Badge("done", "plus", _("Received")),
    "undo": Badge("bad", "undo", _("Taken back")),
}
FILTERS: Sequence[tuple[str, Promise | str, tuple[str, ...]]] = (
    ("", _("All entries"), ()),
    ("in", _("Received"), ("grant", "allowance", "refund", "transfer_in")),
    ("held", _("Held"), ("hold",)),
    ("captured", _("Captured"), ("capture",)),
    ("released", _("Released"), ("release",)),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line with what people read beside it. `captured_milli` is negative; None: nothing was captured."""

    line: StatementLine
    badge: Badge
    job: Job | None
    captured_milli: int | None
    note: str


@require_safe
@signed_in
def statement(request: SignedInRequest) -> HttpResponse:
    """Newest first, fifty a page, by key: `?before=<seq>`, `?show=` one of FILTERS."""
    account_id = account_of(request)
    show, kinds = _filter(request.GET.get("show", ""))
    before = _key(request.GET.get("before", ""))
    lines = []
    if account_id is not None:
        lines = balances.statement(account_id, before=before, limit=PAGE_LINES + 1, kinds=kinds)
    more = len(lines) > PAGE_LINES
    lines = lines[:PAGE_LINES]
    context: dict[str, Any] = {
        "section": "statement",
        "rows": _rows(request, lines),
        "older": lines[-1].seq if more else None,
        "newest": before is None,
        "filters": [(word, label) for word, label, _kinds in FILTERS],
        "show": show,
    }
    return render(request, "web/statement.html", context)


@require_safe
@signed_in
def csv_file(request: SignedInRequest) -> HttpResponseBase:
    """All lines, oldest page last, as a spreadsheet reads them: plain numbers, ISO times in UTC."""
    response = StreamingHttpResponse(
        _csv(request, account_of(request)), content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = 'attachment; filename="statement.csv"'
    return response


def _rows(request: SignedInRequest, lines: Sequence[StatementLine]) -> list[Row]:
    ids = {job_id for line in lines if (job_id := _job_id(line.subject))}
    jobs = {job.pk: job for job in queries.visible_jobs(request.user).filter(pk__in=ids)} if ids else {}
    return [
        Row(
            line=line,
            badge=KINDS[line.kind],
            job=jobs.get(_job_id(line.subject) or uuid.UUID(int=0)),
            captured_milli=line.amount_milli if line.kind == "capture" else None,
            note=_note(line),
        )
        for line in lines
    ]


def _note(line: StatementLine) -> str:
    """What the badge doesn't say: what a capture gave back, else why the line was written."""
    if line.kind == "capture":
        released = {"amount": credits_exact(line.available_change_milli)}
        return gettext("released %(amount)s") % released if line.available_change_milli else ""
    return "" if _JOB_NUMBER.fullmatch(line.reason) else line.reason


def _job_id(subject: str) -> uuid.UUID | None:
    kind, _colon, rest = subject.partition(":")
    if kind != "job":
        return None
    try:
        return uuid.UUID(rest)
    except ValueError:
        return None


def _filter(asked: str) -> tuple[str, tuple[str, ...]]:
    return next(((word, kinds) for word, _label, kinds in FILTERS if word == asked), ("", ()))


def _key(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 19 else None


class _Echo:
    """What csv writes to: gives each line back instead of keeping it."""

    def write(self, text: str) -> str:
        return text


def _csv(request: SignedInRequest, account_id: int | None) -> Iterator[str]:
    writer = csv.writer(_Echo())
    columns = ("number", "time", "entry", "amount", "available_change", "held_change", "available", "held")
    yield writer.writerow([*columns, "job", "title", "reason"])
    before: int | None = None
    while account_id is not None:
        lines = balances.statement(account_id, before=before, limit=CSV_PAGE_LINES)
        for row in _rows(request, lines):
            yield writer.writerow(_cells(row))
        if len(lines) < CSV_PAGE_LINES:
            return
        before = lines[-1].seq


def _cells(row: Row) -> list[str]:
    line = row.line
    amounts = (
        line.amount_milli,
        line.available_change_milli,
        line.held_change_milli,
        line.available_milli,
        line.held_milli,
    )
    return [
        str(line.seq),
        line.at.astimezone(timezone.get_fixed_timezone(0)).isoformat(timespec="seconds"),
        line.kind,
        *(f"{milli / 1000:.2f}" for milli in amounts),
        str(row.job.number) if row.job else "",
        _harmless(row.job.title) if row.job else "",
        _harmless(line.reason),
    ]


def _harmless(text: str) -> str:
    """A text a spreadsheet will not take for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
