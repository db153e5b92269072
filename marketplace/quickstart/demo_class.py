"""The demo class: a workshop with people, credits and an open session, for a newcomer's first picture."""

import uuid
from datetime import timedelta

from django.contrib.auth.hashers import make_password
from django.db import transaction

from accounts import clock
from accounts.ledger import posting
from accounts.ledger.posting import key_for
from accounts.models import ClassSession, Enrolment, User, Workshop
from marketplace.market import importing
from marketplace.quickstart.logins import DEMO_PASSWORD, INSTRUCTOR, ORGANIZER

WORKSHOP_SLUG, WORKSHOP_NAME = "demo", "Moving Image Lab"
STUDENTS = ("student", *(f"student{number}" for number in range(2, 21)))
SESSION_LENGTH = timedelta(hours=8)
GIFT_MILLI = 100_000
POOL_MILLI = 2_000_000
PURSE_MILLI = 200_000
DEMO_KEYS = uuid.UUID("5b0c5d1e-52f7-4a57-9a4b-0d5f6f6d7c11")  # scopes keys that are no user's
# Twenty allowances of 10 credits an hour buy 80 % of one reference GPU.
MILLI_PER_GPU_SECOND = 70


@transaction.atomic
def seed() -> Workshop:
    """Make what is missing and renew a session that is over; a second call changes nothing else."""
    workshop, _made = Workshop.objects.get_or_create(
        slug=WORKSHOP_SLUG,
        defaults={
            "name": WORKSHOP_NAME,
            "seats": len(STUDENTS),
            "milli_per_gpu_second": MILLI_PER_GPU_SECOND,
        },
    )
    _open_session(workshop)
    password = make_password(DEMO_PASSWORD)  # once: hashing is slow by design
    for username in STUDENTS:
        student = _person(workshop, username, Enrolment.Role.STUDENT, password)
        posting.grant(
            account_id=posting.member_account(student, workshop),
            amount_milli=GIFT_MILLI,
            key=key_for(student.key_namespace, "demo-class", "welcome"),
            reference="gift",
            reason="Welcome to the demo class",
        )
    posting.grant(
        account_id=posting.pool_account(workshop),
        amount_milli=POOL_MILLI,
        key=key_for(DEMO_KEYS, workshop.slug, "pool"),
        reference="gift",
        reason="For the instructor to grant from",
    )
    posting.grant(
        account_id=posting.purse_account(workshop),
        amount_milli=PURSE_MILLI,
        key=key_for(DEMO_KEYS, workshop.slug, "purse"),
        reference="gift",
        reason="For the instructor's demos",
    )
    _person(workshop, INSTRUCTOR, Enrolment.Role.INSTRUCTOR, password)
    _person(workshop, ORGANIZER, Enrolment.Role.ORGANIZER, password, superuser=True)
    importing.import_starters(workshop)
    return workshop


def _open_session(workshop: Workshop) -> None:
    now = clock.now()
    running = workshop.sessions.filter(opens_at__lte=now, closes_at__gt=now)
    if running.exclude(state=ClassSession.State.CLOSED).exists():
        return
    ClassSession.objects.create(
        workshop=workshop,
        title="Demo session",
        opens_at=now,
        closes_at=now + SESSION_LENGTH,
        state=ClassSession.State.OPEN,
    )


def _person(workshop: Workshop, username: str, role: str, password: str, *, superuser: bool = False) -> User:
    user = User.objects.filter(username=username).first()
    if user is None:
        user = User.objects.create(
            username=username,
            display_name=_display_name(username),
            password=password,
            is_staff=superuser,
            is_superuser=superuser,
        )
    Enrolment.objects.get_or_create(user=user, workshop=workshop, defaults={"role": role})
    return user


def _display_name(username: str) -> str:
    number = username.removeprefix("student")
    return f"Student {number or 1}" if username.startswith("student") else username.capitalize()
