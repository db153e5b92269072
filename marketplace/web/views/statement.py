"""The statement: every credit that moved, with the balance after it, in bookkeeping's words."""

import csv
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts.ledger import balances
from accounts.ledger.balances import Balance, StatementLine
from jobs import queries
from jobs.models import Job
from marketplace.web.context import account_of, balance_of
from marketplace.web.guard import SignedInRequest, signed_in
from marketplace.web.numbers import credits_exact
from marketplace.web.words import Badge

PAGE_LINES = 50
CSV_PAGE_LINES = 500
NOT_A_TIME = _("as_of: “%s” is not a time. Write it as 2026-03-31T18:00.")
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
    ("gone", _("Expired and taken back"), ("expire", "undo", "transfer_out")),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line with what people read beside it. `captured_milli` is negative; None: nothing was captured."""

    line: StatementLine
    badge: Badge
    job: Job | None
    captured_milli: int | None
    note: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Which lines one wants to see. `as_of` None: up to now; `wrong`: what was typed is no time."""

    show: str
    kinds: tuple[str, ...]
    before: int | None
    as_of: datetime | None
    as_of_text: str
    wrong: bool

    @property
    def query(self) -> str:
        """For links that keep filter and time."""
        kept = {"show": self.show, "as_of": self.as_of_text if self.as_of else ""}
        return urlencode({name: value for name, value in kept.items() if value})


@require_safe
@signed_in
def statement(request: SignedInRequest) -> HttpResponse:
    """Newest first, fifty a page: `?before=<seq>`, `?show=` one of FILTERS, `?as_of=` a local time."""
    account_id = account_of(request)
    asked = _asked(request)
    lines = []
    then = None
    if account_id is not None and not asked.wrong:
        lines = balances.statement(
            account_id, before=asked.before, limit=PAGE_LINES + 1, as_of=asked.as_of, kinds=asked.kinds
        )
        then = balances.balance(account_id, as_of=asked.as_of) if asked.as_of else None
    more = len(lines) > PAGE_LINES
    lines = lines[:PAGE_LINES]
    context: dict[str, Any] = {
        "section": "statement",
        "rows": _rows(request, lines),
        "older": lines[-1].seq if more else None,
        "newest": asked.before is None,
        "filters": [(word, label) for word, label, _kinds in FILTERS],
        "asked": asked,
        "shown": _shown(request, then),
    }
    return render(request, "web/statement.html", context, status=400 if asked.wrong else 200)


@require_safe
@signed_in
def csv_file(request: SignedInRequest) -> HttpResponseBase:
    """The lines asked for, oldest last, as a spreadsheet reads them: plain numbers, ISO times in UTC."""
    asked = _asked(request)
    if asked.wrong:
        return HttpResponse(
            NOT_A_TIME % asked.as_of_text, status=400, content_type="text/plain; charset=utf-8"
        )
    response = StreamingHttpResponse(
        _csv(request, account_of(request), asked), content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = 'attachment; filename="statement.csv"'
    return response


def _asked(request: SignedInRequest) -> Asked:
    show, kinds = _filter(request.GET.get("show", ""))
    text = request.GET.get("as_of", "").strip()[:40]
    as_of = _time(text) if text else None
    before = _key(request.GET.get("before", ""))
    return Asked(show, kinds, before, as_of, text, wrong=bool(text) and as_of is None)


def _time(text: str) -> datetime | None:
    """A time as the browser's field writes it, in the workshop's zone, to the end of the minute it names."""
    try:
        told = datetime.fromisoformat(text)
        aware = told if told.tzinfo else timezone.make_aware(told)
        return aware + timedelta(minutes=1, microseconds=-1) if told.second == 0 else aware
    except (ValueError, OverflowError):
        return None


def _shown(request: SignedInRequest, then: Balance | None) -> dict[str, int]:
    """The balance the page is about: now's, or that of the time asked for."""
    if then is None:
        return balance_of(request) or {"available_milli": 0, "held_milli": 0, "total_milli": 0}
    return {
        "available_milli": then.available_milli,
        "held_milli": then.held_milli,
        "total_milli": then.available_milli + then.held_milli,
    }


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


def _csv(request: SignedInRequest, account_id: int | None, asked: Asked) -> Iterator[str]:
    writer = csv.writer(_Echo())
    columns = ("number", "time", "entry", "amount", "available_change", "held_change", "available", "held")
    yield writer.writerow([*columns, "job", "title", "reason"])
    before: int | None = None
    while account_id is not None:
        lines = balances.statement(
            account_id, before=before, limit=CSV_PAGE_LINES, as_of=asked.as_of, kinds=asked.kinds
        )
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
