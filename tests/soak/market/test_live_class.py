"""Twenty students, three GPUs of different size, a lesson full of levers and accidents.

Ten minutes with `make soak-market`; LIVE_CLASS_SECONDS shortens it.
"""

import os
from pathlib import Path

import pytest

from tests.soak.market import live_class
from tests.stack.conftest import start_house

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not os.environ.get("SOAK_MARKET"), reason="takes ten minutes: make soak-market"),
]
SECONDS = float(os.environ.get("LIVE_CLASS_SECONDS") or 600)
KILLS = {"kill market": 2, "kill agent": 2}


def test_a_lesson_of_switches_pauses_demos_and_kills_ends_with_a_clean_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTS", "8,24,80")
    house = start_house(tmp_path, speed="10")
    try:
        house.wait_for("Sign in as")
        report = live_class.hold(house, SECONDS)
    finally:
        house.stop()
    print(f"\norders {dict(report.orders)}, ends {dict(report.ends)}, {report.looks} looks")
    print(f"{report.pages} pages, {report.proof}")
    print(f"acts {dict(report.acts)}; refused: {sorted(set(report.refusals))[:20]}")
    assert report.proof["findings"] == []
    assert (report.proof["open"], report.unended) == (0, [])
    assert report.unexplained == []
    assert {act: report.acts[act] for act in KILLS} == KILLS
    assert not [act for act in report.acts if act.endswith("refused")], report.refusals
    assert report.proof["agents"] == ["gpu-24", "gpu-8", "gpu-80"]
    assert report.ends["succeeded"] > 0
