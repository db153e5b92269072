"""What time does to credits: the hourly allowance and expiry, settled lazily and in time order.

An hour of a class session gives the workshop's rate at its start, or on joining to whoever joins during
it. Each hour has one key per account, so it is given once however often and late it is settled; terms are
those in force at the hour. Postings on an account that is due wait for `settle`, so results do not depend
on when it runs.
"""

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from django.db import DatabaseError, transaction
from django.db.models import QuerySet

from accounts import clock
from accounts.ledger.books import Book
from accounts.ledger.keys import key_for
from accounts.ledger.lots import GRACE, NEVER, Portion
from accounts.ledger.models import AllowanceTerm, LedgerAccount, LedgerTransaction
from accounts.models import ClassSession, Enrolment

HOUR = timedelta(hours=1)
HOURS_NAMESPACE = uuid.UUID("6e4f2f6c-64a5-4c0b-9d0c-0f1f0f2a7a10")

log = structlog.get_logger(__name__)


class Hour(NamedTuple):
    """An open hour that an account gets: when, and the key and subject of its transaction."""

    at: datetime
    key: uuid.UUID
    subject: str


def settle(account_id: int) -> bool:
    """Bring one account up to the present; True if it was due. NoSuchAccount."""
    with transaction.atomic():
        book = Book.open(account_id)
        return settle_book(book)


def settle_book(book: Book) -> bool:
    """The same for an account whose lock is held."""
    moment = clock.now()
    if book.account.due_at > moment:
        return False
    hours = _hours(book, moment)
    due = next(hours, None)
    while True:
        expiring = min(book.portions, key=lambda p: p.ends_at(book.course_end), default=None)
        expires_at = expiring.ends_at(book.course_end) if expiring is not None else NEVER
        if expiring is not None and expires_at <= moment and (due is None or expires_at <= due.at):
            _expire(book, expiring, expires_at)
        elif due is not None and due.at <= moment:
            _give(book, due)
            due = next(hours, None)
        else:
            break
    book.save_lots()
    next_at = min(expires_at, due.at if due is not None else NEVER)
    book.account.due_at = next_at
    LedgerAccount.objects.filter(pk=book.account.pk).update(due_at=next_at)
    return True


def settle_workshop(workshop_id: int) -> int:
    """Settle the workshop's due accounts: before a rule changes, so that the old one holds up to now."""
    with transaction.atomic():
        due = _due_accounts().filter(workshop_id=workshop_id).values_list("pk", flat=True)
        return sum(settle(account_id) for account_id in list(due))


def sweep(limit: int = 200) -> int:
    """Settle up to `limit` due accounts of any workshop, each in its own transaction; how many were due.

    One account's fault doesn't keep the others waiting: it is logged and stays due.
    """
    settled = 0
    for account_id in list(_due_accounts().values_list("pk", flat=True)[:limit]):
        try:
            settled += settle(account_id)
        except (DatabaseError, AssertionError):
            log.exception("account_not_settled", account=account_id)
    return settled


def _due_accounts() -> QuerySet[LedgerAccount]:
    return LedgerAccount.objects.filter(due_at__lte=clock.MarketNow()).order_by("pk")


def _expire(book: Book, portion: Portion, at: datetime) -> None:
    """Take a lot's free credits; what is on hold gets an hour of grace."""
    free = portion.free
    if free:
        book.post(
            change=-free,
            kind="expire",
            key=uuid.uuid4(),
            at=at,
            subject=f"grant:{portion.origin}" if portion.origin else "allowance",
        )
        book.account.moved_at = max(book.account.moved_at, at)
    portion.left = portion.held
    if portion.held:
        portion.expires_at = at + GRACE
        portion.in_grace = True
    else:
        book.drop(portion)
    book.reckon()


def _give(book: Book, hour: Hour) -> None:
    if _terms_at(book, hour.at)[0] == 0:
        # Leaves no line, so each settling meets it again: the hour's own time decides, not the account's.
        return
    at = max(hour.at, book.account.moved_at)
    rate, cap = _terms_at(book, at)
    amount = rate if cap is None else min(rate, max(0, cap - book.total))
    book.post(change=amount, kind="allowance", key=hour.key, at=hour.at, subject=hour.subject)
    book.account.moved_at = at
    if amount:
        book.add_allowance(amount, at)
    book.reckon()


def _terms_at(book: Book, at: datetime) -> tuple[int, int | None]:
    """Rate and cap in force just before a moment. A workshop's first terms hold for all time before them.

    Just before: a change at the very start of an hour leaves that hour alone, given yet or not.
    """
    terms = AllowanceTerm.objects.filter(workshop=book.account.workshop)
    term = terms.filter(from_at__lt=at).order_by("from_at", "pk").last() or terms.order_by("pk").first()
    return (term.rate, term.cap) if term is not None else (0, None)


def _hours(book: Book, moment: datetime) -> Iterator[Hour]:
    """Hours not given yet, in time order: those of the past, then the next one to come."""
    account = book.account
    if account.user_id is None or account.workshop_id is None:
        return
    place = Enrolment.objects.filter(
        user_id=account.user_id, workshop_id=account.workshop_id, role=Enrolment.Role.STUDENT
    ).first()
    if place is None:
        return
    sessions = ClassSession.objects.filter(workshop_id=account.workshop_id, closes_at__gt=place.joined_at)
    hours = sorted(
        hour
        for session in sessions
        for hour in _hours_of(session, account.pk, place.joined_at, moment)
        if book.course_end is None or hour.at < book.course_end
    )
    given = set(
        LedgerTransaction.objects.filter(key__in=[hour.key for hour in hours]).values_list("key", flat=True)
    )
    yield from (hour for hour in hours if hour.key not in given)


def _hours_of(
    session: ClassSession, account_id: int, joined_at: datetime, moment: datetime
) -> Iterator[Hour]:
    number = max(0, (joined_at - session.opens_at) // HOUR)
    while (mark := session.opens_at + number * HOUR) < session.closes_at:
        at = max(mark, joined_at)
        yield Hour(
            at, key_for(HOURS_NAMESPACE, account_id, session.pk, number), f"hour:{session.pk}:{number}"
        )
        if at > moment:
            return
        number += 1
