"""`make demo` as a person meets it: the receipt, the refusal, and the status the shell sees."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from marketplace.quickstart import demo
from marketplace.quickstart.options import OptionError
from tests.factories.workflows import a_sketch
from tests.stack.conftest import OF_THE_TESTS, REPOSITORY

pytestmark = pytest.mark.stack


@pytest.fixture
def sketch(tmp_path: Path) -> Path:
    file = tmp_path / "sketch.json"
    file.write_text(json.dumps(a_sketch()))
    return file


def test_a_demo_shows_progress_the_file_and_a_receipt_that_adds_up(sketch: Path) -> None:
    # At a pace at which it runs for longer than between two looks of the demo.
    shown = _demo(str(sketch), SIMULATOR_SPEED="2")
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"running: .+, \d+ %", shown.stdout)
    saved = re.search(r"Saved (.+)", shown.stdout)
    assert saved is not None
    assert Path(saved[1]).stat().st_size > 1000
    receipt = re.search(r"set aside ([\d.]+), paid ([\d.]+), returned ([\d.]+), balance", shown.stdout)
    assert receipt is not None
    held, paid, returned = (round(float(word) * 100) for word in receipt.groups())
    assert held == paid + returned


def test_a_refusal_names_the_node_and_why_and_the_others_go_on(tmp_path: Path, sketch: Path) -> None:
    unknown = tmp_path / "unknown.json"
    unknown.write_text('{"4": {"class_type": "NoSuchNode", "inputs": {}}}')
    shown = _demo(str(unknown), str(sketch), "--many")
    assert "node 4 NoSuchNode" in shown.stderr
    assert "not installed" in shown.stderr
    table = [line.split()[:2] for line in shown.stdout.splitlines()]
    assert ["unknown.json", "refused"] in table
    assert ["sketch.json", "succeeded"] in table


def test_a_refused_demo_fails() -> None:
    shown = _demo(str(REPOSITORY / "pyproject.toml"))
    assert shown.returncode == 1
    assert "Refused:" in shown.stderr


def test_a_missing_file_is_named_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="WORKFLOW: there is no file no/such/file"):
        demo.main([Path("no/such/file")], many=False, environment={})
    with pytest.raises(OptionError, match=re.escape("there is no *.api.json in the folder")):
        demo.main([tmp_path], many=True, environment={})


def _demo(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_TESTS} | settings
    return subprocess.run(
        [sys.executable, "-m", "marketplace.quickstart", "demo", *words],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
