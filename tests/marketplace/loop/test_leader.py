"""Leadership: one row, one leader, a higher epoch for each."""

from datetime import timedelta

import pytest

from marketplace.loop import leader
from marketplace.market.models import Leadership
from tests.factories.clock import advance
from tests.factories.racing import race

pytestmark = pytest.mark.django_db


def test_while_one_leads_no_other_can() -> None:
    assert leader.take("a") is not None
    assert leader.take("b") is None
    advance(seconds=3)
    assert leader.take("b") is None


def test_a_leader_that_falls_silent_is_replaced_after_four_seconds() -> None:
    first = leader.take("a")
    advance(seconds=4)
    second = leader.take("b")
    assert first is not None
    assert second is not None
    assert second.epoch == first.epoch + 1
    assert not leader.renew(first)
    assert leader.renew(second)


def test_renewing_keeps_the_office() -> None:
    term = leader.take("a")
    assert term is not None
    for _ in range(5):
        advance(seconds=3)
        assert leader.renew(term)
    assert leader.take("b") is None


def test_who_resigns_is_replaced_at_once() -> None:
    term = leader.take("a")
    assert term is not None
    leader.resign(term)
    assert leader.take("b") is not None


def test_a_new_leader_waits_a_leases_length_before_it_takes_jobs_back() -> None:
    term = leader.take("a")
    assert term is not None
    assert not leader.grace_is_over(term)
    Leadership.objects.update(started_at=Leadership.objects.get().started_at - timedelta(seconds=31))
    assert leader.grace_is_over(term)


def test_after_a_gap_in_the_database_the_wait_begins_anew() -> None:
    term = leader.take("a")
    assert term is not None
    Leadership.objects.update(started_at=Leadership.objects.get().started_at - timedelta(seconds=31))
    leader.renew(term, after_gap=True)
    assert not leader.grace_is_over(term)


@pytest.mark.django_db(transaction=True)
def test_of_many_that_try_at_once_one_leads() -> None:
    terms = race(12, lambda n: leader.take(f"loop {n}"))
    assert not [term for term in terms if isinstance(term, Exception)]
    assert len([term for term in terms if term is not None]) == 1
