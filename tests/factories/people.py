"""People, workshops and what they have, for tests. Plain functions; names are made up from a counter."""

import itertools
import uuid
from datetime import datetime, timedelta
from typing import Any

from accounts import clock
from accounts.ledger import posting
from accounts.models import ClassSession, Enrolment, User, Workshop

_numbers = itertools.count(1)


def user(name: str = "", **fields: Any) -> User:
    """A user without a password; `name` is the username."""
    username = name or f"user{next(_numbers)}"
    return User.objects.create(username=username, email=f"{username}@example.org", **fields)


def workshop(**fields: Any) -> Workshop:
    """A workshop without sessions, so without open hours."""
    number = next(_numbers)
    return Workshop.objects.create(**{"slug": f"workshop{number}", "name": f"Workshop {number}", **fields})


def enrol(who: User, where: Workshop, role: str = "student", **fields: Any) -> Enrolment:
    return Enrolment.objects.create(user=who, workshop=where, role=role, **fields)


def student(where: Workshop, name: str = "", **fields: Any) -> User:
    who = user(name)
    enrol(who, where, **fields)
    return who


def instructor(where: Workshop, name: str = "") -> User:
    who = user(name)
    enrol(who, where, role="instructor")
    return who


def member(where: Workshop | None = None, credits_milli: int = 0, **fields: Any) -> int:
    """A student's ledger account with so many credits."""
    place = where or workshop()
    account_id = posting.member_account(student(place, **fields), place)
    if credits_milli:
        give(account_id, credits_milli)
    return account_id


def give(account_id: int, amount_milli: int, **fields: Any) -> uuid.UUID:
    """Grant credits; the grant's key."""
    key = uuid.uuid4()
    posting.grant(
        **{
            "account_id": account_id,
            "amount_milli": amount_milli,
            "key": key,
            "reference": "gift",
            **fields,
        }
    )
    return key


def hold(account_id: int, amount_milli: int, subject: str = "job:test") -> uuid.UUID:
    """Set credits aside; the hold's key."""
    key = uuid.uuid4()
    posting.hold(account_id=account_id, amount_milli=amount_milli, key=key, subject=subject)
    return key


def session(where: Workshop, opens_at: datetime | None = None, hours: float = 3) -> ClassSession:
    """An opening, from now on unless said otherwise."""
    begins = opens_at or clock.now()
    return ClassSession.objects.create(
        workshop=where, opens_at=begins, closes_at=begins + timedelta(hours=hours)
    )
