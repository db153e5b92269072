"""Credits for many at once: preview, confirm, undo.

A batch has one key, made before the preview: whatever is confirmed twice is given once. Undo takes back
what is unspent of each grant and names those who had spent some.
"""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from accounts import access, clock
from accounts.ledger import posting
from accounts.ledger.books import Book
from accounts.ledger.credits import check_amount
from accounts.ledger.models import GrantBatch, LedgerAccount, LedgerTransaction
from accounts.ledger.staff import (
    REFUSALS,
    NobodyChosen,
    NotEnrolled,
    OwnAccount,
    audited,
    require_granter,
    require_issuer,
    require_open,
    require_reason,
)
from accounts.models import Enrolment, User, Workshop

__all__ = [
    "REFUSALS",
    "Done",
    "Given",
    "Preview",
    "PreviewRow",
    "Recent",
    "Story",
    "Undone",
    "class_of",
    "confirm",
    "preview",
    "recent",
    "story",
    "undo",
]


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One person of a preview; amounts in milli-credits."""

    user_id: int
    name: str
    team: str
    available_milli: int
    after_milli: int


@dataclass(frozen=True, slots=True)
class Preview:
    """Who would get what. `pool_after_milli` is None when credits are issued anew."""

    rows: tuple[PreviewRow, ...]
    amount_milli: int
    total_milli: int
    pool_milli: int | None
    pool_after_milli: int | None


@dataclass(frozen=True, slots=True)
class Given:
    """One person of a batch: given, and of that back and not back (spent, or on hold)."""

    user_id: int
    name: str
    given_milli: int
    back_milli: int = 0

    @property
    def kept_milli(self) -> int:
        return self.given_milli - self.back_milli


@dataclass(frozen=True, slots=True)
class Done:
    key: uuid.UUID
    rows: tuple[Given, ...]
    total_milli: int
    replayed: bool


@dataclass(frozen=True, slots=True)
class Undone:
    """What came back. `kept` are those who had spent some, or have it on hold."""

    key: uuid.UUID
    rows: tuple[Given, ...]
    back_milli: int
    kept_milli: int
    kept: tuple[Given, ...]
    replayed: bool


@dataclass(frozen=True, slots=True)
class Story:
    """A batch as its page tells it; `back` of its rows is what an undo would bring, or brought."""

    rows: tuple[Given, ...]
    reason: str
    actor: str
    at: datetime
    undone_at: datetime | None
    undone_by: str


@dataclass(frozen=True, slots=True)
class Recent:
    """One batch in a list."""

    key: uuid.UUID
    at: datetime
    actor: str
    people: int
    each_milli: int
    reason: str
    undone: bool


def class_of(
    workshop: Workshop,
    *,
    team: str | None = None,
    user_ids: Collection[int] | None = None,
    emails: Collection[str] | None = None,
) -> list[User]:
    """Students of the workshop: all, a team's, a selection, or by e-mail. NotEnrolled names strangers."""
    places = Enrolment.objects.filter(workshop=workshop, role=Enrolment.Role.STUDENT)
    students = User.objects.filter(enrolments__in=places)
    if team is not None:
        students = students.filter(enrolments__in=places.filter(team=team))
    if user_ids is not None:
        students = students.filter(pk__in=user_ids)
        _refuse_strangers(set(user_ids) - set(students.values_list("pk", flat=True)), _names_of)
    if emails is not None:
        wanted = {email.strip().lower() for email in emails}
        students = [student for student in students if student.email.lower() in wanted]  # type: ignore[assignment]
        _refuse_strangers(wanted - {student.email.lower() for student in students}, sorted)
    return sorted(students, key=lambda student: (student.name.lower(), student.pk))


def preview(
    *,
    actor: User,
    workshop: Workshop,
    students: Iterable[User],
    amount_milli: int,
    from_pool: bool,
    team_pool: str = "",
) -> Preview:
    """Who would get what, and what they would have; changes nothing. REFUSALS as `confirm`."""
    chosen = _check(actor, workshop, students, amount_milli, from_pool)
    accounts = {student.pk: posting.member_account(student, workshop) for student in chosen}
    available = dict(LedgerAccount.objects.filter(pk__in=accounts.values()).values_list("pk", "available"))
    teams = dict(Enrolment.objects.filter(workshop=workshop).values_list("user_id", "team"))
    total = amount_milli * len(chosen)
    pool = None
    if from_pool:
        pool = LedgerAccount.objects.get(pk=posting.pool_account(workshop, team_pool)).available
        if pool < total:
            raise posting.InsufficientCredits(pool, total)
    return Preview(
        rows=tuple(
            PreviewRow(
                user_id=student.pk,
                name=student.name,
                team=teams.get(student.pk, ""),
                available_milli=available[accounts[student.pk]],
                after_milli=available[accounts[student.pk]] + amount_milli,
            )
            for student in chosen
        ),
        amount_milli=amount_milli,
        total_milli=total,
        pool_milli=pool,
        pool_after_milli=None if pool is None else pool - total,
    )


