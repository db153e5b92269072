"""The SQL of the ledger: each posting is one statement. Private to the ledger.

All run under READ COMMITTED. A statement gives one row (seq, available, held) when it posted, and none when
something forbade it; a unique violation means that the key or the hold was used. `posting` finds out which.
"""

from typing import Any, NamedTuple

from django.db import connection

from accounts.ledger.models import EXPIRED_ID, HOUSE_ID, ISSUANCE_ID

HOLD = """
WITH a AS (
    UPDATE ledger_account
       SET available = available - %(amount)s, held = held + %(amount)s, seq = seq + 1,
           moved_at = greatest(moved_at, market_now())
     WHERE id = %(account)s AND available >= %(amount)s AND due_at > market_now()
       AND NOT EXISTS (SELECT FROM ledger_transaction WHERE key = %(key)s)
 RETURNING id, seq, available, held, moved_at)
INSERT INTO ledger_hold (key, account_id, amount, subject, expires_at, seq, available, held, created_at)
SELECT %(key)s, id, %(amount)s, %(subject)s, %(expires_at)s, seq, available, held, moved_at FROM a
RETURNING account_id, seq, available, held
"""

# kind 'capture' (amount > 0) or 'release' (amount = 0, no entries)
RESOLVE = """
WITH h AS (
    SELECT key, account_id, amount, subject FROM ledger_hold
     WHERE key = %(hold)s AND amount >= %(amount)s
       AND NOT EXISTS (SELECT FROM ledger_hold WHERE key = %(key)s)),
a AS (
    UPDATE ledger_account a
       SET available = a.available + h.amount - %(amount)s, held = a.held - h.amount, seq = a.seq + 1,
           moved_at = greatest(a.moved_at, market_now())
      FROM h WHERE a.id = h.account_id AND a.held >= h.amount AND a.due_at > market_now()
 RETURNING a.id, a.seq, a.available, a.held, a.moved_at, h.subject),
t AS (
    INSERT INTO ledger_transaction (key, kind, account_id, amount, resolves_id, subject, reason, reference,
                                    currency, seq, available, held, created_at)
    SELECT %(key)s, %(kind)s, id, %(amount)s, %(hold)s, subject, %(reason)s, '',
           '', seq, available, held, moved_at
      FROM a
 RETURNING key, account_id, seq, available, held),
e AS (
    INSERT INTO ledger_entry (transaction_id, account_id, amount)
    SELECT t.key, v.account_id, v.amount
      FROM t, LATERAL (VALUES (t.account_id, -%(amount)s), (%(house)s, %(amount)s)) v (account_id, amount)
     WHERE v.amount <> 0)
SELECT account_id, seq, available, held FROM t
"""

# Releases the old hold as `seq - 1` and writes the new one as `seq`; both rows bear the one key.
ADJUST = """
WITH h AS (
    SELECT key, account_id, amount, subject FROM ledger_hold WHERE key = %(hold)s),
a AS (
    UPDATE ledger_account a
       SET available = a.available + h.amount - %(amount)s, held = a.held - h.amount + %(amount)s,
           seq = a.seq + 2, moved_at = greatest(a.moved_at, market_now())
      FROM h WHERE a.id = h.account_id AND a.held >= h.amount AND a.available + h.amount >= %(amount)s
       AND a.due_at > market_now()
 RETURNING a.id, a.seq, a.available, a.held, a.moved_at, h.subject),
t AS (
    INSERT INTO ledger_transaction (key, kind, account_id, amount, resolves_id, subject, reason, reference,
                                    currency, seq, available, held, created_at)
    SELECT %(key)s, 'release', id, 0, %(hold)s, subject, '', '',
           '', seq - 1, available + %(amount)s, held - %(amount)s, moved_at
      FROM a)
INSERT INTO ledger_hold (key, account_id, amount, subject, expires_at, replaces_id,
                         seq, available, held, created_at)
SELECT %(key)s, id, %(amount)s, subject, %(expires_at)s, %(hold)s, seq, available, held, moved_at FROM a
RETURNING account_id, seq, available, held
"""

# Everything that comes in or goes out without a hold: `change` is signed, `other` the account across.
# `at` backdates what was due earlier and is settled now; it never goes before the account's last movement.
POST = """
WITH a AS (
    UPDATE ledger_account
       SET available = available + %(change)s, seq = seq + 1,
           moved_at = greatest(moved_at, coalesce(%(at)s::timestamptz, market_now()))
     WHERE id = %(account)s AND workshop_id IS NOT NULL AND available + %(change)s >= 0
 RETURNING id, seq, available, held, moved_at),
t AS (
    INSERT INTO ledger_transaction (key, kind, account_id, amount, refers_to_id, subject, reason, actor_id,
                                    reference, money_minor, currency, expires_at, seq, available, held,
                                    created_at)
    SELECT %(key)s, %(kind)s, id, abs(%(change)s), %(refers_to)s, %(subject)s, %(reason)s, %(actor)s,
           %(reference)s, %(money_minor)s, %(currency)s, %(expires_at)s, seq, available, held, moved_at
      FROM a
 RETURNING key, account_id, seq, available, held),
e AS (
    INSERT INTO ledger_entry (transaction_id, account_id, amount)
    SELECT t.key, v.account_id, v.amount
      FROM t, LATERAL (VALUES (t.account_id, %(change)s), (%(other)s, -(%(change)s))) v (account_id, amount)
     WHERE v.amount <> 0)
SELECT account_id, seq, available, held FROM t
"""

# Across from the account: where credits come from and go to, by the kind of transaction.
OTHER_SIDE = {
    "grant": ISSUANCE_ID,
    "allowance": ISSUANCE_ID,
    "undo": ISSUANCE_ID,
    "capture": HOUSE_ID,
    "refund": HOUSE_ID,
    "expire": EXPIRED_ID,
    # A move passes the house, in and out at once.
    "transfer_out": HOUSE_ID,
    "transfer_in": HOUSE_ID,
}
_POST_DEFAULTS = {
    "at": None,
    "refers_to": None,
    "subject": "",
    "reason": "",
    "actor": None,
    "reference": "",
    "money_minor": None,
    "currency": "",
    "expires_at": None,
}


class After(NamedTuple):
    """An account after a statement posted on it."""

    account_id: int
    seq: int
    available_milli: int
    held_milli: int


def run(sql: str, parameters: dict[str, Any]) -> After | None:
    """Run one posting statement; None if it posted nothing."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row = cursor.fetchone()
    return After(*row) if row else None


def post(**request: Any) -> After | None:
    """POST with its optional parameters filled in; `account, change, key, kind` are needed."""
    return run(POST, {**_POST_DEFAULTS, "other": OTHER_SIDE[request["kind"]], **request})
