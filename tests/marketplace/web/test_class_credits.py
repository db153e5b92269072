"""Credits for a class from a page of the site: preview, give, undo; nobody else may."""

import re
import uuid
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.ledger import audit, balances, posting
from accounts.models import AuditRow, User, Workshop
from tests.factories import people

pytestmark = pytest.mark.django_db
ADDRESS = "/class/credits"


@pytest.fixture
def place() -> Workshop:
    there = people.workshop(name="Editing")
    people.give(posting.pool_account(there), 1_000_000)
    for name in ("ana", "bo", "cy"):
        people.student(there, name, team="Red" if name == "ana" else "")
    return there


@pytest.fixture
def teacher(place: Workshop) -> Client:
    client = Client()
    client.force_login(people.instructor(place, "ina"))
    return client


def send(client: Client, step: str, **changed: Any) -> Any:
    form = {"amount": "50", "to": "all", "source": "pool:", "reason": "Good work", "key": str(uuid.uuid4())}
    return client.post(ADDRESS, {**form, **changed, "step": step})


def has(place: Workshop, name: str) -> int:
    account = posting.member_account(User.objects.get(username=name), place)
    return balances.balance(account).available_milli


def hidden(page: str) -> dict[str, list[str]]:
    """The fields the preview would send."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page):
        if name != "csrfmiddlewaretoken":
            found.setdefault(name, []).append(value)
    return found


def test_a_class_gets_credits_after_a_preview_once_and_gives_them_back(
    place: Workshop, teacher: Client
) -> None:
    shown = send(teacher, "preview").content.decode()
    assert re.search(r"3 students get 50\.00 credits each, 150\.00 in all", shown)
    assert has(place, "ana") == 0
    given = [teacher.post(ADDRESS, {**hidden(shown), "step": "give"}).url for _twice in range(2)]
    assert given[0] == given[1]
    assert has(place, "ana") == 50_000
    people.hold(posting.member_account(User.objects.get(username="ana"), place), 20_000)
    assert "Undo: take 130.00 credits back" in teacher.get(given[0]).content.decode()
    told = teacher.post(given[0], {"reason": "Wrong class"}, follow=True).content.decode()
    assert "130.00 credits came back" in told
    assert "20.00 did not, since they were spent or set aside: ana." in told
    assert audit.findings() == []


def test_the_students_of_a_roster_file_get_credits(place: Workshop, teacher: Client) -> None:
    broken = b"name,email,role\nBo,bo@example.org,student\nIna,ina@example.org,\n"
    csv = b"name,email,role\nBo,bo@example.org,student\nCy,cy@example.org,student\n"
    shown = send(teacher, "preview", to="roster", roster=SimpleUploadedFile("few.csv", csv)).content.decode()
    teacher.post(ADDRESS, {**hidden(shown), "step": "give"})
    assert (has(place, "ana"), has(place, "bo"), has(place, "cy")) == (0, 50_000, 50_000)
    refused = send(teacher, "preview", to="roster", roster=SimpleUploadedFile("few.csv", broken))
    assert refused.status_code == 400
    assert "line 3" in refused.content.decode()


def test_a_roster_file_that_names_a_stranger_gives_nothing(place: Workshop, teacher: Client) -> None:
    file = SimpleUploadedFile("few.csv", b"name,email,role\nDee,dee@example.org,student\n")
    answer = send(teacher, "preview", to="roster", roster=file)
    assert answer.status_code == 400
    assert "Not a student of this workshop: dee@example.org" in answer.content.decode()
    assert "Choose the file" in send(teacher, "preview", to="roster").content.decode()
    assert balances.totals(place).available_milli == 1_000_000


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"amount": "-5"}, "more than zero"),
        ({"amount": "0"}, "more than zero"),
        ({"amount": "0.001"}, "finer than 0.01"),
        ({"amount": "NaN"}, "not a number"),
        ({"amount": "1" + "0" * 30}, "more credits than"),
        ({"amount": "500"}, "are missing"),
        ({"to": "some"}, "at least one student"),
        ({"reason": ""}, "required"),
    ],
)
def test_what_is_refused_says_why_and_gives_nothing(
    place: Workshop, teacher: Client, changed: dict[str, str], why: str
) -> None:
    for step in ("preview", "give"):
        answer = send(teacher, step, **changed)
        assert answer.status_code == 400
        assert why in answer.content.decode()
    assert balances.totals(place).available_milli == 1_000_000


def test_a_refused_grant_is_written_down_with_who_whom_and_why(place: Workshop, teacher: Client) -> None:
    send(teacher, "give", amount="500")
    row = AuditRow.objects.get(action="credits.grant.refused")
    assert row.actor is not None
    assert row.actor.username == "ina"
    assert row.reason == "Good work"
    assert row.after["refusal"] == "InsufficientCredits"
    assert len(row.after["users"]) == 3


def test_students_and_other_workshops_teachers_see_none_of_it(place: Workshop, teacher: Client) -> None:
    shown = send(teacher, "preview").content.decode()
    batch = teacher.post(ADDRESS, {**hidden(shown), "step": "give"}).url
    student, stranger = Client(), Client()
    student.force_login(User.objects.get(username="bo"))
    stranger.force_login(people.instructor(people.workshop()))
    assert student.get(ADDRESS).status_code == 403
    assert 'href="/class/credits"' not in student.get("/statement").content.decode()
    assert stranger.get(batch).status_code == 404
    assert send(student, "give").status_code == 403
