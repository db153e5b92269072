"""docs/deploy.md, followed: the site in one network namespace, the GPU host in another, a cable between.

The commands are the guide's and the units' own; only paths and names are replaced, and the proxy (where Caddy
is installed) speaks plain HTTP. PostgreSQL and Valkey are the embedded ones.
"""

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.deploy import guide
from tests.polling import poll
from tests.stack.conftest import OF_THE_TESTS, REPOSITORY

pytestmark = pytest.mark.stack
SITE_ADDRESS, GPU_ADDRESS = "10.77.0.1", "10.77.0.2"
CADDY = shutil.which("caddy")
URL = f"http://{SITE_ADDRESS}:{8080 if CADDY else 8000}"
MODEL = b"a small model" * 1000
A_CLASS = (  # in one process, for starting one takes longer than what it does
    "from gpu_agent.protocol.manifest import ManifestFile; from marketplace.fleet import manifest; "
    "from marketplace.quickstart import demo_class; manifest.keep(demo_class.seed(), None, "
    f"ManifestFile('vae', 'small.pt', (), {len(MODEL)}, {hashlib.sha256(MODEL).hexdigest()!r}))"
)


class Machine:
    """A network namespace with its environment; `start` leaves a process running until the end."""

    def __init__(self, namespace: str, folder: Path, held: contextlib.ExitStack) -> None:
        self.namespace, self.folder, self._held = namespace, folder, held
        inherited = {name: value for name, value in os.environ.items() if name not in OF_THE_TESTS}
        self.environment = {**inherited, "PYTHONUNBUFFERED": "1"}
        folder.mkdir()

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._words(command), cwd=REPOSITORY, env=self.environment, capture_output=True, text=True
        )

    def must(self, command: str) -> str:
        done = self.run(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout

    def start(self, name: str, command: str, **extra: str) -> "subprocess.Popen[str]":
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                self._words(command), cwd=REPOSITORY, env={**self.environment, **extra},
                stdout=subprocess.PIPE if name == "stores" else log, stderr=log, text=True,
            )  # fmt: skip
        self._held.callback(_end, process)
        return process

    def logs(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-4000:]}" for path in self.folder.glob("*.log"))

    def _words(self, command: str) -> list[str]:
        words = [
            re.sub(r"^(/opt/[a-z-]+/)?\.venv/bin/python$", sys.executable, word)
            for word in shlex.split(command)
        ]
        return ["ip", "netns", "exec", self.namespace, *words]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """The site's and the GPU host's, with a cable between."""
    site, gpu = f"site-{os.getpid()}", f"gpu-{os.getpid()}"
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    with contextlib.ExitStack() as held:
        for name in (site, gpu):
            if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
                pytest.skip("this kernel or container allows no network namespaces")
            held.callback(_ip, "netns", "del", name)
        _ip("link", "add", "wg-site", "netns", site, "type", "veth", "peer", "name", "wg-gpu", "netns", gpu)
        for name, device, address in ((site, "wg-site", SITE_ADDRESS), (gpu, "wg-gpu", GPU_ADDRESS)):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
            _ip("-n", name, "link", "set", device, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield Machine(site, tmp_path / "site", held), Machine(gpu, tmp_path / "gpu", held)


def test_the_guide_leads_to_a_picture_across_two_machines(machines: tuple[Machine, Machine]) -> None:
    site, gpu = machines
    token = _set_up_the_site(site)
    _set_up_the_gpu_host(gpu, token)
    listed, pulled, checked = (gpu.run(command) for command in guide.commands("gpu"))
    assert (listed.returncode, pulled.returncode, checked.returncode) == (1, 0, 0), pulled.stderr
    assert (gpu.folder / "models" / "vae" / "small.pt").read_bytes() == MODEL
    gpu.start("agent", guide.unit("gpu-agent@.service")["ExecStart"][0])
    poll(lambda: _asked(site, "SELECT comfyui_ready FROM fleet_agent"), seconds=60, what="a ready agent")
    job: dict[str, Any] = json.loads(gpu.must(f".venv/bin/python -m tests.stack.across student {URL}"))
    assert job["status"] == "succeeded", gpu.logs()
    assert job["captured_milli"] > 0
    assert "site_socket_away" not in gpu.logs(), "the proxy passes no WebSockets"
    assert [one["fetched_sha256"] for one in job["artifacts"]] == [one["sha256"] for one in job["artifacts"]]
    assert len(job["artifacts"]) == 1
    assert _asked(site, "SELECT files -> 0 ->> 'state' FROM fleet_modelreport") == "present"
    site.must(".venv/bin/python manage.py check_ledger")


def _set_up_the_site(site: Machine) -> str:
    """Section 2 and 3 of the guide; the agent's token."""
    stores = site.start(
        "stores", f".venv/bin/python -m tests.stack.across stores {site.folder / 'stores'} {SITE_ADDRESS}"
    )
    assert stores.stdout is not None
    known = json.loads(stores.stdout.readline() or "{}")
    assert known, site.logs()
    here = {"SITE_URL": URL, "ALLOWED_HOSTS": SITE_ADDRESS, "CSRF_TRUSTED_ORIGINS": URL}
    site.environment |= guide.settings("site") | here | known | {"DATA_DIR": str(site.folder / "data")}
    *prepare, enrol = guide.commands("site")
    for command in prepare:
        site.must(command)
    site.must(f".venv/bin/python manage.py shell -v 0 -c {shlex.quote(A_CLASS)}")
    for name in ("marketplace-web", "marketplace-worker", "marketplace-market"):
        command = guide.unit(f"{name}.service")["ExecStart"][0]
        if CADDY is None:  # the web process itself listens where the agent looks for it
            command = command.replace("--host 127.0.0.1", f"--host {SITE_ADDRESS}")
        site.start(name, command, **guide.environment(f"{name}.service"))
    if CADDY is not None:
        homes = {"HOME": str(site.folder), "XDG_DATA_HOME": str(site.folder / "caddy")}
        file = REPOSITORY / "deploy" / "Caddyfile"
        site.start("caddy", f"{CADDY} run --config {file} --adapter caddyfile", SITE_HOST=URL, **homes)
    found = re.search(r"agt_\S+", site.must(enrol))
    assert found is not None
    return found[0]


def _set_up_the_gpu_host(gpu: Machine, token: str) -> None:
    """Section 4, with the simulator in ComfyUI's place and a network drive that has the model."""
    for folder in ("models", "share/vae", "input", "output", "temp"):
        (gpu.folder / folder).mkdir(parents=True)
    (gpu.folder / "share" / "vae" / "small.pt").write_bytes(MODEL)
    simulator = f"{sys.executable} -m gpu_agent.simulator --port 8188 --speed 50 --folder {gpu.folder}"
    gpu.environment |= guide.settings("gpu") | {
        "SITE_URL": URL,
        "AGENT_TOKEN": token,
        "COMFYUI_COMMAND": simulator,
        "COMFYUI_DIR": str(gpu.folder),
        "MODELS_DIR": str(gpu.folder / "models"),
        "MODELS_SHARE_DIR": str(gpu.folder / "share"),
        "AGENT_DATA_DIR": str(gpu.folder / "agent"),
        "COMFYUI_SIMULATED": "1",
        "SIMULATOR_SPEED": "50",
        "LOG_LEVEL": "DEBUG",
    }


def _asked(site: Machine, question: str) -> Any:
    """The one value the site's database answers; its socket is a file, so it is reached from here."""
    with psycopg.connect(site.environment["DATABASE_URL"]) as connection:
        row = connection.execute(question).fetchone()  # type: ignore[call-overload]
    return row[0] if row else None


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
