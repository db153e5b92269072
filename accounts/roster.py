"""A class list from a CSV file: name, e-mail, role, team. Dry run first, then the import.

Rows that can't be imported are named with the reason and left out; the others are imported in one
transaction. People are known by their e-mail. New ones get an account without a password.
"""

import csv
import io
import re
from dataclasses import dataclass, field
from typing import Literal

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from accounts import access, audit
from accounts.models import Enrolment, User, Workshop

MAX_BYTES = 1_000_000
MAX_ROWS = 2_000
_COLUMNS = {"name": "name", "email": "email", "e-mail": "email", "role": "role", "team": "team"}

Action = Literal["create", "enrol", "change", "same", "refused"]


class RosterRefused(Exception):
    """The file as a whole can't be read, or its reader may not import one."""


@dataclass(slots=True)
class PlannedRow:
    """One line of the file and what becomes of it; `message` says why not, or what changes."""

    line: int
    name: str
    email: str
    role: str
    team: str
    action: Action = "create"
    message: str = ""


@dataclass(slots=True)
class Plan:
    """What an import would do, or did."""

    rows: list[PlannedRow] = field(default_factory=list)

    def count(self, action: Action) -> int:
        return sum(row.action == action for row in self.rows)

    @property
    def imported(self) -> int:
        """People whom the import adds or changes."""
        return sum(row.action in ("create", "enrol", "change") for row in self.rows)

    @property
    def emails(self) -> list[str]:
        """Of the rows that are fine."""
        return [row.email for row in self.rows if row.action != "refused"]


def plan(workshop: Workshop, data: bytes, actor: User) -> Plan:
    """What importing the file would do; changes nothing. RosterRefused."""
    roles = access.roles_to_give(actor, workshop.pk)
    if not roles:
        raise RosterRefused(f"{actor.name} may not enrol people in {workshop.name}.")
    if workshop.closed_at is not None:
        raise RosterRefused(f"{workshop.name} is closed.")
    planned = Plan(_read(data))
    people = {user.email.lower(): user for user in User.objects.exclude(email="")}
    places = {place.user_id: place for place in Enrolment.objects.filter(workshop=workshop)}
    seen: dict[str, int] = {}
    for row in planned.rows:
        if row.action != "refused":
            _decide(row, people.get(row.email), places, seen, roles, actor)
    return planned


def load(workshop: Workshop, data: bytes, actor: User) -> Plan:
    """Import the file: what `plan` says, in one transaction, with an audit row. RosterRefused."""
    with transaction.atomic():
        # One import at a time, so that two don't both create somebody.
        Workshop.objects.select_for_update(no_key=True).get(pk=workshop.pk)
        planned = plan(workshop, data, actor)
        for row in planned.rows:
            if row.action in ("create", "enrol", "change"):
                _carry_out(row, workshop)
        if planned.imported:
            audit.record(
                "roster.import",
                f"workshop:{workshop.pk}",
                actor=actor,
                workshop_id=workshop.pk,
                after={
                    "imported": planned.imported,
                    "refused": planned.count("refused"),
                    "rows": len(planned.rows),
                },
            )
    return planned


def _read(data: bytes) -> list[PlannedRow]:
    if len(data) > MAX_BYTES:
        raise RosterRefused(f"The file is larger than {MAX_BYTES // 1000} kB.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise RosterRefused("The file is not UTF-8 text: save it as CSV UTF-8.") from fault
    if "\x00" in text:
        raise RosterRefused("The file is not text.")
    head = text.split("\n", 1)[0]
    separator = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    try:
        table = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as fault:
        raise RosterRefused(f"Line {reader.line_num} is not CSV: {fault}.") from fault
    if not table:
        raise RosterRefused("The file is empty.")
    columns = [_COLUMNS.get(cell.lower(), "") for cell in table[0][1]]
    for needed in ("name", "email"):
        if columns.count(needed) != 1:
            raise RosterRefused(
                f"The first line must name the columns name, email, role, team; {needed!r} is not there once."
            )
    rows = [_row(line, columns, cells) for line, cells in table[1:] if any(cells)]
    if len(rows) > MAX_ROWS:
        raise RosterRefused(f"The file has {len(rows)} people; {MAX_ROWS} is the most.")
    return rows


def _row(line: int, columns: list[str], cells: list[str]) -> PlannedRow:
    told = dict(zip(columns, cells, strict=False))
    row = PlannedRow(
        line=line,
        name=told.get("name", ""),
        email=told.get("email", "").lower(),
        role=(told.get("role") or Enrolment.Role.STUDENT).lower(),
        team=told.get("team", ""),
    )
    if len(cells) > len(columns):
        return _refuse(row, "more cells than columns")
    try:
        validate_email(row.email)
    except ValidationError:
        return _refuse(row, f"{row.email or 'nothing'} is not an e-mail address")
    if not row.name:
        return _refuse(row, "no name")
    for text, longest, what in ((row.name, 120, "name"), (row.team, 60, "team"), (row.email, 254, "e-mail")):
        if len(text) > longest or not text.isprintable():
            return _refuse(row, f"the {what} is too long or has characters that can't be shown")
    return row


def _decide(
    row: PlannedRow,
    person: User | None,
    places: dict[int, Enrolment],
    seen: dict[str, int],
    roles: tuple[str, ...],
    actor: User,
) -> None:
    if row.email in seen:
        _refuse(row, f"the same person as line {seen[row.email]}")
        return
    seen[row.email] = row.line
    if row.role not in Enrolment.Role.values:
        _refuse(row, f"{row.role!r} is none of {', '.join(Enrolment.Role.values)}")
        return
    place = places.get(person.pk) if person is not None else None
    changes = [] if place is None else _changes(row, place)
    if place is not None and not changes:
        row.action, row.message = "same", "is enrolled as that already"
    elif person == actor:
        _refuse(row, "nobody changes their own place")
    elif row.role not in roles or (place is not None and place.role not in roles):
        _refuse(row, f"only an organizer may make or change {place.role if place else row.role}s")
    elif place is not None:
        row.action, row.message = "change", ", ".join(changes)
    elif person is not None:
        row.action, row.message = "enrol", f"has an account as {person.name}"
    else:
        row.action, row.message = "create", "gets a new account"


def _changes(row: PlannedRow, place: Enrolment) -> list[str]:
    changes = []
    if place.role != row.role:
        changes.append(f"{place.role} becomes {row.role}")
    if place.team != row.team:
        changes.append(f"team {place.team or 'none'} becomes {row.team or 'none'}")
    return changes


def _carry_out(row: PlannedRow, workshop: Workshop) -> None:
    person = User.objects.filter(email__iexact=row.email).first()
    if person is None:
        person = User(username=_free_username(row.email), email=row.email, display_name=row.name)
        person.set_unusable_password()
        person.save()
    place = Enrolment.objects.filter(user=person, workshop=workshop).first() or Enrolment(
        user=person, workshop=workshop
    )
    place.role, place.team = row.role, row.team
    place.save()


def _free_username(email: str) -> str:
    wanted = re.sub(r"[^\w.+-]", "", email.partition("@")[0])[:120] or "user"
    taken = set(User.objects.filter(username__startswith=wanted).values_list("username", flat=True))
    number = 1
    while (name := wanted if number == 1 else f"{wanted}{number}") in taken:
        number += 1
    return name


def _refuse(row: PlannedRow, why: str) -> PlannedRow:
    row.action, row.message = "refused", why
    return row
