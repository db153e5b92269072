"""Proves the ledger. One statement, hence one snapshot: an empty result is a proof for that moment.

Knows nothing of jobs; that no hold is open for a job that ended is the market's half of `check_ledger`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db import connection

from accounts.ledger.models import EXPIRED_ID, HOUSE_ID, ISSUANCE_ID

_SHOWN = 20  # ids named for each failed check

_SCOPE = """
WITH a AS MATERIALIZED (
    SELECT * FROM ledger_account WHERE workshop_id IS NOT NULL AND (%(every)s OR id = ANY(%(accounts)s))),
h AS NOT MATERIALIZED (
    SELECT * FROM ledger_hold WHERE %(every)s OR account_id = ANY(%(accounts)s)),
t AS NOT MATERIALIZED (
    SELECT *, CASE WHEN kind IN ('grant', 'allowance', 'refund', 'transfer_in') THEN amount
                   WHEN kind = 'release' THEN 0 ELSE -amount END AS change
      FROM ledger_transaction WHERE %(every)s OR account_id = ANY(%(accounts)s)),
lines AS MATERIALIZED (
    SELECT key, account_id, seq, available, held, created_at, -amount AS to_available, amount AS to_held
      FROM h
    UNION ALL
    SELECT t.key, t.account_id, t.seq, t.available, t.held, t.created_at,
           t.change + coalesce(r.amount, 0), -coalesce(r.amount, 0)
      FROM t LEFT JOIN ledger_hold r ON r.key = t.resolves_id),
chain AS (
    SELECT *, lag(seq, 1, 0::bigint) OVER w AS seq_before,
           lag(available, 1, 0::bigint) OVER w AS available_before,
           lag(held, 1, 0::bigint) OVER w AS held_before, lag(created_at) OVER w AS at_before
      FROM lines WINDOW w AS (PARTITION BY account_id ORDER BY seq)),
newest AS (
    SELECT DISTINCT ON (account_id) account_id, seq, available, held FROM lines ORDER BY account_id, seq DESC)
