"""The database itself refuses bad money and lost rows."""

import uuid

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from accounts.ledger import statements
from tests.factories import people

pytestmark = pytest.mark.django_db

FROZEN = ("ledger_transaction", "ledger_entry", "ledger_hold", "ledger_allowance_term", "accounts_auditrow")


def sql(text: str, *values: object) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(text, values)


@pytest.fixture
def account() -> int:
    place = people.workshop()
    account_id = people.member(place, 10_000)
    people.hold(account_id, 1_000)
    sql("INSERT INTO accounts_auditrow (action, subject, reason) VALUES ('grant', 'user:1', '')")
    return account_id


@pytest.mark.parametrize("table", FROZEN)
def test_rows_are_never_changed_deleted_or_truncated(account: int, table: str) -> None:
    column = {"ledger_allowance_term": "rate", "accounts_auditrow": "reason"}.get(table, "amount")
    for change in (
        f"UPDATE {table} SET {column} = {column}",
        f"DELETE FROM {table}",
        f"TRUNCATE {table} CASCADE",
    ):
        with pytest.raises(DatabaseError, match="append-only"):
            sql(change)


def test_an_account_is_never_deleted(account: int) -> None:
    for change in ("DELETE FROM ledger_account WHERE id = 1", "TRUNCATE ledger_account CASCADE"):
        with pytest.raises(DatabaseError, match="append-only"):
            sql(change)


def test_entries_that_do_not_sum_to_zero_are_refused(account: int) -> None:
    key = people.give(account, 1_000)
    with pytest.raises(IntegrityError, match="sum to zero"):
        sql("INSERT INTO ledger_entry (transaction_id, account_id, amount) VALUES (%s, 1, 10)", key)
    with pytest.raises(IntegrityError, match="sum to zero"):
        sql(
            "INSERT INTO ledger_entry (transaction_id, account_id, amount) VALUES (%s, 1, 10), (%s, 2, -20)",
            key,
            key,
        )


@pytest.mark.parametrize("column", ["available", "held"])
def test_a_balance_is_never_negative(account: int, column: str) -> None:
    with pytest.raises(IntegrityError, match="not_negative"):
        sql(f"UPDATE ledger_account SET {column} = -10 WHERE id = %s", account)


def test_a_posting_finer_than_a_step_is_refused(account: int) -> None:
    with pytest.raises(IntegrityError, match="in_steps"), transaction.atomic():
        statements.post(account=account, change=5, kind="grant", key=uuid.uuid4(), reference="gift")
    request = {"account": account, "amount": 5, "key": uuid.uuid4(), "subject": "", "expires_at": None}
    with pytest.raises(IntegrityError, match="in_steps"), transaction.atomic():
        statements.run(statements.HOLD, request)


def test_a_debt_can_not_be_posted(account: int) -> None:
    assert statements.post(account=account, change=-9_010, kind="expire", key=uuid.uuid4()) is None


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"kind": "refund"}, "refers"),
        ({"kind": "capture"}, "resolves"),
        ({"kind": "grant"}, "has_reference"),
        ({"kind": "grant", "reference": "gift", "money_minor": 5, "currency": "EUR"}, "purchase_money"),
        ({"kind": "grant", "reference": "purchase", "money_minor": 5}, "purchase_money"),
        ({"kind": "grant", "reference": "gift", "change": 0}, "transaction_amount"),
    ],
)
def test_a_malformed_transaction_is_refused(account: int, fields: dict[str, object], constraint: str) -> None:
    request = {"account": account, "change": 10, "key": uuid.uuid4(), "other": 2, **fields}
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        statements.post(**request)


def test_the_application_may_not_even_try_without_superuser_rights(account: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, privilege_type FROM information_schema.table_privileges"
            " WHERE table_name LIKE 'ledger%%' AND grantee = current_user"
            " AND privilege_type IN ('DELETE', 'TRUNCATE')"
        )
        granted = set(cursor.fetchall())
    assert not {table for table, _right in granted} & set(FROZEN)
