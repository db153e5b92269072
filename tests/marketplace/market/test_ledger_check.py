"""The nightly proof: an alarm for each failed check, cleared by the next good proof."""

import pytest
from django.db import connection

from accounts.ledger import balances
from jobs import chores
from jobs.models import Alarm, Chore
from marketplace.market import ledger_check
from tests.factories import clock, people

pytestmark = pytest.mark.django_db


def add_to_cache(account: int, amount: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE ledger_account SET available = available + %s WHERE id = %s", [amount, account]
        )


def test_a_finding_is_an_open_alarm_until_a_proof_clears_it() -> None:
    account = people.member(credits_milli=1_000)
    add_to_cache(account, 10)
    assert ledger_check.check() >= 1
    ledger_check.check()
    alarm = Alarm.objects.get(kind="ledger", subject="balance", cleared_at=None)
    assert str(account) in alarm.message
    add_to_cache(account, -10)
    assert balances.balance(account).available_milli == 1_000
    assert ledger_check.check() == 0
    assert not Alarm.objects.filter(cleared_at=None).exists()


def test_a_proof_is_asked_for_once_a_day() -> None:
    ledger_check.want_nightly()
    ledger_check.want_nightly()
    chore = Chore.objects.get()
    assert chores.run(chore.pk)
    clock.advance(days=1)
    ledger_check.want_nightly()
    assert Chore.objects.count() == 2
    clock.set_offset(clock.timedelta(0))
