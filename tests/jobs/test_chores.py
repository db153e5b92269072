"""Chores: rows wanted once, announced until done, run once."""

import pytest

from accounts.clock import MarketNow
from jobs import chores
from jobs.models import Chore
from tests.factories.clock import advance
from tests.fakes import chores as fakes

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.DONE.clear()
    kinds = {name: f"tests.fakes.chores.{name}" for name in ("note", "refuse")}
    monkeypatch.setattr(chores, "KINDS", kinds)


def test_wanting_a_chore_twice_wants_it_once() -> None:
    chores.want("note", "a")
    chores.want("note", "a")
    assert Chore.objects.count() == 1


def test_a_chore_nobody_can_do_is_refused_when_it_is_wanted() -> None:
    with pytest.raises(chores.UnknownChore, match="juggle"):
        chores.want("juggle", "a")


def test_a_chore_is_announced_again_after_fifteen_seconds_until_done() -> None:
    chores.want("note", "a")
    (chore_id,) = chores.due()
    assert chores.due() == []
    advance(seconds=14)
    assert chores.due() == []
    advance(seconds=2)
    assert chores.due() == [chore_id]
    Chore.objects.filter(pk=chore_id).update(done_at=MarketNow())
    advance(seconds=60)
    assert chores.due() == []


def test_a_chore_announced_twice_runs_once() -> None:
    chores.want("note", "a")
    (chore_id,) = chores.due()
    assert [chores.run(chore_id), chores.run(chore_id)] == [True, False]
    assert fakes.DONE == ["a"]


def test_a_failing_chore_says_so_on_its_row_and_is_tried_ten_times() -> None:
    chores.want("refuse", "a")
    for _turn in range(chores.MOST_TRIES):
        (chore_id,) = chores.due()
        with pytest.raises(OSError, match="no room for a"):
            chores.run(chore_id)
        advance(seconds=16)
    assert chores.due() == []
    row = Chore.objects.get()
    assert (row.tries, row.done_at) == (10, None)
    assert "no room" in row.failure
