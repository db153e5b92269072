"""One question tells a member's balance; what is due by then is posted first."""

from datetime import timedelta

import pytest

from accounts.clock import now
from accounts.ledger import posting
from accounts.models import ClassSession
from tests.factories import clock, people

pytestmark = pytest.mark.django_db


def test_a_balance_is_opened_settled_and_then_one_question(django_assert_num_queries: object) -> None:
    place = people.workshop()
    student = people.student(place)
    ClassSession.objects.create(
        workshop=place, opens_at=now() - timedelta(minutes=5), closes_at=now() + timedelta(hours=3)
    )
    assert posting.member_balance(student, place).available_milli == 10_000
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert posting.member_balance(student, place).available_milli == 10_000
    clock.advance(hours=1)
    assert posting.member_balance(student, place).available_milli == 20_000
