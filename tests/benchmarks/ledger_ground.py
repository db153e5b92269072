"""Ground for the ledger's benchmarks: durable PostgreSQL, many processes, a floor to compare with, big
ledgers.

Python and PostgreSQL slow down differently, so a door is compared with a bare INSERT through the same
cursor in slices that take turns; the figure is the median of the pairs. LEDGER_BENCH_SECONDS shortens the
slices.
"""

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

SLICE_SECONDS = float(os.environ.get("LEDGER_BENCH_SECONDS", "1"))
PAIRS = 5
REPOSITORY = Path(__file__).resolve().parents[2]

Turn = Callable[[], int]  # one turn of work; how many operations it was


def apart(module: str) -> Iterator[dict[str, Any]]:
    """Run a benchmark module in a process of its own, on a durable PostgreSQL; its lines."""
    from marketplace.quickstart.stores import Stores

    with tempfile.TemporaryDirectory(prefix="market-bench-") as folder:
        stores = Stores(Path(folder), durable=True, with_valkey=False)
        try:
            environment = {
                **os.environ,
                **stores.start(),
                "REDIS_URL": "redis://127.0.0.1:1",
                "SECRET_KEY": "benchmarks-only-" + "x" * 40,
                "DATA_DIR": folder,
                "DJANGO_SETTINGS_MODULE": "marketplace.settings",
            }
            command = [sys.executable, "-m", module]
            ran = subprocess.run(
                command, env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
            )
        finally:
            stores.stop()
    yield from map(json.loads, ran.stdout.splitlines())


def lay_ground() -> None:
    """Django, tables, and the floor's own one."""
    import django
    from django.core.management import call_command
    from django.db import connection

    django.setup()
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bench_floor (key uuid PRIMARY KEY, account bigint, amount bigint)")


def print_lines(lines: Iterable[dict[str, Any]]) -> None:
    for line in lines:
        print(json.dumps(line), flush=True)


def pool_accounts(count: int) -> list[int]:
    """Accounts with more credits than a benchmark can spend."""
    from accounts.ledger import posting
    from tests.factories import people

    place = people.workshop()
    accounts = [posting.pool_account(place, f"Team {number}") for number in range(count)]
    for account in accounts:
        people.give(account, 10**12)
    return accounts


def hold_and_capture(accounts: list[int]) -> Turn:
    """Two operations of the door, on the accounts in turn."""
    from accounts.ledger import posting

    line = iter(_round(accounts))

    def turn() -> int:
        held = uuid.uuid4()
        posting.hold(account_id=next(line), amount_milli=100, key=held, subject="job:bench")
        posting.capture(hold_key=held, amount_milli=60, key=uuid.uuid4())
        return 2

    return turn


def bare_insert() -> Turn:
    """One INSERT through Django's cursor."""
    from django.db import connection

    def turn() -> int:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO bench_floor VALUES (%s, %s, %s)", [uuid.uuid4(), 1, 100])
        return 1

    return turn


def compare(name: str, accounts: list[int], processes: int, goal: float) -> dict[str, Any]:
    """The benchmark's line: the door's operations a second against the floor's."""
    floors, doors = [], []
    with Crew(processes, accounts) as crew:
        crew.rates("floor"), crew.rates("door")  # warm up
        for _pair in range(PAIRS):
            floors.append(crew.rates("floor"))
            doors.append(crew.rates("door"))
    ratio = statistics.median(door / floor for door, floor in zip(doors, floors, strict=True))
    return {
        "name": name,
        "value": round(statistics.median(doors)),
        "unit": f"ops/s, {processes} processes, {len(accounts)} accounts",
        "reference": round(statistics.median(floors)),
        "ratio": round(ratio, 3),
        "goal": goal,
        "met": ratio >= goal,
    }


