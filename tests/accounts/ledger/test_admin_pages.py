"""Issuing, refunding and taking back in the admin: form, preview, done."""

import uuid
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.ledger import audit, balances, posting
from accounts.models import User, Workshop
from tests.factories import people

pytestmark = pytest.mark.django_db


def client_of(place: Workshop, role: str) -> Client:
    who = people.user()
    people.enrol(who, place, role=role)
    client = Client()
    client.force_login(User.objects.get(pk=who.pk))
    return client


def send(client: Client, address: str, step: str, **form: Any) -> Any:
    asked = {"amount": "500", "reason": "Term fee", "key": str(uuid.uuid4()), **form}
    return client.post(address, {**asked, "step": step})


def issue_address(place: Workshop) -> str:
    return reverse("admin:accounts_workshop_issue_credits", args=[place.pk])


PURCHASE = {"to": "pool:", "reference": "purchase", "money": "19.90", "currency": "EUR"}


def test_an_organizer_issues_after_a_preview_and_takes_back() -> None:
    place = people.workshop()
    client, key = client_of(place, "organizer"), uuid.uuid4()
    shown = send(client, issue_address(place), "preview", key=str(key), **PURCHASE).content.decode()
    assert "500.00 credits: the account has 0.00 available and would have 500.00" in shown
    pool = posting.pool_account(place)
    assert balances.balance(pool).available_milli == 0
    for _twice in range(2):
        send(client, issue_address(place), "give", key=str(key), **PURCHASE)
    assert balances.balance(pool).available_milli == 500_000
    people.hold(pool, 20_000)
    back = reverse("admin:ledger_ledgertransaction_take_back", args=[key])
    answer = client.post(back, {"reason": "Typo"}, follow=True).content.decode()
    assert "480.00 credits came back; 20.00 are spent or set aside" in answer
    assert client.get(back).status_code == 403, "once"
    assert audit.findings() == []


def test_an_instructor_issues_nothing() -> None:
    place = people.workshop()
    client = client_of(place, "instructor")
    assert client.get(issue_address(place)).status_code == 403
    key = people.give(posting.pool_account(place), 1_000)
    assert client.get(reverse("admin:ledger_ledgertransaction_take_back", args=[key])).status_code == 403


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"amount": "-1"}, "more than zero"),
        ({"currency": ""}, "needs its currency"),
        ({"currency": "euro"}, "valid value"),
        ({"reference": "gift"}, "Only a purchase"),
        ({"to": "pool:Nobody"}, "not one of the available"),
        ({"reason": " "}, "required"),
    ],
)
def test_an_issue_that_is_refused_says_why(changed: dict[str, str], why: str) -> None:
    place = people.workshop()
    client = client_of(place, "organizer")
    for step in ("preview", "give"):
        assert why in send(client, issue_address(place), step, **{**PURCHASE, **changed}).content.decode()
    assert balances.totals(place).issued_milli == 0


def test_a_capture_is_refunded_once_per_form() -> None:
    place, taken = people.workshop(), uuid.uuid4()
    account = people.member(place, 10_000)
    posting.capture(hold_key=people.hold(account, 8_000, "job:1"), amount_milli=8_000, key=taken)
    client, key = client_of(place, "instructor"), str(uuid.uuid4())
    address = reverse("admin:ledger_ledgertransaction_refund", args=[taken])
    assert 'value="8.00"' in client.get(address).content.decode()
    assert "would have 5.00" in send(client, address, "preview", amount="3", key=key).content.decode()
    for _twice in range(2):
        send(client, address, "give", amount="3", key=key)
    assert balances.balance(account).available_milli == 5_000
    for step in ("preview", "give"):
        assert "5.00 of this capture are left" in send(client, address, step, amount="5.01").content.decode()


def test_only_captures_of_ones_own_class_are_refunded() -> None:
    place, other = people.workshop(), people.workshop()
    grant, taken = people.give(people.member(place), 1_000), uuid.uuid4()
    posting.capture(hold_key=people.hold(people.member(other, 1_000), 1_000), amount_milli=1_000, key=taken)
    client = client_of(place, "instructor")
    for key in (grant, taken):
        assert client.get(reverse("admin:ledger_ledgertransaction_refund", args=[key])).status_code == 403
