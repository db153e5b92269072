"""`make bench [BENCH="name …"]`: run benchmarks, one JSON object a line.

Each module of this folder with a `run()` is a benchmark; it yields dicts with name, value, unit, reference,
ratio, goal and met. Databases are throw-away ones unless the environment names servers.
"""

import contextlib
import importlib
import json
import os
import sys
from pathlib import Path

import django

from marketplace.quickstart.stores import temporary_stores

FIELDS = ("name", "value", "unit", "reference", "ratio", "goal", "met")


def main(wanted: list[str]) -> int:
    with contextlib.ExitStack() as held:
        os.environ.setdefault("SECRET_KEY", "benchmarks-only-" + "x" * 40)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
        if not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")):
            os.environ.update(held.enter_context(temporary_stores()))
        django.setup()
        unmet = 0
        for name in wanted or _all_names():
            module = importlib.import_module(f"tests.benchmarks.{name}")
            for result in module.run():
                print(json.dumps({field: result.get(field) for field in FIELDS}), flush=True)
                unmet += result.get("met") is False
        return int(unmet > 0)


def _all_names() -> list[str]:
    found = sorted(Path(__file__).parent.glob("[a-z]*.py"))
    return [path.stem for path in found if "\ndef run(" in path.read_text(encoding="utf-8")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
