"""Faults a ledger could have. Each is killed by the suite."""

from pathlib import Path

from tests.mutants.mutant import Mutant

_TESTS = Path(__file__).parents[2] / "accounts" / "ledger"
# The random histories last: they take longest.
COMMAND = [
    *("-m", "pytest", "-q", "-x", "-p", "no:randomly", "--no-header"),
    *(
        f"tests/accounts/ledger/{path.name}"
        for path in sorted(_TESTS.glob("test_*.py"), key=lambda p: "machine" in p.name)
    ),
]

_STATEMENTS = "accounts/ledger/statements.py"
_POSTING = "accounts/ledger/posting.py"
_ALLOWANCE = "accounts/ledger/allowance.py"
_LOTS = "accounts/ledger/lots.py"
_BOOKS = "accounts/ledger/books.py"
_TABLES = "accounts/ledger/migrations/0001_ledger.py"
_GUARDS = "accounts/ledger/migrations/0002_guards.py"

MUTANTS = (
    Mutant(
        "hold ignores the balance",
        _STATEMENTS,
        "WHERE id = %(account)s AND available >= %(amount)s AND due_at",
        "WHERE id = %(account)s AND due_at",
    ),
    Mutant(
        "hold ignores what is due",
        _STATEMENTS,
        "available >= %(amount)s AND due_at > market_now()",
        "available >= %(amount)s",
    ),
    Mutant(
        "capture ignores what is due",
        _STATEMENTS,
        "a.held >= h.amount AND a.due_at > market_now()",
        "a.held >= h.amount",
    ),
    Mutant(
        "capture above the hold",
        _STATEMENTS,
        "WHERE key = %(hold)s AND amount >= %(amount)s\n",
        "WHERE key = %(hold)s\n",
    ),
    Mutant(
        "resolve twice",
        _TABLES,
        "models.OneToOneField(null=True, on_delete=django.db.models.deletion.PROTECT,"
        " related_name='resolved_by'",
        "models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT,"
        " related_name='resolved_by'",
    ),
    Mutant(
        "capture loses the rest",
        _STATEMENTS,
        "SET available = a.available + h.amount - %(amount)s, held = a.held - h.amount, seq",
        "SET available = a.available, held = a.held - h.amount, seq",
    ),
    Mutant(
        "capture pays the student",
        _STATEMENTS,
        "(t.account_id, -%(amount)s), (%(house)s, %(amount)s)",
        "(t.account_id, %(amount)s), (%(house)s, -%(amount)s)",
    ),
    Mutant(
        "adjust keeps the old hold",
        _STATEMENTS,
        "held = a.held - h.amount + %(amount)s",
        "held = a.held + %(amount)s",
    ),
    Mutant(
        "adjust numbers one line only",
        _STATEMENTS,
        "seq = a.seq + 2",
        "seq = a.seq + 1",
    ),
    Mutant(
        "grant forgets the expiry", _POSTING, 'expires_at = details.get("expires_at")', "expires_at = None"
    ),
    Mutant("no replay check", _POSTING, "    if not same:\n", "    if False:\n"),
    Mutant(
        "replay ignores a hold's expiry",
        _POSTING,
        "found = (stored.account_id, stored.amount, stored.subject, stored.expires_at, stored.replaces_id)",
        "found = (stored.account_id, stored.amount, stored.subject, expires_at, stored.replaces_id)",
    ),
    Mutant(
        "a hold's key serves a grant",
        _POSTING,
        "        _refuse_key_of_hold(key)\n        return None\n    found",
        "        return None\n    found",
    ),
    Mutant("refund above the capture", _POSTING, "if amount_milli > left:", "if False:"),
    Mutant(
        "each refund alone below the capture",
        _POSTING,
        'left = taken.amount - (refunded["s"] or 0)',
        "left = taken.amount",
    ),
    Mutant(
        "moved credits last for ever",
        _POSTING,
        "for end in (portion.expires_at, sooner) if end is not None",
        "for end in (sooner,) if end is not None",
    ),
    Mutant(
        "credits leave their workshop", _POSTING, "if giver.workshop_id != taker.workshop_id:", "if False:"
    ),
    Mutant("members sell credits", _POSTING, "if giver.kind == LedgerAccount.Kind.MEMBER:", "if False:"),
    Mutant(
        "a team's cap is ignored",
        _POSTING,
        "if taker.cap is not None and",
        "if False and taker.cap is not None and",
    ),
    Mutant(
        "undo takes what is on hold",
        _POSTING,
        "parts = [(lot, lot.free) for lot in book.portions if lot.origin == grant_key and lot.free]",
        "parts = [(lot, lot.left) for lot in book.portions if lot.origin == grant_key and lot.left]",
    ),
    Mutant(
        "undo takes any credits",
        _POSTING,
        "for lot in book.portions if lot.origin == grant_key and lot.free]",
        "for lot in book.portions if lot.free]",
    ),
    Mutant(
        "the last to expire burn first",
        _LOTS,
        "p.expires_at or NEVER, p.rank, p.id is None",
        "-(p.expires_at or NEVER).timestamp(), p.rank, p.id is None",
    ),
    Mutant(
        "gifts burn before allowance",
        _LOTS,
        "ALLOWANCE_RANK, GIVEN_RANK = 10, 50",
        "ALLOWANCE_RANK, GIVEN_RANK = 50, 10",
    ),
    Mutant(
        "lots are never tightened",
        _BOOKS,
        "        if (stored.cap, stored.expires_at, stored.in_grace) != now:",
        "        if False:",
    ),
    Mutant(
        "a gift outlives the course", _BOOKS, "        self._due_by(portion.ends_at(self.course_end))\n", ""
    ),
    Mutant(
        "no grace for what is on hold",
        _LOTS,
        "GRACE = timedelta(hours=1)",
        "GRACE = timedelta(minutes=1)",
    ),
    Mutant("grace without end", _ALLOWANCE, "portion.expires_at = at + GRACE", "portion.expires_at = NEVER"),
    Mutant(
        "expiry spares free credits",
        _ALLOWANCE,
        "    free = portion.free\n    if free:\n",
        "    free = portion.free\n    if free > 10**9:\n",
    ),
    Mutant(
        "the cap is ignored",
        _ALLOWANCE,
        "amount = rate if cap is None else min(rate, max(0, cap - book.total))",
        "amount = rate",
    ),
    Mutant(
        "the cap forgets what is on hold",
        _ALLOWANCE,
        "max(0, cap - book.total)",
        "max(0, cap - book.account.available)",
    ),
    Mutant(
        "whoever joins waits for the next hour",
        _ALLOWANCE,
        "number = max(0, (joined_at - session.opens_at) // HOUR)",
        "number = max(0, -((session.opens_at - joined_at) // HOUR))",
    ),
    Mutant(
        "hours go on after the course",
        _ALLOWANCE,
        "if book.course_end is None or hour.at < book.course_end",
        "if True",
    ),
    Mutant("a new rate holds for the past", _ALLOWANCE, "terms.filter(from_at__lt=at)", "terms.filter()"),
    Mutant("late hours are dated late", _ALLOWANCE, "key=hour.key, at=hour.at,", "key=hour.key, at=None,"),
    Mutant(
        "an hour is given again",
        _ALLOWANCE,
        "key_for(HOURS_NAMESPACE, account_id, session.pk, number)",
        "uuid.uuid4()",
    ),
    Mutant(
        "nothing is due twice",
        _ALLOWANCE,
        "next_at = min(expires_at, due.at if due is not None else NEVER)",
        "next_at = NEVER",
    ),
    Mutant("entries need not balance", _GUARDS, "HAVING sum(amount) <> 0", "HAVING sum(amount) > 10^12"),
    Mutant("rows can be changed", _GUARDS, "BEFORE UPDATE OR DELETE ON {table}", "BEFORE DELETE ON {table}"),
    Mutant(
        "rows can be truncated",
        _GUARDS,
        "CREATE TRIGGER no_truncate BEFORE TRUNCATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();\nREVOKE",
        "REVOKE",
    ),
)
