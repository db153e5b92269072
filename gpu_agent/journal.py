"""SQLite spool: the attempts in hand and what the site has not yet acknowledged.

Survives kill -9: every step that must not be done twice is written here before it is taken.
Used from the core's event loop only; statements take well under a millisecond.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from gpu_agent.protocol.messages import Delivery, JobSpec, Report

REMEMBERED_ATTEMPTS = 2000

OPEN, ENDED, CLEANED = 0, 1, 2  # values of attempts.closed

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    attempt INTEGER NOT NULL,
    token INTEGER NOT NULL,
    delivery TEXT NOT NULL,
    spec TEXT,
    memory TEXT NOT NULL DEFAULT '{}',
    sequence INTEGER NOT NULL DEFAULT 0,
    closed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (attempt, token)
);
CREATE TABLE IF NOT EXISTS reports (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    attempt INTEGER NOT NULL,
    token INTEGER NOT NULL,
    body TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """An attempt as the journal holds it. `memory` is the runner's: what it must not forget."""

    delivery: Delivery
    spec: JobSpec | None
    memory: dict[str, Any]
    sequence: int = 0  # of the last report; 0 = the site has heard nothing of it yet

    @property
    def key(self) -> tuple[int, int]:
        return self.delivery.attempt, self.delivery.token


@dataclass(frozen=True, slots=True)
class WaitingReport:
    """A report not yet acknowledged."""

    place: int
    report: Report


class Journal:
    """The spool of one agent, in one file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- facts ---------------------------------------------------------------------------

    def fact(self, name: str, default: str) -> str:
        """A remembered text; the default is stored when there is none yet."""
        self._db.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, default))
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0])

    # --- attempts ------------------------------------------------------------------------

    def take(self, delivery: Delivery) -> bool:
        """Write a delivery down. False: this attempt and token were taken before (a double)."""
        done = self._db.execute(
            "INSERT OR IGNORE INTO attempts (attempt, token, delivery) VALUES (?, ?, ?)",
            (delivery.attempt, delivery.token, delivery.to_json()),
        )
        return done.rowcount == 1

    def keep_spec(self, spec: JobSpec) -> None:
        self._db.execute(
            "UPDATE attempts SET spec = ? WHERE attempt = ? AND token = ?",
            (spec.to_json(), spec.attempt, spec.token),
        )

    def remember(self, attempt: int, token: int, **values: Any) -> None:
        """Add to an attempt's memory; durable when this returns."""
        entry = self.entry(attempt, token)
        memory = {**entry.memory, **values} if entry else values
        self._db.execute(
            "UPDATE attempts SET memory = ? WHERE attempt = ? AND token = ?",
            (json.dumps(memory), attempt, token),
        )

    def entry(self, attempt: int, token: int) -> Entry | None:
        row = self._db.execute(
            "SELECT delivery, spec, memory, sequence FROM attempts WHERE attempt = ? AND token = ?",
            (attempt, token),
        ).fetchone()
        return _entry(row) if row else None

    def open_entries(self) -> list[Entry]:
        """Attempts that have not ended, in order of delivery."""
        return self._entries(OPEN)

    def ended_entries(self) -> list[Entry]:
        """Attempts that have ended but were not cleaned up after."""
        return self._entries(ENDED)

    def _entries(self, closed: int) -> list[Entry]:
        rows = self._db.execute(
            "SELECT delivery, spec, memory, sequence FROM attempts WHERE closed = ? ORDER BY place", (closed,)
        )
        return [_entry(row) for row in rows.fetchall()]

    def close_attempt(self, attempt: int, token: int) -> None:
        """Ended and cleaned up after; its row stays for a while so that doubles are known."""
        with self._transaction():
            self._db.execute(
                "UPDATE attempts SET closed = ?, spec = NULL WHERE attempt = ? AND token = ?",
                (CLEANED, attempt, token),
            )
            self._db.execute(
                "DELETE FROM attempts WHERE closed = ? AND place <= (SELECT max(place) FROM attempts) - ?",
                (CLEANED, REMEMBERED_ATTEMPTS),
            )

    def abandon(self, attempt: int, token: int) -> None:
        """The site no longer wants to hear of it: it has ended, and its waiting reports are dropped."""
        with self._transaction():
            self._end(attempt, token)
            self._db.execute("DELETE FROM reports WHERE attempt = ? AND token = ?", (attempt, token))

    # --- reports -------------------------------------------------------------------------

    def add_report(self, report: Report, *, last: bool = False) -> Report:
        """Number a report within its attempt and spool it; `last` ends the attempt with it.

        The report's own `sequence` is replaced: numbering and writing are one transaction.
        """
        with self._transaction():
            row = self._db.execute(
                "UPDATE attempts SET sequence = sequence + 1 "
                "WHERE attempt = ? AND token = ? RETURNING sequence",
                (report.attempt, report.token),
            ).fetchone()
            numbered = replace(report, sequence=int(row[0]) if row else 1)
            self._db.execute(
                "INSERT INTO reports (attempt, token, body) VALUES (?, ?, ?)",
                (report.attempt, report.token, numbered.to_json()),
            )
            if last:
                self._end(report.attempt, report.token)
        return numbered

    def first_report(self) -> WaitingReport | None:
        """The oldest report without an acknowledgement."""
        row = self._db.execute("SELECT place, body FROM reports ORDER BY place LIMIT 1").fetchone()
        return WaitingReport(int(row[0]), Report.from_json(row[1])) if row else None

    def waiting_reports(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM reports").fetchone()[0])

    def reported_attempts(self) -> set[tuple[int, int]]:
        """(attempt, token) of the waiting reports."""
        return set(self._db.execute("SELECT DISTINCT attempt, token FROM reports").fetchall())

    def drop_reports(self) -> None:
        """They belong to a time the site no longer remembers."""
        self._db.execute("DELETE FROM reports")

    def acknowledge(self, place: int) -> None:
        self._db.execute("DELETE FROM reports WHERE place = ?", (place,))

    # --- inside --------------------------------------------------------------------------

    def _end(self, attempt: int, token: int) -> None:
        self._db.execute(
            "UPDATE attempts SET closed = ? WHERE attempt = ? AND token = ?", (ENDED, attempt, token)
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _entry(row: tuple[str, str | None, str, int]) -> Entry:
    delivery, spec, memory, sequence = row
    return Entry(
        Delivery.from_json(delivery),
        JobSpec.from_json(spec) if spec else None,
        json.loads(memory),
        sequence,
    )
