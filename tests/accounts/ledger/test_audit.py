"""Whatever is broken behind the triggers' back, the audit names it."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection

from accounts import clock as market_clock
from accounts.ledger import allowance, audit, balances, posting
from tests.factories import clock, people

pytestmark = pytest.mark.django_db


def ledger_of_everything() -> int:
    """A member's account with one of each kind of line."""
    place = people.workshop()
    account = people.member(place, 50_000)
    people.session(place, hours=2)
    people.give(account, 1_000, expires_at=market_clock.now() + timedelta(minutes=30))
    first, second, taken, moved = (uuid.uuid4() for _ in range(4))
    clock.advance(hours=1)
    posting.hold(account_id=account, amount_milli=12_380, key=first, subject="job:1")
    posting.adjust(hold_key=first, amount_milli=15_000, key=second)
    posting.capture(hold_key=second, amount_milli=9_350, key=taken)
    posting.refund(capture_key=taken, amount_milli=50, key=uuid.uuid4(), reason="", actor_id=None)
    pool = posting.pool_account(place)
    people.give(pool, 9_000)
    posting.transfer(from_id=pool, to_id=account, amount_milli=4_000, key=moved, reason="", actor_id=None)
    posting.undo(grant_key=posting.key_for(moved, "in"), key=uuid.uuid4(), reason="", actor_id=None)
    posting.transfer(from_id=pool, to_id=account, amount_milli=20, key=uuid.uuid4(), reason="", actor_id=None)
    people.hold(account, 700)
    return account


def break_it(sql: str, **values: object) -> None:
    """Change rows that triggers and foreign keys would keep."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(sql, values)
        assert cursor.rowcount > 0, "nothing was broken"
        cursor.execute("SET LOCAL session_replication_role = origin")


def test_a_ledger_of_everything_is_proven() -> None:
    account = ledger_of_everything()
    assert audit.findings() == []
    assert audit.findings([account]) == []


BREAKS = {
    "statement": "UPDATE ledger_transaction SET available = available + 10 WHERE kind = 'refund'",
    "statement of a hold": "UPDATE ledger_hold SET seq = seq + 100 WHERE subject = 'job:test'",
    "statement in time": "UPDATE ledger_hold SET created_at = created_at - interval '1 day'"
    " WHERE subject = 'job:test'",
    "balance": "UPDATE ledger_account SET available = available + 10 WHERE id = %(account)s",
    "balance number": "UPDATE ledger_account SET seq = seq + 1 WHERE id = %(account)s",
    "entries": "UPDATE ledger_entry SET amount = amount + 10 WHERE account_id = %(account)s AND amount = 50",
    "zero_sum": "UPDATE ledger_entry SET amount = amount + 10 WHERE account_id = 1 AND amount = 9350",
    "zero_sum missing": "DELETE FROM ledger_entry WHERE amount IN (9350, -9350)",
    "zero_sum across": "UPDATE ledger_entry SET account_id = 1004 WHERE account_id = 1 AND amount = -50",
    "held": "UPDATE ledger_account SET held = held + 10, available = available - 10 WHERE id = %(account)s",
    "resolved": "UPDATE ledger_transaction SET amount = 15010 WHERE kind = 'capture'",
    "adjusted": "UPDATE ledger_transaction SET key = gen_random_uuid() WHERE kind = 'release'",
    "refunded": "UPDATE ledger_transaction SET amount = 9360 WHERE kind = 'refund'",
    "refunded what": "UPDATE ledger_transaction r SET refers_to_id = g.key FROM ledger_transaction g"
    " WHERE r.kind = 'refund' AND g.amount = 50000",
    "moved": "UPDATE ledger_transaction SET amount = amount + 10 WHERE kind = 'transfer_in' AND amount = 20",
    "moved nowhere": "UPDATE ledger_transaction SET refers_to_id = gen_random_uuid()"
    " WHERE kind = 'transfer_in'",
    "undone": "UPDATE ledger_transaction SET amount = amount + 10 WHERE kind = 'undo'",
    "lots": "UPDATE ledger_lot SET cap = cap - 10 WHERE account_id = %(account)s AND cap > 10000",
    "allowance": "UPDATE ledger_transaction SET amount = amount + 10 WHERE kind = 'allowance'",
    "allowance twice": "UPDATE ledger_transaction SET subject = 'hour:0:0' WHERE kind = 'allowance'",
    "house": "UPDATE ledger_account SET available = 10 WHERE id = 1",
}


@pytest.mark.parametrize("broken", BREAKS)
def test_what_is_broken_is_named(broken: str) -> None:
    account = ledger_of_everything()
    break_it(BREAKS[broken], account=account)
    found = audit.findings()
    assert broken.split()[0] in {finding.check for finding in found}
    assert all(finding.ids and finding.message in str(finding) for finding in found)


def test_an_account_with_less_than_nothing_is_named() -> None:
    account = ledger_of_everything()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE ledger_account DROP CONSTRAINT ledger_available_not_negative")
        cursor.execute("UPDATE ledger_account SET available = -10 WHERE id = %s", [account])
    assert "negative" in {finding.check for finding in audit.findings([account])}


def test_many_wrong_rows_are_counted_and_some_named() -> None:
    place = people.workshop()
    accounts = [people.member(place, 10) for _ in range(25)]
    break_it("UPDATE ledger_account SET seq = seq + 1 WHERE id = ANY(%(ids)s)", ids=accounts)
    (finding,) = audit.findings()
    assert len(finding.ids) == 20
    assert "(25 in all)" in str(finding)


def test_an_account_out_of_scope_is_not_looked_at() -> None:
    broken, sound = people.member(credits_milli=10), people.member(credits_milli=10)
    break_it("UPDATE ledger_account SET seq = seq + 1 WHERE id = %(account)s", account=broken)
    assert audit.findings([sound]) == []


def test_one_account_that_can_not_be_settled_keeps_nobody_waiting() -> None:
    place = people.workshop()
    poor, sound = people.member(place, 1_000), people.member(place)
    break_it("DELETE FROM ledger_lot WHERE account_id = %(account)s", account=poor)
    people.session(place)
    assert allowance.sweep() == 1
    assert balances.balance(sound).available_milli == 10_000
