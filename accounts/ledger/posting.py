"""Write door of the ledger.

Every door takes a key that the caller made beforehand. The same key and the same request (all fields) give
the same answer again, `replayed`; the same key with another request is a `KeyConflict`. Amounts are
milli-credits, positive multiples of 10. A door is a transaction of its own, or a savepoint of the caller's.

hold, adjust, capture and release are one SQL statement each; what it was when one posts nothing, or meets
a used key, is looked up afterwards, in a new statement that sees what others committed meanwhile.
"""

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.db import IntegrityError, connection, transaction
from django.db.models import Sum
from psycopg.errors import UniqueViolation

from accounts import clock
from accounts.clock import MarketNow
from accounts.ledger import allowance, balances, lots, statements
from accounts.ledger.books import Book, NoSuchAccount
from accounts.ledger.credits import InvalidAmount, check_amount, format_credits
from accounts.ledger.keys import key_for
from accounts.ledger.models import HOUSE_ID, Hold, LedgerAccount, LedgerTransaction
from accounts.ledger.statements import After
from accounts.models import User, Workshop

__all__ = [
    "AlreadyExpired",
    "CapExceeded",
    "HoldNotOpen",
    "InsufficientCredits",
    "InvalidAmount",
    "KeyConflict",
    "NoSuchAccount",
    "NoSuchHold",
    "NotRefundable",
    "NotTransferable",
    "Posted",
    "adjust",
    "capture",
    "grant",
    "hold",
    "key_for",
    "member_account",
    "pool_account",
    "purse_account",
    "refund",
    "release",
    "transfer",
    "undo",
]

_TRIES = 50
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Posted:
    """What a door did: the account's place in its statement and what it has afterwards, in milli-credits."""

    key: uuid.UUID
    account_id: int
    seq: int
    available_milli: int
    held_milli: int
    replayed: bool


class InsufficientCredits(Exception):
    """Fewer credits are available than are needed."""

    def __init__(self, available_milli: int, needed_milli: int) -> None:
        self.available_milli = available_milli
        self.needed_milli = needed_milli
        self.shortfall_milli = needed_milli - available_milli
        super().__init__(
            f"{format_credits(needed_milli)} credits are needed and {format_credits(available_milli)} "
            f"available: {format_credits(self.shortfall_milli)} are missing"
        )


class KeyConflict(Exception):
    """The key was used for another request."""


class HoldNotOpen(Exception):
    """The hold was captured or released before, with another key."""


class NoSuchHold(LookupError):
    """No hold has that key."""


class NotRefundable(Exception):
    """No capture has that key, or less of it is left to refund."""


class NotTransferable(Exception):
    """Credits move from a pool within a workshop, and back; never between members."""


class AlreadyExpired(ValueError):
    """The credits would expire before they are there."""


class CapExceeded(Exception):
    """The pool would hold more than its cap allows."""


# --- accounts -------------------------------------------------------------------------------------


def member_account(user: User, workshop: Workshop) -> int:
    """Id of the user's account in the workshop, opened if need be and settled up to now."""
    new: dict[str, Any] = {"due_at": clock.now}  # asked only if there is none
    account, made = LedgerAccount.objects.get_or_create(
        kind=LedgerAccount.Kind.MEMBER, workshop=workshop, user=user, defaults=new
    )
    # Opened before now by whoever came first: only what is due needs the lock.
    if made or account.due_at <= clock.now():
        allowance.settle(account.pk)
    return account.pk


def member_balance(user: User, workshop: Workshop) -> balances.Balance:
    """What the user has in the workshop, the account opened if need be and settled up to now."""
    found = LedgerAccount.objects.filter(
        kind=LedgerAccount.Kind.MEMBER, workshop=workshop, user=user, due_at__gt=MarketNow()
    )
    row = found.values_list("available", "held").first()
    # Mostly nothing is due, and one question tells both.
    return balances.balance(member_account(user, workshop)) if row is None else balances.Balance(*row)


def pool_account(workshop: Workshop, name: str = "") -> int:
    """Id of the class's pool (no name) or a team's."""
    return LedgerAccount.objects.get_or_create(kind=LedgerAccount.Kind.POOL, workshop=workshop, name=name)[
        0
    ].pk


