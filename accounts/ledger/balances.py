"""Read door of the ledger: balances, statements, open holds. Amounts are milli-credits."""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from django.db import connection
from django.db.models import Sum

from accounts import clock
from accounts.ledger.lots import NEVER
from accounts.ledger.models import Hold, LedgerAccount, LedgerTransaction
from accounts.models import Workshop

HoldState = Literal["open", "captured", "released"]

# What a line does to (available, held), by its kind and the amounts of its transaction and hold.
KINDS = ("hold", *LedgerTransaction.Kind.values)
_INCOMING = ("grant", "allowance", "refund", "transfer_in")


@dataclass(frozen=True, slots=True)
class Balance:
    available_milli: int
    held_milli: int


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of a statement; lines are numbered gap-free by `seq` and replay to the balance.

    `amount_milli` is what people call the line's amount, signed: credits that came (+) or were set aside,
    paid, expired or taken back (−). `available_change_milli` and `held_change_milli` are exact, and the
    two balances are those after the line.
    """

    id: str
    at: datetime
    kind: str
    amount_milli: int
    available_milli: int
    held_milli: int
    available_change_milli: int
    held_change_milli: int
    subject: str
    reason: str
    key: uuid.UUID
    seq: int
    refers_to: uuid.UUID | None
    actor_id: int | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Totals:
    """Where a workshop's credits are: issued = available + held + captured − refunded + expired."""

    issued_milli: int
    captured_milli: int
    refunded_milli: int
    expired_milli: int
    available_milli: int
    held_milli: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Credits of a class, a team (named by `team`) or the workshop's purse; `cap_milli` None: no limit."""

    account_id: int
    team: str
    purse: bool
    available_milli: int
    held_milli: int
    cap_milli: int | None


@dataclass(frozen=True, slots=True)
class OpenHold:
    key: uuid.UUID
    account_id: int
    amount_milli: int
    subject: str
    created_at: datetime
    expires_at: datetime | None


def balance(account_id: int, as_of: datetime | None = None) -> Balance:
    """What the account has, or had after the last line at or before `as_of`."""
    if as_of is None:
        row = LedgerAccount.objects.filter(pk=account_id).values_list("available", "held").first()
        return Balance(*row) if row else Balance(0, 0)
    lines = statement(account_id, limit=1, as_of=as_of)
    return Balance(lines[0].available_milli, lines[0].held_milli) if lines else Balance(0, 0)


def balances(account_ids: Collection[int]) -> dict[int, Balance]:
    """Balances by account; ids without an account are left out."""
    rows = LedgerAccount.objects.filter(pk__in=account_ids).values_list("pk", "available", "held")
    return {account_id: Balance(available, held) for account_id, available, held in rows}


def find_account(user_id: int, workshop_id: int) -> int | None:
    """Id of the member's account, if it was opened."""
    found = LedgerAccount.objects.filter(kind="member", user=user_id, workshop=workshop_id)
    return found.values_list("pk", flat=True).first()


def member_balances(workshop_id: int) -> dict[int, Balance]:
    """Balances of a workshop's members by user id."""
    rows = LedgerAccount.objects.filter(kind="member", workshop=workshop_id)
    return {user: Balance(a, h) for user, a, h in rows.values_list("user_id", "available", "held") if user}


def pools(workshop: Workshop) -> list[Pool]:
    """The workshop's pools that were ever used: the class's first, teams by name, the purse last."""
    rows = LedgerAccount.objects.filter(workshop=workshop, kind__in=("pool", "purse"))
    return [
        Pool(row.pk, row.name, row.kind == "purse", row.available, row.held, row.cap)
        for row in rows.order_by("kind", "name")
    ]


_LINES = """
SELECT * FROM (
    (SELECT seq, created_at, 'hold', amount, amount, subject, '', key, replaces_id, NULL::bigint, expires_at,
            available, held
       FROM ledger_hold
      WHERE account_id = %(account)s AND seq < %(before)s AND created_at <= %(as_of)s
        AND (%(every)s OR 'hold' = ANY(%(kinds)s))
      ORDER BY seq DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT t.seq, t.created_at, t.kind, t.amount, coalesce(h.amount, 0), t.subject, t.reason, t.key,
            coalesce(t.resolves_id, t.refers_to_id), t.actor_id, t.expires_at, t.available, t.held
       FROM ledger_transaction t LEFT JOIN ledger_hold h ON h.key = t.resolves_id
      WHERE t.account_id = %(account)s AND t.seq < %(before)s
        AND t.created_at <= %(as_of)s
        AND (%(every)s OR t.kind = ANY(%(kinds)s))
      ORDER BY t.seq DESC LIMIT %(limit)s)
) lines ORDER BY seq DESC LIMIT %(limit)s
"""


