"""The demo class can be seeded again and again."""

import pytest
from django.core.management import call_command

from accounts import clock
from accounts.ledger import audit, balances, posting
from accounts.models import ClassSession, Enrolment, User
from marketplace.quickstart import demo_class
from marketplace.quickstart.logins import LOGINS
from tests.factories.clock import advance

pytestmark = pytest.mark.django_db


def test_seeding_twice_changes_nothing_the_second_time() -> None:
    workshop = demo_class.seed()
    student = User.objects.get(username="student")
    before = balances.balance(posting.member_account(student, workshop))
    assert demo_class.seed() == workshop
    assert balances.balance(posting.member_account(student, workshop)) == before
    assert before.available_milli == demo_class.GIFT_MILLI + workshop.allowance_milli_per_hour
    assert (User.objects.count(), ClassSession.objects.count()) == (22, 1)
    pool = balances.balance(posting.pool_account(workshop))
    assert pool.available_milli == demo_class.POOL_MILLI  # the instructor can grant at once
    purse = balances.balance(posting.purse_account(workshop))
    assert purse.available_milli == demo_class.PURSE_MILLI  # and show a demo
    assert not audit.findings()


def test_the_printed_logins_work() -> None:
    demo_class.seed()
    for login in LOGINS:
        user = User.objects.get(username=login.username)
        assert user.check_password(login.password)
        assert Enrolment.objects.get(user=user).role == login.role
    assert set(User.objects.filter(is_superuser=True)) == {User.objects.get(username="organizer")}


def test_a_password_changed_since_is_left_alone() -> None:
    demo_class.seed()
    student = User.objects.get(username="student")
    student.set_password("their own words")
    student.save()
    demo_class.seed()
    student.refresh_from_db()
    assert student.check_password("their own words")


def test_a_session_that_is_over_is_followed_by_another() -> None:
    workshop = demo_class.seed()
    advance(hours=9)
    demo_class.seed()
    latest = workshop.sessions.latest("opens_at")
    assert ClassSession.objects.count() == 2
    assert latest.closes_at > clock.now()


def test_the_command_prints_whom_to_sign_in_as(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("seed_demo")
    printed = capsys.readouterr().out
    assert "Moving Image Lab" in printed
    assert "student / darkroom-demo" in printed
