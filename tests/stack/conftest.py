"""The whole site as processes, the way `make run` starts it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from marketplace.quickstart import ports
from tests.polling import poll

REPOSITORY = Path(__file__).resolve().parent.parent.parent
OF_THE_TESTS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DATA_DIR", "DJANGO_SETTINGS_MODULE")


@dataclass
class RunningHouse:
    """A started house: its folder, its address and the process that runs it."""

    folder: Path
    url: str
    runner: psutil.Popen

    @property
    def log(self) -> str:
        return (self.folder / "house.log").read_text()

    def wait_for(self, words: str, seconds: float = 90.0) -> None:
        """Until its lines say so."""
        poll(lambda: words in self.log or self.runner.poll() is not None, seconds, what=words)
        assert words in self.log, self.log[-3000:]

    def child(self, words: str) -> psutil.Process:
        """The process below the runner whose command line has these words; simulators don't count."""
        for child in self.runner.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's children come and go
                line = " ".join(child.cmdline()) + " --"
                if words in line and "simulator" not in line:
                    return child
        raise LookupError(f"no process runs {words}")

    def manage(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a management command of this house, with the environment of its market loop."""
        command = [sys.executable, "manage.py", *words]
        environment = self.child("run_market").environ()
        return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)

    def stop(self) -> int:
        """Ctrl-C; the exit status."""
        if self.runner.poll() is None:
            self.runner.send_signal(signal.SIGINT)
        return int(self.runner.wait(60))


def start_house(folder: Path, *, port: int | None = None, speed: str = "10") -> RunningHouse:
    """Start a house and return at once; see `wait_for`."""
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_TESTS}
    bind = f"127.0.0.1:{port or ports.free_port()}"
    environment |= {"DATA_DIR": str(folder), "WEB_BIND": bind, "SIMULATOR_SPEED": speed}
    folder.mkdir(exist_ok=True)
    with (folder / "house.log").open("w") as log:
        runner = psutil.Popen(
            [sys.executable, "-m", "marketplace.quickstart", "run"],
            cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    return RunningHouse(folder, f"http://{bind}", runner)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[RunningHouse]:
    running = start_house(tmp_path)
    yield running
    running.stop()