def purse_account(workshop: Workshop) -> int:
    """Id of the workshop's purse, which pays for demos and rehearsals."""
    return LedgerAccount.objects.get_or_create(kind=LedgerAccount.Kind.PURSE, workshop=workshop)[0].pk


# --- holds ----------------------------------------------------------------------------------------


def hold(
    *, account_id: int, amount_milli: int, key: uuid.UUID, subject: str, expires_at: datetime | None = None
) -> Posted:
    """Set credits aside. InsufficientCredits, KeyConflict, NoSuchAccount, InvalidAmount.

    `expires_at` is a last guard, for a hold whose job is terminal or absent; it is part of the request.
    """
    check_amount(amount_milli)
    request = {
        "account": account_id,
        "amount": amount_milli,
        "key": key,
        "subject": subject,
        "expires_at": expires_at,
    }

    def explain() -> Posted | None:
        stored = Hold.objects.filter(pk=key).first()
        if stored is not None:
            asked = (account_id, amount_milli, subject, expires_at, None)
            found = (stored.account_id, stored.amount, stored.subject, stored.expires_at, stored.replaces_id)
            return _replay(stored, same=asked == found)
        _refuse_key_of_transaction(key)
        _short_or_due(account_id, amount_milli)
        return None

    return _posted(statements.HOLD, request, explain)


def adjust(
    *, hold_key: uuid.UUID, amount_milli: int, key: uuid.UUID, expires_at: datetime | None = None
) -> Posted:
    """Release a hold and write another amount in its place, as one; the new hold's key is `key`.

    InsufficientCredits (counting what the old hold frees), HoldNotOpen, NoSuchHold, KeyConflict,
    InvalidAmount.
    """
    check_amount(amount_milli)
    request = {"hold": hold_key, "amount": amount_milli, "key": key, "expires_at": expires_at}

    def explain() -> Posted | None:
        stored = Hold.objects.filter(pk=key).first()
        if stored is not None:
            asked = (hold_key, amount_milli, expires_at)
            return _replay(stored, same=asked == (stored.replaces_id, stored.amount, stored.expires_at))
        _refuse_key_of_transaction(key)
        old = _open_hold(hold_key)
        _short_or_due(old.account_id, amount_milli, freed_milli=old.amount)
        return None

    return _posted(statements.ADJUST, request, explain)


def capture(*, hold_key: uuid.UUID, amount_milli: int, key: uuid.UUID, reason: str = "") -> Posted:
    """Take part or all of a hold and return the rest; an amount of 0 is a release.

    HoldNotOpen, NoSuchHold, KeyConflict, InvalidAmount (also for more than the hold).
    """
    if amount_milli == 0:
        return release(hold_key=hold_key, key=key, reason=reason)
    check_amount(amount_milli)
    return _resolve("capture", hold_key, amount_milli, key, reason)


def release(*, hold_key: uuid.UUID, key: uuid.UUID, reason: str = "") -> Posted:
    """Return all of a hold. HoldNotOpen, NoSuchHold, KeyConflict."""
    return _resolve("release", hold_key, 0, key, reason)


# --- credits in, out and across -------------------------------------------------------------------


def grant(
    *,
    account_id: int,
    amount_milli: int,
    key: uuid.UUID,
    reference: str,
    reason: str = "",
    actor_id: int | None = None,
    expires_at: datetime | None = None,
    money_minor: int | None = None,
    currency: str = "",
    subject: str = "",
) -> Posted:
    """Issue credits. `reference` says why they exist: purchase, gift or correction.

    A purchase may carry its price (`money_minor` in cents or the like, `currency` as in "EUR"). Without
    `expires_at` a member's credits last to the course's end. KeyConflict, NoSuchAccount, InvalidAmount,
    AlreadyExpired.
    """
    check_amount(amount_milli)
    if reference not in LedgerTransaction.Reference.values:
        raise ValueError(
            f"a grant's reference is one of {LedgerTransaction.Reference.values}, not {reference!r}"
        )
    details = {
        "subject": subject, "reason": reason, "actor": actor_id, "reference": reference,
        "money_minor": money_minor, "currency": currency, "expires_at": expires_at,
    }  # fmt: skip
    asked = {**details, "account": account_id, "kind": "grant", "amount": amount_milli, "refers_to": None}

    def post() -> Posted:
        book = _open(account_id)
        before = _said_before(key, asked)
        if before is not None:
            return before
        if expires_at is not None and expires_at <= clock.now():
            raise AlreadyExpired("these credits would have expired already")
        return _add(book, "grant", amount_milli, key, **details)

    return _once(post, lambda: _said_before(key, asked))


