"""Class lists from CSV: dry run, row by row, and the import."""

import pytest

from accounts import clock, roster
from accounts.models import AuditRow, Enrolment, User
from tests.factories import people

pytestmark = pytest.mark.django_db

LIST = """name,e-mail,role,team
Ana Prado,ana@school.test,student,Red
Bo Lind,BO@school.test,,Blue
Cy Marsh,cy@school.test,assistant,
"""


def test_a_dry_run_says_what_would_happen_and_changes_nothing() -> None:
    place = people.workshop()
    plan = roster.plan(place, LIST.encode(), people.instructor(place))
    assert [(row.line, row.email, row.role, row.action) for row in plan.rows] == [
        (2, "ana@school.test", "student", "create"),
        (3, "bo@school.test", "student", "create"),
        (4, "cy@school.test", "assistant", "create"),
    ]
    assert not User.objects.filter(email="ana@school.test").exists()


def test_an_import_makes_people_and_places() -> None:
    place = people.workshop()
    actor = people.instructor(place)
    assert roster.load(place, LIST.encode(), actor).imported == 3
    ana = User.objects.get(email="ana@school.test")
    assert (ana.username, ana.name, ana.has_usable_password()) == ("ana", "Ana Prado", False)
    seat = Enrolment.objects.get(user=ana, workshop=place)
    assert (seat.role, seat.team) == ("student", "Red")
    assert AuditRow.objects.get(action="roster.import").actor == actor


def test_importing_again_changes_nothing() -> None:
    place = people.workshop()
    actor = people.instructor(place)
    roster.load(place, LIST.encode(), actor)
    again = roster.load(place, LIST.encode(), actor)
    assert {row.action for row in again.rows} == {"same"}
    assert AuditRow.objects.filter(action="roster.import").count() == 1


def test_known_people_are_enrolled_and_places_changed() -> None:
    place, other = people.workshop(), people.workshop()
    known, here = people.student(other, "ana"), people.student(place, "bo", team="Blue")
    lines = f"name,email,team\nAna,{known.email},Red\nBo,{here.email},Red\n"
    plan = roster.load(place, lines.encode(), people.instructor(place))
    assert [(row.action, row.message) for row in plan.rows] == [
        ("enrol", "has an account as ana"),
        ("change", "team Blue becomes Red"),
    ]
    assert Enrolment.objects.get(user=here, workshop=place).team == "Red"
    assert Enrolment.objects.filter(user=known).count() == 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("Ana,not-an-address,student,", "not an e-mail address"),
        ("Ana,,student,", "nothing is not an e-mail"),
        (",ana@school.test,student,", "no name"),
        ("Ana,ana@school.test,king,", "'king' is none of"),
        ("Ana,ana@school.test,organizer,", "only an organizer"),
        ("Ana,ana@school.test,student,Red,more", "more cells"),
        ("A" * 121 + ",ana@school.test,student,", "name is too long"),
        ("Ana,ana@school.test,student," + "R" * 61, "team is too long"),
        ("A\x07na,ana@school.test,student,", "can't be shown"),
    ],
)
def test_a_bad_row_is_left_out_and_named(line: str, why: str) -> None:
    place = people.workshop()
    lines = f"name,email,role,team\n{line}\nBo,bo@school.test,student,\n"
    plan = roster.load(place, lines.encode(), people.instructor(place))
    assert (plan.rows[0].action, plan.count("create")) == ("refused", 1)
    assert why in plan.rows[0].message
    assert plan.emails == ["bo@school.test"]


def test_a_person_twice_in_a_list_is_refused_the_second_time() -> None:
    place = people.workshop()
    lines = "name,email\nAna,ana@school.test\nAna P.,ANA@school.test\n"
    plan = roster.plan(place, lines.encode(), people.instructor(place))
    assert (plan.rows[1].action, plan.rows[1].message) == ("refused", "the same person as line 2")


def test_nobody_changes_their_own_place_or_a_superiors() -> None:
    place = people.workshop()
    actor, boss = people.instructor(place, "ina"), people.user("olga")
    people.enrol(boss, place, role="organizer")
    lines = f"name,email,role\nIna,{actor.email},student\nOlga,{boss.email},student\n"
    plan = roster.load(place, lines.encode(), actor)
    assert [row.action for row in plan.rows] == ["refused", "refused"]
    assert Enrolment.objects.get(user=boss).role == "organizer"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"name,role\nAna,student", "email"),
        (b"name;name;email\n", "name"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"name,email\nAna\x00,a@b.test", "not text"),
        (b'name,email\n"Ana,a@b.test', "not CSV"),
        (b"x" * 1_000_001, "larger"),
        (b"name,email\n" + b"A,a@b.test\n" * 2001, "2000 is the most"),
    ],
)
def test_a_file_that_is_no_roster_is_refused(data: bytes, why: str) -> None:
    place = people.workshop()
    with pytest.raises(roster.RosterRefused, match=why):
        roster.plan(place, data, people.instructor(place))


def test_spreadsheets_of_other_countries_are_read() -> None:
    place = people.workshop()
    lines = "\ufeffName;E-Mail;Team\r\nZoë Åström;zoe@school.test;Rot\r\n"
    (row,) = roster.plan(place, lines.encode(), people.instructor(place)).rows
    assert (row.name, row.team, row.action) == ("Zoë Åström", "Rot", "create")


def test_only_those_who_teach_import_into_an_open_workshop() -> None:
    place = people.workshop()
    for actor in (people.student(place), people.user()):
        with pytest.raises(roster.RosterRefused, match="may not enrol"):
            roster.plan(place, LIST.encode(), actor)
    place.closed_at = clock.now()
    with pytest.raises(roster.RosterRefused, match="closed"):
        roster.plan(place, LIST.encode(), people.instructor(place))


def test_usernames_stay_apart() -> None:
    place = people.workshop()
    lines = "name,email\nAna,ana@one.test\nAna,ana@two.test\n"
    roster.load(place, lines.encode(), people.instructor(place))
    assert set(User.objects.filter(username__startswith="ana").values_list("username", flat=True)) == {
        "ana",
        "ana2",
    }
