"""The arithmetic of the idle share."""

import pytest

from tests.benchmarks.gpu_idle_share import Run, _united, findings


def test_a_gpu_that_pauses_while_work_waits_loses_its_share() -> None:
    runs = [Run("a", 0.0, 4.0), Run("b", 5.0, 10.0)]
    found = findings([runs, [Run("c", 0.0, 10.0)]], [(0.0, 10.0)], (0.0, 10.0))
    assert found.share_percent == pytest.approx(95.0)
    assert found.gaps_ms == [pytest.approx(1000.0)]


def test_a_pause_without_work_is_no_idleness() -> None:
    runs = [Run("a", 0.0, 4.0), Run("b", 8.0, 10.0)]
    found = findings([runs], [(0.0, 4.0), (8.0, 10.0)], (0.0, 10.0))
    assert found.share_percent == pytest.approx(100.0)
    assert not found.gaps_ms


def test_waits_of_several_jobs_are_one_wait_where_they_overlap() -> None:
    assert _united([(3.0, 5.0), (0.0, 2.0), (1.0, 3.0), (7.0, 8.0)]) == [(0.0, 5.0), (7.0, 8.0)]