def statement(
    account_id: int,
    *,
    before: int | None = None,
    limit: int = 50,
    as_of: datetime | None = None,
    kinds: Iterable[str] = (),
) -> list[StatementLine]:
    """Lines newest first; `kinds` are among KINDS, none means all.

    The next page begins `before` the last line's seq.
    """
    wanted = list(kinds)
    parameters: dict[str, Any] = {
        "account": account_id,
        "before": before if before is not None else 2**62,
        "as_of": as_of or NEVER,
        "limit": limit,
        "kinds": wanted,
        "every": not wanted,
    }
    with connection.cursor() as cursor:
        cursor.execute(_LINES, parameters)
        return [_line(*row) for row in cursor.fetchall()]


def hold_state(key: uuid.UUID) -> HoldState | None:
    """Whether a hold is open, captured or released; None if there is none with that key."""
    if not Hold.objects.filter(pk=key).exists():
        return None
    answer = LedgerTransaction.objects.filter(resolves=key).values_list("kind", flat=True).first()
    return "open" if answer is None else "captured" if answer == "capture" else "released"


def open_holds(older_than: timedelta | None = None) -> list[OpenHold]:
    """Holds that nothing resolved yet, the oldest first."""
    holds = Hold.objects.filter(resolved_by__isnull=True, account__held__gt=0)
    if older_than is not None:
        holds = holds.filter(created_at__lt=clock.now() - older_than)
    return [
        OpenHold(h.key, h.account_id, h.amount, h.subject, h.created_at, h.expires_at)
        for h in holds.order_by("created_at", "key")
    ]


def totals(workshop: Workshop) -> Totals:
    """Where all credits of a workshop are now."""
    posted = dict(
        LedgerTransaction.objects.filter(account__workshop=workshop)
        .values_list("kind")
        .annotate(amount=Sum("amount"))
        .order_by()
    )
    # Undone grants went back to the issuance, unless a pool got them.
    returned = LedgerTransaction.objects.filter(
        account__workshop=workshop, kind="undo", refers_to__kind="grant"
    )
    there = LedgerAccount.objects.filter(workshop=workshop).aggregate(a=Sum("available"), h=Sum("held"))
    return Totals(
        issued_milli=posted.get("grant", 0)
        + posted.get("allowance", 0)
        - (returned.aggregate(s=Sum("amount"))["s"] or 0),
        captured_milli=posted.get("capture", 0),
        refunded_milli=posted.get("refund", 0),
        expired_milli=posted.get("expire", 0),
        available_milli=there["a"] or 0,
        held_milli=there["h"] or 0,
    )


def _line(
    seq: int,
    at: datetime,
    kind: str,
    amount: int,
    hold_amount: int,
    subject: str,
    reason: str,
    key: uuid.UUID,
    refers_to: uuid.UUID | None,
    actor_id: int | None,
    expires_at: datetime | None,
    available: int,
    held: int,
) -> StatementLine:
    available_change, held_change = changes(kind, amount, hold_amount)
    called = {"capture": -amount, "release": hold_amount}.get(kind, available_change)
    return StatementLine(
        id=f"{'hold' if kind == 'hold' else 'transaction'}:{key}",
        at=at,
        kind=kind,
        amount_milli=called,
        available_milli=available,
        held_milli=held,
        available_change_milli=available_change,
        held_change_milli=held_change,
        subject=subject,
        reason=reason,
        key=key,
        seq=seq,
        refers_to=refers_to,
        actor_id=actor_id,
        expires_at=expires_at,
    )


def changes(kind: str, amount: int, hold_amount: int) -> tuple[int, int]:
    """What a line does to (available, held). `hold_amount` is that of the hold it writes or resolves."""
    if kind == "hold":
        return -amount, amount
    if kind in ("capture", "release"):
        return hold_amount - amount, -hold_amount
    return (amount if kind in _INCOMING else -amount), 0