def refund(
    *, capture_key: uuid.UUID, amount_milli: int, key: uuid.UUID, reason: str, actor_id: int | None
) -> Posted:
    """Give back part or all of a capture; its refunds come to at most the capture, in all.

    NotRefundable, KeyConflict, InvalidAmount.
    """
    check_amount(amount_milli)
    taken = LedgerTransaction.objects.filter(pk=capture_key, kind=LedgerTransaction.Kind.CAPTURE).first()
    if taken is None:
        raise NotRefundable("there is no such capture to refund")
    details = {"refers_to": capture_key, "subject": taken.subject, "reason": reason, "actor": actor_id}
    asked = {**details, "account": taken.account_id, "kind": "refund", "amount": amount_milli}

    def post() -> Posted:
        book = _open(taken.account_id)
        before = _said_before(key, asked)
        if before is not None:
            return before
        refunded = LedgerTransaction.objects.filter(refers_to=capture_key, kind="refund").aggregate(
            s=Sum("amount")
        )
        left = taken.amount - (refunded["s"] or 0)
        if amount_milli > left:
            raise NotRefundable(f"{format_credits(left)} of this capture are left to refund")
        return _add(book, "refund", amount_milli, key, **details)

    return _once(post, lambda: _said_before(key, asked))


def transfer(
    *,
    from_id: int,
    to_id: int,
    amount_milli: int,
    key: uuid.UUID,
    reason: str,
    actor_id: int | None,
    subject: str = "",
    expires_at: datetime | None = None,
) -> Posted:
    """Move free credits from a pool or purse to another account of the workshop.

    They keep their expiry, or get `expires_at` where that is sooner.
    Answers for the giving account. InsufficientCredits, NotTransferable, CapExceeded, KeyConflict,
    NoSuchAccount, InvalidAmount.
    """
    check_amount(amount_milli)
    if from_id == to_id:
        raise NotTransferable("credits can't be moved to the account they are on")
    details = {"subject": subject, "reason": reason, "actor": actor_id, "expires_at": expires_at}
    asked = {**details, "account": from_id, "kind": "transfer_out", "amount": amount_milli, "refers_to": None}

    def said_before() -> Posted | None:
        before = _said_before(key, asked)
        other_half = LedgerTransaction.objects.filter(refers_to=key, kind="transfer_in", account=to_id)
        if before is not None and not other_half.exists():
            raise KeyConflict(f"key {key} was used to move credits elsewhere")
        return before

    def post() -> Posted:
        books = _open_all([from_id, to_id])
        before = said_before()
        if before is not None:
            return before
        giver, taker = books[from_id], books[to_id]
        if expires_at is not None and expires_at <= clock.now():
            raise AlreadyExpired("these credits would have expired already")
        _check_move(giver.account, taker.account, amount_milli)
        parts = lots.take_free(giver.portions, amount_milli)
        return _move(giver, taker, parts, key, "transfer_out", details)

    return _once(post, said_before)