def confirm(
    *,
    key: uuid.UUID,
    actor: User,
    workshop: Workshop,
    students: Iterable[User],
    amount_milli: int,
    reason: str,
    from_pool: bool,
    team_pool: str = "",
    reference: str = "gift",
    expires_at: datetime | None = None,
) -> Done:
    """Give each of them so much, all or none. The same batch again changes nothing. REFUSALS."""
    people = list(students)

    def act() -> Done:
        chosen = _check(actor, workshop, people, amount_milli, from_pool)
        require_reason(reason)
        pool_id = posting.pool_account(workshop, team_pool) if from_pool else None
        fields: dict[str, Any] = {
            "workshop_id": workshop.pk,
            "actor_id": actor.pk,
            "user_ids": sorted(student.pk for student in chosen),
            "amount": amount_milli,
            "pool_id": pool_id,
            "reference": reference,
            "reason": reason,
            "expires_at": expires_at,
        }
        batch, new = GrantBatch.objects.get_or_create(key=key, defaults=fields)
        if any(getattr(batch, name) != value for name, value in fields.items()):
            raise posting.KeyConflict(f"batch {key} was given before, otherwise")
        if new:
            _give(batch, chosen)
        rows = tuple(Given(student.pk, student.name, amount_milli) for student in chosen)
        return Done(key, rows, amount_milli * len(rows), replayed=not new)

    facts = {
        "users": sorted(student.pk for student in people),
        "amount_milli": amount_milli,
        "from_pool": from_pool,
        "key": str(key),
    }
    return audited("credits.grant", f"batch:{key}", actor, workshop, reason, act, facts)


def undo(*, key: uuid.UUID, actor: User, reason: str) -> Undone:
    """Take a batch back as far as it is unspent, once; the same again tells the same. REFUSALS."""
    batch = GrantBatch.objects.filter(pk=key).select_related("workshop").first()
    if batch is None:
        raise posting.NotRefundable("there is no such batch")

    def act() -> Undone:
        require_granter(actor, batch.workshop)
        require_reason(reason)
        _lock(batch)
        batch.refresh_from_db()
        replayed = batch.undone_at is not None
        if not replayed:
            for user_id in batch.user_ids:
                posting.undo(
                    grant_key=_grant_key(batch, user_id),
                    key=posting.key_for(key, "undo", user_id),
                    reason=reason,
                    actor_id=actor.pk,
                )
            batch.undone_at, batch.undone_by = clock.now(), actor
            batch.save(update_fields=["undone_at", "undone_by"])
        return _report(batch, replayed)

    return audited("credits.undo", f"batch:{key}", actor, batch.workshop, reason, act, {"key": str(key)})


def story(key: uuid.UUID, workshop: Workshop) -> Story | None:
    """What a batch gave, and what an undo would bring back or has; None if it is not of the workshop."""
    batch = GrantBatch.objects.filter(pk=key, workshop=workshop).select_related("actor", "undone_by").first()
    if batch is None:
        return None
    if batch.undone_at is not None:
        rows = _report(batch, replayed=True).rows
    else:
        with transaction.atomic():
            rows = _report(batch, replayed=False, back=_unspent(batch)).rows
    return Story(
        rows=rows,
        reason=batch.reason,
        actor=batch.actor.name,
        at=batch.created_at,
        undone_at=batch.undone_at,
        undone_by=batch.undone_by.name if batch.undone_by is not None else "",
    )


def recent(workshop: Workshop, limit: int = 10) -> list[Recent]:
    """The workshop's newest batches."""
    rows = GrantBatch.objects.filter(workshop=workshop).select_related("actor").order_by("-created_at")
    return [
        Recent(
            row.pk,
            row.created_at,
            row.actor.name,
            len(row.user_ids),
            row.amount,
            row.reason,
            row.undone_at is not None,
        )
        for row in rows[:limit]
    ]


