"""Plant each mutant in a copy of the tree and see the suite kill it: `python -m tests.mutants [NAME …]`.

A room's mutants are `tests/mutants/<room>/mutants.py` with MUTANTS and COMMAND. Exit 1 if one survives, if
one no longer applies (its text is gone), or if the unharmed copy fails.
"""

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("ledger",)
LONGEST_SECONDS = 600
COPIED = ("accounts", "jobs", "marketplace", "gpu_agent", "templates", "tests", "manage.py", "pyproject.toml")


def main(names: list[str]) -> int:
    failed = []
    for room in ROOMS:
        planted = importlib.import_module(f"tests.mutants.{room}.mutants")
        chosen = [m for m in planted.MUTANTS if not names or m.name in names]
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            copy = Path(folder)
            _copy_tree(copy)
            if not _passes(copy, planted.COMMAND, "unharmed"):
                print(f"{room}: the unharmed suite fails", flush=True)
                return 1
            failed += [m.name for m in chosen if not _killed(copy, planted.COMMAND, m)]
            print(f"{room}: {len(chosen)} mutants planted", flush=True)
    print(f"survived: {', '.join(failed)}" if failed else "all were killed")
    return 1 if failed else 0


def _copy_tree(copy: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        else:
            shutil.copy(source, copy / name)


def _killed(copy: Path, command: list[str], mutant: Mutant) -> bool:
    path = copy / mutant.path
    sound = path.read_text()
    if sound.count(mutant.text) != 1:
        print(f"GONE      {mutant.name}: its text is there {sound.count(mutant.text)} times", flush=True)
        return False
    path.write_text(sound.replace(mutant.text, mutant.instead))
    try:
        return not _passes(copy, command, mutant.name)
    finally:
        path.write_text(sound)


def _passes(copy: Path, command: list[str], name: str) -> bool:
    began = time.monotonic()
    # No stale bytecode: a mutant may keep its file's size and second.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(copy)}
    try:
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        print(f"killed    {name} (hung)", flush=True)
        return False
    verdict = {0: "passed", 1: "killed"}.get(ran.returncode, f"exit {ran.returncode}")
    print(f"{verdict:<10}{name} ({time.monotonic() - began:.0f} s)", flush=True)
    if ran.returncode not in (0, 1):
        print(ran.stdout[-2000:], ran.stderr[-2000:], flush=True)
    return ran.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
