"""The spool: what is in hand, and what the site has not acknowledged, across kills."""

from pathlib import Path

import pytest

from gpu_agent.journal import Journal
from gpu_agent.protocol.messages import PROTOCOL_VERSION, Delivery, Report
from gpu_agent.protocol.phases import Phase
from tests.gpu_agent import lab


def delivery(attempt: int = 1, token: int = 1) -> Delivery:
    return Delivery(PROTOCOL_VERSION, 1, attempt, token, "job")


def report(attempt: int = 1, phase: Phase = Phase.TAKEN) -> Report:
    return Report(PROTOCOL_VERSION, 1, attempt, 1, 0, phase)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def test_a_double_is_known_even_after_the_end_and_a_restart(path: Path) -> None:
    with Journal(path) as journal:
        assert journal.take(delivery())
        assert not journal.take(delivery())
        journal.close_attempt(1, 1)
    with Journal(path) as journal:
        assert not journal.take(delivery())
        assert journal.take(delivery(token=2))


def test_attempts_come_back_in_order_with_spec_and_memory(path: Path) -> None:
    journal = Journal(path)  # never closed: as after kill -9
    for attempt in (7, 3):
        journal.take(delivery(attempt))
    spec = lab.make_spec(7)
    journal.keep_spec(spec)
    journal.remember(7, 1, submitted=True)
    journal.remember(7, 1, withdrawn=True)
    with Journal(path) as again:
        first, second = again.open_entries()
    assert (first.spec, first.memory) == (spec, {"submitted": True, "withdrawn": True})
    assert (second.key, second.spec, second.memory) == ((3, 1), None, {})
    journal.close()


def test_reports_are_numbered_within_their_attempt_and_kept_in_order(path: Path) -> None:
    with Journal(path) as journal:
        for attempt in (1, 2):
            journal.take(delivery(attempt))
        journal.add_report(report(1))
        journal.add_report(report(2))
    with Journal(path) as journal:
        journal.add_report(report(1, Phase.FINISHED), last=True)
        seen = []
        while waiting := journal.first_report():
            seen.append((waiting.report.attempt, waiting.report.sequence))
            journal.acknowledge(waiting.place)
        assert seen == [(1, 1), (2, 1), (1, 2)]
        assert [entry.key for entry in journal.open_entries()] == [(2, 1)]


def test_an_ended_attempt_is_kept_with_its_spec_until_it_is_cleaned_up_after(path: Path) -> None:
    with Journal(path) as journal:
        journal.take(delivery())
        journal.keep_spec(lab.make_spec())
        journal.add_report(report(phase=Phase.FINISHED), last=True)
        assert journal.open_entries() == []
        assert [entry.spec is not None for entry in journal.ended_entries()] == [True]
        journal.close_attempt(1, 1)
        assert journal.ended_entries() == []


def test_an_abandoned_attempt_leaves_no_report(path: Path) -> None:
    with Journal(path) as journal:
        journal.take(delivery())
        journal.add_report(report())
        journal.abandon(1, 1)
        assert journal.waiting_reports() == 0
        assert journal.open_entries() == []


def test_a_fact_is_made_once(path: Path) -> None:
    with Journal(path) as journal:
        assert journal.fact("client_id", "first") == "first"
    with Journal(path) as journal:
        assert journal.fact("client_id", "second") == "first"