def undo(
    *, grant_key: uuid.UUID, key: uuid.UUID, reason: str, actor_id: int | None
) -> tuple[Posted | None, int]:
    """Take a grant or a transfer from a pool back, as far as it is unspent and not on hold.

    (what was posted, milli-credits that came back); (None, 0) if nothing of it is left. A grant is undone
    once. KeyConflict, NotRefundable (no such grant, or undone before with another key).
    """
    given = LedgerTransaction.objects.filter(pk=grant_key, kind__in=["grant", "transfer_in"]).first()
    if given is None:
        raise NotRefundable("there is no such grant to undo")
    details = {"refers_to": grant_key, "subject": given.subject, "reason": reason, "actor": actor_id}
    pool_id = given.refers_to.account_id if given.refers_to is not None else None

    def said_before() -> tuple[Posted | None, int] | None:
        stored = LedgerTransaction.objects.filter(pk=key).first()
        if stored is not None:
            return _said_before(key, {**details, "kind": "undo", "amount": stored.amount}), stored.amount
        _refuse_key_of_hold(key)
        if LedgerTransaction.objects.filter(refers_to=grant_key, kind="undo").exists():
            raise NotRefundable("this grant was undone before")
        return None

    def post() -> tuple[Posted | None, int]:
        books = _open_all([given.account_id] if pool_id is None else [given.account_id, pool_id])
        before = said_before()
        if before is not None:
            return before
        book = books[given.account_id]
        parts = [(lot, lot.free) for lot in book.portions if lot.origin == grant_key and lot.free]
        amount = sum(part for _lot, part in parts)
        for lot, part in parts:
            lot.left -= part
        if not amount:
            return None, 0
        if pool_id is not None:
            return _move(book, books[pool_id], parts, key, "undo", details), amount
        after = book.post(change=-amount, kind="undo", key=key, **details)
        book.save_lots()
        return _answer(key, after), amount

    return _once(post, said_before)


# --- inside ---------------------------------------------------------------------------------------


def _posted(sql: str, request: dict[str, Any], explain: Callable[[], Posted | None]) -> Posted:
    """Run a posting statement until it posts or `explain` says why not (None: try again)."""
    key = request["key"]
    for _attempt in range(_TRIES):
        try:
            with _shield():
                after = statements.run(sql, request)
        except IntegrityError as fault:
            if not isinstance(fault.__cause__, UniqueViolation):
                raise
            after = None
        if after is not None:
            return _answer(key, after)
        answer = explain()
        if answer is not None:
            return answer
    raise RuntimeError(f"the ledger could not post {key} in {_TRIES} tries")


def _resolve(kind: str, hold_key: uuid.UUID, amount_milli: int, key: uuid.UUID, reason: str) -> Posted:
    request = {
        "hold": hold_key,
        "amount": amount_milli,
        "key": key,
        "kind": kind,
        "reason": reason,
        "house": HOUSE_ID,
    }

    def explain() -> Posted | None:
        stored = LedgerTransaction.objects.filter(pk=key).first()
        if stored is not None:
            asked = (kind, hold_key, amount_milli, reason)
            return _replay(
                stored, same=asked == (stored.kind, stored.resolves_id, stored.amount, stored.reason)
            )
        _refuse_key_of_hold(key)
        open_hold = _open_hold(hold_key)
        if amount_milli > open_hold.amount:
            most = format_credits(open_hold.amount)
            raise InvalidAmount(f"{format_credits(amount_milli)} can't be taken from a hold of {most}")
        _settle_if_due(open_hold.account_id)
        return None

    return _posted(statements.RESOLVE, request, explain)


def _once(post: Callable[[], Answer], said_before: Callable[[], Answer | None]) -> Answer:
    """Run a posting of several statements; if a twin took its key meanwhile, answer as the twin."""
    try:
        with transaction.atomic():
            return post()
    except IntegrityError as fault:
        if not isinstance(fault.__cause__, UniqueViolation):
            raise
        answer = said_before()
        if answer is None:
            raise
        return answer


def _shield() -> AbstractContextManager[Any]:
    """Alone, a statement is its own transaction; within a caller's, a refusal must not abort that."""
    return transaction.atomic() if connection.in_atomic_block else nullcontext()


def _open(account_id: int) -> Book:
    return _open_all([account_id])[account_id]


def _open_all(account_ids: list[int]) -> dict[int, Book]:
    """Locked and settled books."""
    books = Book.open_all(account_ids)
    for book in books.values():
        allowance.settle_book(book)
    return books


def _add(book: Book, kind: str, amount_milli: int, key: uuid.UUID, **details: Any) -> Posted:
    """Post credits that come in, and their lot."""
    after = book.post(change=amount_milli, kind=kind, key=key, **details)
    expires_at = details.get("expires_at")
    book.add(amount_milli, origin=key, rank=lots.GIVEN_RANK, expires_at=expires_at, at=clock.now())
    book.save_lots()
    return _answer(key, after)