def _check(
    actor: User, workshop: Workshop, students: Iterable[User], amount_milli: int, from_pool: bool
) -> list[User]:
    """The students if all of this is allowed. REFUSALS."""
    require_granter(actor, workshop)
    if not from_pool:
        require_issuer(actor, workshop)
    require_open(workshop)
    check_amount(amount_milli)
    chosen = list(students)
    if not chosen:
        raise NobodyChosen("Choose at least one student.")
    ids = {student.pk for student in chosen}
    here = Enrolment.objects.filter(workshop=workshop, user__in=ids, role=Enrolment.Role.STUDENT)
    strangers = ids - set(here.values_list("user_id", flat=True))
    if actor.pk in ids and not access.may_issue(actor, workshop.pk):
        raise OwnAccount("Credits for your own account come from an organizer.")
    _refuse_strangers(strangers, _names_of)
    return chosen


def _give(batch: GrantBatch, students: list[User]) -> None:
    accounts = {student.pk: posting.member_account(student, batch.workshop) for student in students}
    # One lock order for the whole batch, whoever else moves credits meanwhile.
    Book.open_all([*accounts.values(), *([batch.pool_id] if batch.pool_id is not None else [])])
    for user_id in batch.user_ids:
        details: dict[str, Any] = {
            "amount_milli": batch.amount,
            "key": posting.key_for(batch.key, user_id),
            "reason": batch.reason,
            "actor_id": batch.actor_id,
            "subject": f"batch:{batch.key}",
        }
        if batch.pool_id is not None:
            posting.transfer(
                from_id=batch.pool_id, to_id=accounts[user_id], expires_at=batch.expires_at, **details
            )
        else:
            posting.grant(
                account_id=accounts[user_id],
                reference=batch.reference,
                expires_at=batch.expires_at,
                **details,
            )


def _lock(batch: GrantBatch) -> dict[int, Book]:
    accounts = LedgerAccount.objects.filter(kind="member", workshop=batch.workshop, user__in=batch.user_ids)
    ids = list(accounts.values_list("pk", flat=True))
    return Book.open_all([*ids, *([batch.pool_id] if batch.pool_id is not None else [])])


def _grant_key(batch: GrantBatch, user_id: int) -> uuid.UUID:
    key = posting.key_for(batch.key, user_id)
    return key if batch.pool_id is None else posting.key_for(key, "in")


def _unspent(batch: GrantBatch) -> dict[int, int]:
    """By user, what is left of this batch's credits and not on hold. Locks the accounts."""
    left = {}
    for book in _lock(batch).values():
        user_id = book.account.user_id
        if user_id is not None:
            origin = _grant_key(batch, user_id)
            left[user_id] = sum(lot.free for lot in book.portions if lot.origin == origin)
    return left


def _report(batch: GrantBatch, replayed: bool, back: dict[int, int] | None = None) -> Undone:
    if back is None:
        back = _taken_back(batch)
    people = User.objects.in_bulk(batch.user_ids)
    rows = tuple(
        sorted(
            (Given(pk, people[pk].name, batch.amount, back.get(pk, 0)) for pk in batch.user_ids),
            key=lambda row: (row.name.lower(), row.user_id),
        )
    )
    return Undone(
        key=batch.key,
        rows=rows,
        back_milli=sum(row.back_milli for row in rows),
        kept_milli=sum(row.kept_milli for row in rows),
        kept=tuple(row for row in rows if row.kept_milli),
        replayed=replayed,
    )


def _taken_back(batch: GrantBatch) -> dict[int, int]:
    keys = {posting.key_for(batch.key, "undo", user_id): user_id for user_id in batch.user_ids}
    stored = LedgerTransaction.objects.filter(pk__in=keys).values_list("pk", "amount")
    return {keys[key]: amount for key, amount in stored}


def _refuse_strangers(strangers: Collection[Any], name: Any) -> None:
    if strangers:
        raise NotEnrolled(f"Not a student of this workshop: {', '.join(map(str, name(strangers)))}.")


def _names_of(user_ids: Collection[int]) -> list[str]:
    known = {user.pk: user.name for user in User.objects.filter(pk__in=user_ids)}
    return sorted(known.get(user_id, f"user {user_id}") for user_id in user_ids)
