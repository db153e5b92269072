"""`make bench [BENCH="name …"]`: run benchmarks, one JSON object a line.

Each module of this folder with a `run()` is a benchmark; it yields dicts with name, value, unit, reference,
ratio, goal and met, and starts the stores it needs. Each has a process of its own, so that none meets the
settings, threads or connections another left.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path

FIELDS = ("name", "value", "unit", "reference", "ratio", "goal", "met")


def main(wanted: list[str]) -> int:
    """0 when every benchmark ran; a goal that was missed says `"met": false`."""
    if len(wanted) == 1:
        for result in importlib.import_module(f"tests.benchmarks.{wanted[0]}").run():
            print(json.dumps({field: result.get(field) for field in FIELDS}), flush=True)
        return 0
    command = [sys.executable, "-m", "tests.benchmarks"]
    return max(subprocess.call([*command, name]) for name in wanted or _all_names())


def _all_names() -> list[str]:
    found = sorted(Path(__file__).parent.glob("[a-z]*.py"))
    return [path.stem for path in found if "\ndef run(" in path.read_text(encoding="utf-8")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
