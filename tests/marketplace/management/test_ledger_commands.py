"""`manage.py grant` and `check_ledger`."""

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.ledger import balances, posting
from accounts.models import User, Workshop
from tests.factories import people

pytestmark = pytest.mark.django_db


@pytest.fixture
def place() -> Workshop:
    there = people.workshop(slug="lab")
    people.enrol(people.user("olga"), there, role="organizer")
    for name in ("ana", "bo"):
        people.student(there, name, team="Red" if name == "ana" else "")
    return there


def grant(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command("grant", "lab", *arguments, by="olga", reason="Welcome", stdout=out, **options)
    return out.getvalue()


def available(name: str) -> int:
    account = posting.member_account(User.objects.get(username=name), Workshop.objects.get())
    return balances.balance(account).available_milli


def test_a_preview_gives_nothing_and_its_key_gives_once(place: Workshop) -> None:
    shown = grant("12.50")
    assert re.search(r"ana +0\.00 → +12\.50", shown)
    assert available("ana") == 0
    key = re.search(r"--key (\S+)", shown)[1]  # type: ignore[index]
    assert "25.00 credits to 2 students given" in grant("12.50", "--key", key, "--yes")
    assert "nothing changed" in grant("12.50", "--key", key, "--yes")
    assert (available("ana"), available("bo")) == (12_500, 12_500)


def test_an_undo_says_what_came_back_and_who_had_spent(place: Workshop) -> None:
    key = re.search(r"--undo (\S+)", grant("12.50", "--yes"))[1]  # type: ignore[index]
    people.hold(posting.member_account(User.objects.get(username="bo"), place), 2_500)
    told = grant("--undo", key)
    assert "22.50 credits came back" in told
    assert "bo had spent 2.50" in told
    assert "ana" not in told


def test_a_team_some_people_or_a_roster_are_chosen(place: Workshop, tmp_path: Path) -> None:
    grant("1", "--team", "Red", "--yes")
    grant("2", "--to", "bo@example.org", "--yes")
    (tmp_path / "class.csv").write_text("name,email\nana,ana@example.org\n")
    grant("4", "--yes", roster=tmp_path / "class.csv")
    assert (available("ana"), available("bo")) == (5_000, 2_000)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("−3",), "more than zero"),
        (("0.001",), "finer"),
        (("nan",), "not a number"),
        (("5", "--to", "zoe@example.org"), "zoe@example.org"),
        (("5", "--pool"), "are missing"),
        ((), "how many"),
    ],
)
def test_what_is_refused_is_said(place: Workshop, arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        grant(*arguments, "--yes")
    assert available("ana") == 0


def test_a_proven_ledger_ends_well_and_a_broken_one_does_not(place: Workshop) -> None:
    account = people.member(place, 1_000)
    out = StringIO()
    call_command("check_ledger", stdout=out)
    assert "proven" in out.getvalue()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ledger_account SET available = available + 10 WHERE id = %s", [account])
    with pytest.raises(CommandError, match=rf"balance: .*{account}") as failed:
        call_command("check_ledger")
    assert failed.value.returncode == 1