class Crew:
    """Processes that work in slices, all at once, each on its own connection."""

    def __init__(self, processes: int, accounts: list[int]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for number in range(processes):
            ours, theirs = context.Pipe()
            mine = accounts[number::processes] or accounts
            process = context.Process(target=_work, args=(theirs, mine), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_fault: object) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send("stop")
            process.join(10)

    def rates(self, what: str) -> float:
        """Operations a second of all together."""
        for pipe in self._pipes:
            pipe.send(what)
        return sum(pipe.recv() for pipe in self._pipes)


def big_ledger(entries: int, busy_lines: int) -> tuple[int, int]:
    """A proven ledger of so many entries, one account with so many lines: (its id, its user's id).

    Rows are written past the doors, in SQL, as the doors would: grant 1, hold 0.5, capture 0.3, over and
    over.
    """
    from django.db import connection

    from accounts.ledger import posting
    from tests.factories import people

    place = people.workshop()
    busy = people.student(place)
    accounts = [posting.member_account(busy, place)]
    cycles = [busy_lines // 3]
    left = entries // 4 - cycles[0]
    while left > 0:
        accounts.append(people.member(place))
        cycles.append(min(left, 1_000))
        left -= cycles[-1]
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for account, count in zip(accounts, cycles, strict=True):
            for statement in _CYCLES:
                cursor.execute(statement, {"account": account, "cycles": count})
        cursor.execute("SET session_replication_role = origin")
        cursor.execute(
            "VACUUM ANALYZE ledger_account, ledger_hold, ledger_transaction, ledger_entry, ledger_lot"
        )
    return accounts[0], busy.pk


_KEY = "md5(%(account)s || ':' || n || ':{}')::uuid"
_AT = "market_now() - (%(cycles)s - n) * interval '1 minute'"
_POSTED = (
    "INSERT INTO ledger_transaction (key, kind, account_id, amount, resolves_id, subject, reason,"
    " reference, currency,"
    " seq, available, held, created_at) "
)
_CYCLES = (
    f"{_POSTED} SELECT {_KEY.format('g')}, 'grant', %(account)s, 1000, NULL, '', 'Allowance', 'gift', '',"
    f" 3 * n + 1, 700 * n + 1000, 0, {_AT} FROM generate_series(0, %(cycles)s - 1) n",
    "INSERT INTO ledger_hold (key, account_id, amount, subject, seq, available, held, created_at)"
    f" SELECT {_KEY.format('h')}, %(account)s, 500, 'job:bench', 3 * n + 2, 700 * n + 500, 500, {_AT}"
    " FROM generate_series(0, %(cycles)s - 1) n",
    f"{_POSTED} SELECT {_KEY.format('c')}, 'capture', %(account)s, 300, {_KEY.format('h')}, 'job:bench',"
    f" '', '', '', 3 * n + 3, 700 * n + 700, 0, {_AT} FROM generate_series(0, %(cycles)s - 1) n",
    "INSERT INTO ledger_entry (transaction_id, account_id, amount)"
    f" SELECT {_KEY.format('g')}, v.a, v.m FROM generate_series(0, %(cycles)s - 1) n,"
    " LATERAL (VALUES (%(account)s, 1000), (2, -1000)) v (a, m)",
    "INSERT INTO ledger_entry (transaction_id, account_id, amount)"
    f" SELECT {_KEY.format('c')}, v.a, v.m FROM generate_series(0, %(cycles)s - 1) n,"
    " LATERAL (VALUES (%(account)s, -300), (1, 300)) v (a, m)",
    "INSERT INTO ledger_lot (account_id, rank, in_grace, cap, created_at)"
    " VALUES (%(account)s, 50, false, 700 * %(cycles)s, market_now())",
    "UPDATE ledger_account SET available = 700 * %(cycles)s, seq = 3 * %(cycles)s, moved_at = market_now()"
    " WHERE id = %(account)s",
)


def _work(pipe: Any, accounts: list[int]) -> None:
    import django

    django.setup()
    turns = {"door": hold_and_capture(accounts), "floor": bare_insert()}
    pipe.send("ready")
    while (what := pipe.recv()) != "stop":
        pipe.send(_slice(turns[what]))


def _slice(turn: Turn) -> float:
    began, done = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < SLICE_SECONDS:
        done += turn()
    return done / took


def _round(accounts: list[int]) -> Iterator[int]:
    while True:
        yield from accounts
