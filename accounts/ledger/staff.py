"""What staff do with credits: who may, whom to, and why. Everything is audited, refusals too.

Organizers bring credits into being; instructors hand out what the class's pool has. Nobody without the
right to issue gives credits to themself.
"""

import uuid
from collections.abc import Callable, Mapping
from typing import TypeVar

from django.db import transaction

from accounts import access, audit
from accounts.ledger import posting
from accounts.ledger.credits import InvalidAmount, check_amount
from accounts.ledger.models import LedgerAccount, LedgerTransaction
from accounts.models import User, Workshop

Answer = TypeVar("Answer")


class StaffRefusal(Exception):
    """Something staff asked for that is refused; the message is for them."""


class NotAllowed(StaffRefusal):
    """The user has no right to do this in this workshop."""


class OwnAccount(StaffRefusal):
    """Credits for oneself, without the right to issue any."""


class NotEnrolled(StaffRefusal):
    """Somebody who is not a student of this workshop."""


class WorkshopClosed(StaffRefusal):
    """The workshop is closed: its credits can't be spent."""


class ReasonMissing(StaffRefusal):
    """No reason was given; the audit and the student's statement show it."""


class NobodyChosen(StaffRefusal):
    """The choice holds nobody."""


REFUSALS = (
    StaffRefusal,
    InvalidAmount,
    posting.AlreadyExpired,
    posting.CapExceeded,
    posting.InsufficientCredits,
    posting.KeyConflict,
    posting.NoSuchAccount,
    posting.NotRefundable,
    posting.NotTransferable,
)


def issue(
    *,
    actor: User,
    workshop: Workshop,
    account_id: int,
    amount_milli: int,
    key: uuid.UUID,
    reference: str,
    reason: str,
    money_minor: int | None = None,
    currency: str = "",
) -> posting.Posted:
    """Issue credits to an account of the workshop: a pool, the purse or a member. REFUSALS."""

    def act() -> posting.Posted:
        require_issuer(actor, workshop)
        require_open(workshop)
        require_reason(reason)
        _require_account_of(workshop, account_id)
        return posting.grant(
            account_id=account_id,
            amount_milli=amount_milli,
            key=key,
            reference=reference,
            reason=reason,
            actor_id=actor.pk,
            money_minor=money_minor,
            currency=currency,
        )

    facts = {"amount_milli": amount_milli, "reference": reference, "key": str(key)}
    return audited("credits.issue", f"account:{account_id}", actor, workshop, reason, act, facts)


def take_back(*, actor: User, grant_key: uuid.UUID, reason: str) -> int:
    """Undo an issue as far as it is unspent, once; milli-credits that came back. REFUSALS."""
    given = (
        LedgerTransaction.objects.filter(pk=grant_key, kind="grant")
        .select_related("account__workshop")
        .first()
    )
    if given is None or given.account.workshop is None:
        raise posting.NotRefundable("there is no such grant to undo")
    workshop = given.account.workshop

    def act() -> int:
        require_issuer(actor, workshop)
        require_reason(reason)
        key = posting.key_for(grant_key, "take-back")
        return posting.undo(grant_key=grant_key, key=key, reason=reason, actor_id=actor.pk)[1]

    facts = {"grant": str(grant_key)}
    return audited("credits.undo", f"account:{given.account_id}", actor, workshop, reason, act, facts)


def fund(
    *,
    actor: User,
    workshop: Workshop,
    from_id: int,
    to_id: int,
    amount_milli: int,
    key: uuid.UUID,
    reason: str,
) -> posting.Posted:
    """Move credits between pools and purses of the workshop, or from one to a member. REFUSALS."""

    def act() -> posting.Posted:
        require_granter(actor, workshop)
        require_open(workshop)
        require_reason(reason)
        for account_id in (from_id, to_id):
            _require_account_of(workshop, account_id)
        _require_not_own(actor, workshop, to_id)
        return posting.transfer(
            from_id=from_id, to_id=to_id, amount_milli=amount_milli, key=key, reason=reason, actor_id=actor.pk
        )

    facts = {"from": from_id, "amount_milli": amount_milli, "key": str(key)}
    return audited("credits.fund", f"account:{to_id}", actor, workshop, reason, act, facts)


