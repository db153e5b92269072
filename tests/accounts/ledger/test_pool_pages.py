"""Pools in the admin: limits, and moving credits between them."""

import uuid
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.ledger import audit, balances, posting
from accounts.models import AuditRow, User, Workshop
from tests.factories import people

pytestmark = pytest.mark.django_db


@pytest.fixture
def place() -> Workshop:
    there = people.workshop(name="Editing")
    people.student(there, "ana", team="Red")
    people.give(posting.pool_account(there), 100_000)
    return there


@pytest.fixture
def teacher(place: Workshop) -> Client:
    client = Client()
    client.force_login(people.instructor(place))
    return client


def send(client: Client, place: Workshop, do: str, **form: Any) -> str:
    address = reverse("admin:accounts_workshop_pools", args=[place.pk])
    told = {"reason": "For the shoot", **form, "do": do}
    return client.post(address, told, follow=True).content.decode()


def move(client: Client, place: Workshop, **changed: Any) -> str:
    form = {"origin": "pool:", "target": "pool:Red", "amount": "30", "key": str(uuid.uuid4())}
    return send(client, place, "move", **{**form, **changed})


def test_credits_move_to_a_teams_pool_and_back_once(place: Workshop, teacher: Client) -> None:
    key = str(uuid.uuid4())
    for _twice in range(2):
        assert "30.00 credits were moved" in move(teacher, place, key=key)
    move(teacher, place, origin="pool:Red", target="purse", amount="10")
    found = {(pool.team, pool.purse): pool.available_milli for pool in balances.pools(place)}
    assert found == {("", False): 70_000, ("Red", False): 20_000, ("", True): 10_000}
    assert audit.findings() == []


def test_a_pools_limit_holds_and_is_shown(place: Workshop, teacher: Client) -> None:
    assert "holds at most 25.00 credits" in send(teacher, place, "cap", pool="pool:Red", cap="25")
    assert "cap" in move(teacher, place)
    assert [pool.available_milli for pool in balances.pools(place)] == [100_000, 0]
    assert "25.00" in move(teacher, place, amount="25")
    assert "any number of credits" in send(teacher, place, "cap", pool="pool:Red", cap="")
    assert "were moved" in move(teacher, place)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"amount": "-1"}, "more than zero"),
        ({"amount": "0.005"}, "finer than 0.01"),
        ({"amount": "1e30"}, "not a number"),
        ({"amount": "100.01"}, "are missing"),
        ({"target": "pool:"}, "Choose another pool"),
        ({"target": "pool:Blue"}, "not one of the available choices"),
        ({"reason": " "}, "required"),
    ],
)
def test_a_move_that_is_refused_says_why(
    place: Workshop, teacher: Client, changed: dict[str, str], why: str
) -> None:
    assert why in move(teacher, place, **changed)
    assert balances.totals(place).available_milli == 100_000


def test_moves_and_limits_are_written_down_refusals_too(place: Workshop, teacher: Client) -> None:
    move(teacher, place, amount="500")
    send(teacher, place, "cap", pool="pool:Red", cap="25")
    told = {row.action: row.reason for row in AuditRow.objects.all()}
    assert told["credits.fund.refused"] == told["credits.cap"] == "For the shoot"


def test_students_and_other_teachers_find_no_pools(place: Workshop) -> None:
    for who in (people.instructor(people.workshop()), User.objects.get(username="ana")):
        client = Client()
        client.force_login(who)
        answer = client.get(reverse("admin:accounts_workshop_pools", args=[place.pk]))
        assert answer.status_code in (302, 403, 404)