def _move(
    giver: Book,
    taker: Book,
    parts: list[tuple[lots.Portion, int]],
    key: uuid.UUID,
    kind: str,
    details: dict[str, Any],
) -> Posted:
    """Post both halves of a move; `parts` have left the giver's lots and keep their expiry in the taker's."""
    amount = sum(part for _portion, part in parts)
    answer = _answer(key, giver.post(change=-amount, kind=kind, key=key, other=HOUSE_ID, **details))
    in_key = key_for(key, "in")
    _answer(
        in_key, taker.post(change=amount, kind="transfer_in", key=in_key, **{**details, "refers_to": key})
    )
    moment = clock.now()
    sooner = details.get("expires_at")
    for portion, part in parts:
        ends = [end for end in (portion.expires_at, sooner) if end is not None]
        taker.add(part, origin=in_key, rank=lots.GIVEN_RANK, expires_at=min(ends, default=None), at=moment)
    giver.save_lots()
    taker.save_lots()
    return answer


def _check_move(giver: LedgerAccount, taker: LedgerAccount, amount_milli: int) -> None:
    if giver.workshop_id != taker.workshop_id:
        raise NotTransferable("credits can't leave their workshop")
    if giver.kind == LedgerAccount.Kind.MEMBER:
        raise NotTransferable("members can't give credits away")
    if taker.cap is not None and taker.available + taker.held + amount_milli > taker.cap:
        raise CapExceeded(f"{taker.name or 'the pool'} may hold {format_credits(taker.cap)} at most")
    if giver.available < amount_milli:
        raise InsufficientCredits(giver.available, amount_milli)


def _answer(key: uuid.UUID, after: After | None) -> Posted:
    if after is None:
        raise RuntimeError(f"the ledger refused {key} on a locked account")
    return Posted(key, after.account_id, after.seq, after.available_milli, after.held_milli, replayed=False)


def _replay(stored: Hold | LedgerTransaction, *, same: bool) -> Posted:
    if not same:
        raise KeyConflict(f"key {stored.pk} was used for another request")
    return Posted(stored.pk, stored.account_id, stored.seq, stored.available, stored.held, replayed=True)


def _said_before(key: uuid.UUID, asked: dict[str, Any]) -> Posted | None:
    """The answer to a posting without a hold, if there is one already. KeyConflict if `asked` differs."""
    stored = LedgerTransaction.objects.filter(pk=key).first()
    if stored is None:
        _refuse_key_of_hold(key)
        return None
    found = {
        "account": stored.account_id, "kind": stored.kind, "amount": stored.amount, "subject": stored.subject,
        "refers_to": stored.refers_to_id, "reason": stored.reason, "actor": stored.actor_id,
        "reference": stored.reference, "money_minor": stored.money_minor, "currency": stored.currency,
        "expires_at": stored.expires_at,
    }  # fmt: skip
    return _replay(stored, same=asked.items() <= found.items())


def _refuse_key_of_transaction(key: uuid.UUID) -> None:
    if LedgerTransaction.objects.filter(pk=key).exists():
        raise KeyConflict(f"key {key} was used for a transaction")


def _refuse_key_of_hold(key: uuid.UUID) -> None:
    if Hold.objects.filter(pk=key).exists():
        raise KeyConflict(f"key {key} was used for a hold")


def _open_hold(hold_key: uuid.UUID) -> Hold:
    found = Hold.objects.filter(pk=hold_key).first()
    if found is None:
        raise NoSuchHold(f"there is no hold {hold_key}")
    if LedgerTransaction.objects.filter(resolves=found).exists():
        raise HoldNotOpen(f"hold {hold_key} was resolved before")
    return found


def _settle_if_due(account_id: int) -> bool:
    if LedgerAccount.objects.filter(pk=account_id, due_at__lte=clock.MarketNow()).exists():
        return allowance.settle(account_id)
    return False


def _short_or_due(account_id: int, needed_milli: int, freed_milli: int = 0) -> None:
    """Why an account could not give: raises, or settles what was due so that the caller tries again."""
    account = LedgerAccount.objects.filter(pk=account_id, workshop__isnull=False).first()
    if account is None:
        raise NoSuchAccount(f"there is no account {account_id} to hold credits on")
    if not _settle_if_due(account_id) and account.available + freed_milli < needed_milli:
        raise InsufficientCredits(account.available + freed_milli, needed_milli)