def refund(
    *, actor: User, capture_key: uuid.UUID, amount_milli: int, key: uuid.UUID, reason: str
) -> posting.Posted:
    """Give back part or all of what a job cost. REFUSALS."""
    taken = (
        LedgerTransaction.objects.filter(pk=capture_key, kind="capture")
        .select_related("account__workshop")
        .first()
    )
    if taken is None or taken.account.workshop is None:
        raise posting.NotRefundable("there is no such capture to refund")
    workshop = taken.account.workshop

    def act() -> posting.Posted:
        require_granter(actor, workshop)
        require_reason(reason)
        _require_not_own(actor, workshop, taken.account_id)
        return posting.refund(
            capture_key=capture_key, amount_milli=amount_milli, key=key, reason=reason, actor_id=actor.pk
        )

    facts = {"amount_milli": amount_milli, "capture": str(capture_key), "key": str(key)}
    return audited(
        "credits.refund", taken.subject or f"account:{taken.account_id}", actor, workshop, reason, act, facts
    )


def set_cap(*, actor: User, workshop: Workshop, team: str, cap_milli: int | None, reason: str) -> int:
    """Limit what a team's pool may hold (None: no limit). The pool's account id. REFUSALS.

    A pool that holds more already keeps it, and gets nothing until it has spent enough.
    """

    def act() -> int:
        require_granter(actor, workshop)
        require_reason(reason)
        account_id = posting.pool_account(workshop, team)
        cap = None if cap_milli is None else check_amount(cap_milli)
        LedgerAccount.objects.filter(pk=account_id).update(cap=cap)
        return account_id

    return audited("credits.cap", f"pool:{team}", actor, workshop, reason, act, {"cap_milli": cap_milli})


# --- rights and audit, for the doors above and in bulk.py -----------------------------------------


def audited(
    action: str,
    subject: str,
    actor: User,
    workshop: Workshop,
    reason: str,
    act: Callable[[], Answer],
    facts: Mapping[str, object],
) -> Answer:
    """Run `act` in one transaction with its audit row; a refusal leaves nothing but a row that names it."""
    try:
        with transaction.atomic():
            answer = act()
            if not getattr(answer, "replayed", False):
                audit.record(
                    action, subject, actor=actor, workshop_id=workshop.pk, after=facts, reason=reason[:500]
                )
            return answer
    except REFUSALS as refusal:
        audit.record(
            f"{action}.refused",
            subject,
            actor=actor,
            workshop_id=workshop.pk,
            after={**facts, "refusal": type(refusal).__name__, "message": str(refusal)},
            reason=reason[:500],
        )
        raise


def require_granter(actor: User, workshop: Workshop) -> None:
    if not access.may_grant(actor, workshop.pk):
        raise NotAllowed(f"{actor.name} may not hand out credits in {workshop.name}.")


def require_issuer(actor: User, workshop: Workshop) -> None:
    if not access.may_issue(actor, workshop.pk):
        raise NotAllowed(
            f"Only organizers of {workshop.name} issue credits; the class's pool can be handed out."
        )


def require_open(workshop: Workshop) -> None:
    if workshop.closed_at is not None:
        raise WorkshopClosed(f"{workshop.name} is closed: credits could not be spent.")


def require_reason(reason: str) -> None:
    if not reason.strip():
        raise ReasonMissing("Say why: the student's statement shows it.")


def _require_account_of(workshop: Workshop, account_id: int) -> None:
    if not LedgerAccount.objects.filter(pk=account_id, workshop=workshop).exists():
        raise posting.NoSuchAccount(f"{workshop.name} has no such account")


def _require_not_own(actor: User, workshop: Workshop, account_id: int) -> None:
    own = LedgerAccount.objects.filter(pk=account_id, user=actor).exists()
    if own and not access.may_issue(actor, workshop.pk):
        raise OwnAccount("Credits for your own account come from an organizer.")