"""

# name, what it means when rows come, the rows' ids
_CHECKS = (
    (
        "statement",
        "a line does not follow from the one before it (number, balance or time)",
        """SELECT key::text FROM chain WHERE seq <> seq_before + 1
               OR available <> available_before + to_available OR held <> held_before + to_held
               OR created_at < at_before""",
    ),
    (
        "balance",
        "an account's cached balance is not that of its newest line",
        """SELECT a.id::text FROM a LEFT JOIN newest n ON n.account_id = a.id
            WHERE (a.available, a.held, a.seq) IS DISTINCT FROM
                  (coalesce(n.available, 0), coalesce(n.held, 0), coalesce(n.seq, 0))""",
    ),
    (
        "negative",
        "an account has less than nothing",
        "SELECT id::text FROM a WHERE available < 0 OR held < 0",
    ),
    (
        "entries",
        "available + held is not the sum of the account's entries",
        """SELECT a.id::text FROM a LEFT JOIN LATERAL (
               SELECT sum(amount) AS amount FROM ledger_entry WHERE account_id = a.id) e ON true
            WHERE a.available + a.held <> coalesce(e.amount, 0)""",
    ),
    (
        "zero_sum",
        "a transaction's entries are missing, do not sum to zero, or are not its amount",
        """SELECT t.key::text FROM t LEFT JOIN (
               SELECT e.transaction_id, sum(e.amount) AS total, count(*) AS n,
                      sum(e.amount) FILTER (WHERE e.account_id = t.account_id) AS own,
                      sum(e.amount) FILTER (WHERE e.account_id IN (%(house)s, %(issuance)s, %(expired)s))
                          AS across
                 FROM ledger_entry e JOIN t ON t.key = e.transaction_id GROUP BY 1) e
               ON e.transaction_id = t.key
            WHERE (t.change, -t.change, 0, CASE WHEN t.change = 0 THEN 0 ELSE 2 END) IS DISTINCT FROM
                  (coalesce(e.own, 0), coalesce(e.across, 0), coalesce(e.total, 0), coalesce(e.n, 0))""",
    ),
    (
        "held",
        "the held balance is not the sum of the account's open holds",
        """SELECT a.id::text FROM a LEFT JOIN (
               SELECT h.account_id, sum(h.amount) AS amount FROM h
                WHERE NOT EXISTS (SELECT FROM ledger_transaction r WHERE r.resolves_id = h.key) GROUP BY 1) o
            ON o.account_id = a.id WHERE a.held <> coalesce(o.amount, 0)""",
    ),
    (
        "resolved",
        "a hold was captured above its amount, by another account, or resolved twice",
        """SELECT h.key::text FROM h JOIN ledger_transaction r ON r.resolves_id = h.key
            GROUP BY h.key, h.amount, h.account_id
           HAVING count(*) > 1 OR sum(r.amount) > h.amount OR bool_or(r.account_id <> h.account_id)""",
    ),
    (
        "adjusted",
        "a replacing hold does not stand next to the release of the one it replaces",
        """SELECT h.key::text FROM h WHERE h.replaces_id IS NOT NULL AND NOT EXISTS (
               SELECT FROM ledger_transaction r WHERE r.key = h.key AND r.resolves_id = h.replaces_id
                  AND r.kind = 'release' AND r.account_id = h.account_id AND r.seq = h.seq - 1)""",
    ),
    (
        "refunded",
        "a capture was refunded above its amount, or something else was refunded",
        """SELECT c.key::text FROM t r JOIN ledger_transaction c ON c.key = r.refers_to_id
            WHERE r.kind = 'refund' GROUP BY c.key, c.kind, c.amount, c.account_id
           HAVING c.kind <> 'capture' OR sum(r.amount) > c.amount OR bool_or(r.account_id <> c.account_id)""",
    ),
    (
        "moved",
        "half of a move is missing, or its halves differ",
        """SELECT o.key::text FROM t o LEFT JOIN ledger_transaction g ON g.key = o.refers_to_id
             LEFT JOIN ledger_transaction i ON i.refers_to_id = o.key AND i.kind = 'transfer_in'
            WHERE (o.kind = 'transfer_out' OR o.kind = 'undo' AND g.kind = 'transfer_in')
              AND (i.key IS NULL OR i.amount <> o.amount OR i.account_id = o.account_id)
           UNION ALL
           SELECT i.key::text FROM t i JOIN ledger_transaction o ON o.key = i.refers_to_id
            WHERE i.kind = 'transfer_in' AND o.kind NOT IN ('transfer_out', 'undo')""",
    ),
    (
        "undone",
        "more was taken back than was given, or from somebody else",
        """SELECT u.key::text FROM t u JOIN ledger_transaction g ON g.key = u.refers_to_id
            WHERE u.kind = 'undo' AND (g.kind NOT IN ('grant', 'transfer_in') OR u.amount > g.amount
                                       OR u.account_id <> g.account_id)""",
    ),
    (
        "lots",
        "an account's lots cover less than its balance",
        """SELECT a.id::text FROM a
             LEFT JOIN (SELECT account_id, sum(cap) AS cap FROM ledger_lot GROUP BY 1) l
               ON l.account_id = a.id
            WHERE a.available + a.held > coalesce(l.cap, 0)""",
    ),
    (
        "allowance",
        "an hour gave something else than its terms say, or gave twice",
        """SELECT x.key::text FROM (
               SELECT t.key, t.amount, t.available + t.held - t.amount AS before,
                      count(*) OVER (PARTITION BY t.account_id, t.subject) AS times,
                      coalesce(term.rate, opening.rate) AS rate,
                      CASE WHEN term.rate IS NULL THEN opening.cap ELSE term.cap END AS cap
                 FROM t JOIN a ON a.id = t.account_id
                 LEFT JOIN LATERAL (SELECT rate, cap FROM ledger_allowance_term m
                      WHERE m.workshop_id = a.workshop_id AND m.from_at < t.created_at
                      ORDER BY m.from_at DESC, m.id DESC LIMIT 1) term ON true
                 LEFT JOIN LATERAL (SELECT rate, cap FROM ledger_allowance_term m
                      WHERE m.workshop_id = a.workshop_id ORDER BY m.id LIMIT 1) opening ON true
                WHERE t.kind = 'allowance') x
            WHERE x.times > 1 OR x.amount IS DISTINCT FROM
                  CASE WHEN x.cap IS NULL THEN x.rate
                       ELSE least(x.rate, greatest(0, x.cap - x.before)) END""",
    ),
    (
        "house",
        "the house's own accounts keep no balance and no statement",
        """SELECT id::text FROM ledger_account
            WHERE workshop_id IS NULL AND ((available, held, seq) <> (0, 0, 0)
                                           OR id NOT IN (%(house)s, %(issuance)s, %(expired)s))""",
    ),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must never be: which check, the rows' ids (the first ones), and what it means."""

    check: str
    ids: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        return f"{self.check}: {self.message}: {', '.join(self.ids)}"


def findings(account_ids: Collection[int] | None = None) -> list[Finding]:
    """What is wrong with the whole ledger, or with some accounts; nothing if it is proven right."""
    checks = " UNION ALL ".join(
        f"SELECT {number}, (array_agg(id))[:{_SHOWN}], count(*) FROM ({rows}) found (id) HAVING count(*) > 0"
        for number, (_name, _message, rows) in enumerate(_CHECKS)
    )
    parameters: dict[str, Any] = {
        "every": account_ids is None,
        "accounts": list(account_ids or ()),
        "house": HOUSE_ID,
        "issuance": ISSUANCE_ID,
        "expired": EXPIRED_ID,
    }
    with connection.cursor() as cursor:
        cursor.execute(f"{_SCOPE} {checks}", parameters)
        rows = cursor.fetchall()
    return [_finding(number, ids, count) for number, ids, count in sorted(rows)]


def _finding(number: int, ids: list[str], count: int) -> Finding:
    name, message, _rows = _CHECKS[number]
    more = f" ({count} in all)" if count > len(ids) else ""
    return Finding(name, tuple(ids), message + more)
