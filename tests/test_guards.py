"""Promises about files that no other test would miss."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
READERS = {
    "marketplace/settings.py": r'(?:env(?:\.\w+)?|_whole_number)\(\s*"([A-Z_]+)"',
    "marketplace/quickstart/options.py": r'(?:get\(|_bind\(|_positive\(|_whole_numbers\()\s*"([A-Z_]+)"',
    "gpu_agent/config.py": r'"((?:[A-Z]+_)+[A-Z]+)"',
    "gpu_agent/models/settings.py": r'"((?:[A-Z]+_)+[A-Z]+)"',
}
EXAMPLE = (REPOSITORY / ".env.example").read_text(encoding="utf-8")


@pytest.mark.parametrize("reader", READERS)
def test_every_variable_is_in_the_example_with_its_reason(reader: str) -> None:
    asked = set(re.findall(READERS[reader], (REPOSITORY / reader).read_text(encoding="utf-8")))
    explained = set(re.findall(r"^# [^\n]+\n#?([A-Z_]+)=", EXAMPLE, re.MULTILINE))
    assert len(asked) > 5, f"the pattern no longer finds what {reader} asks for"
    assert asked - explained == set()


def test_the_example_names_nothing_that_nobody_reads() -> None:
    sources = "".join((REPOSITORY / reader).read_text(encoding="utf-8") for reader in READERS)
    named = re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.MULTILINE)
    assert [name for name in named if f'"{name}"' not in sources] == []


def test_the_locks_name_no_package_index() -> None:
    for lock in (REPOSITORY / "requirements").glob("*.lock"):
        lines = lock.read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if "://" in line or line.startswith("--")] == []


def test_package_markers_are_empty() -> None:
    markers = [path for root in ("accounts", "gpu_agent", "jobs", "marketplace")
               for path in (REPOSITORY / root).rglob("__init__.py")]  # fmt: skip
    assert len(markers) > 15
    assert [str(path) for path in markers if path.read_text()] == []
