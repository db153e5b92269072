"""A whole installation on one machine: stores, site processes, simulators and agents."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from marketplace.quickstart import ports
from marketplace.quickstart.options import REPOSITORY, OptionError, Options
from marketplace.quickstart.stores import Store, Stores, secret, write_private
from marketplace.quickstart.supervisor import Child

PREPARING_SECONDS = 300
# Neither the GPU side nor a simulator has any business with these.
SITE_ONLY = ("SECRET_KEY", "DATABASE_URL", "REDIS_URL")


class HouseError(Exception):
    """The house could not be made ready; the text says why."""


@dataclass(frozen=True)
class Enrolled:
    """An agent of this house: its name, simulated GiB (None: a real GPU), folder and token."""

    name: str
    vram_gib: int | None
    folder: Path
    token: str


class House:
    """Makes an installation ready and names the processes it consists of. `say(name, line)` shows a line."""

    def __init__(self, options: Options, say: Callable[[str, str], None], *, durable: bool = True) -> None:
        self.options = options
        self._say = say
        self._stores = Stores(
            options.data_dir,
            durable=durable,
            redis_bind=options.redis_bind,
            with_postgres=not options.database_url,
            with_valkey=not options.redis_url,
        )
        if not ports.is_free(options.web.host, options.web.port):
            self._stores.stop()
            raise OptionError(
                f"WEB_BIND: port {options.web.port} is held by {ports.holder(options.web.port)}"
            )
        self.agents: list[Enrolled] = []
        self.environment: dict[str, str] = {}

    @property
    def stores(self) -> Sequence[Store]:
        return self._stores.started

    def prepare(self) -> None:
        """Start the stores, bring the tables up to date, make the demo class and its agents ready."""
        urls = self._stores.start()
        self.environment = {**os.environ, **self._site_settings(), **urls, "PYTHONUNBUFFERED": "1"}
        self.manage("migrate", "--noinput", "--verbosity", "0")
        home = self.options.data_dir / "agents" / self._database_identity()
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Again at each start of a database of ours: it opens a session when the last one is over.
        if not self.options.database_url or not (home / "seeded").exists():
            self._say("setup", "making the demo class ready")
            self.manage("seed_demo")
            (home / "seeded").touch()
        self.agents = [self._enrolled(home / name, vram_gib) for name, vram_gib in self._wanted_agents()]

    def manage(self, *words: str) -> str:
        """Run a management command; what it printed. HouseError with its last lines when it fails."""
        command = [sys.executable, "manage.py", *words]
        try:
            done = subprocess.run(
                command,
                cwd=REPOSITORY,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=PREPARING_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise HouseError(f"manage.py {words[0]} did not end within {PREPARING_SECONDS} s") from None
        if done.returncode:
            raise HouseError(f"manage.py {words[0]} failed:\n{(done.stdout + done.stderr)[-3000:]}")
        return done.stdout

    def stop(self) -> None:
        self._stores.stop()

    def children(self) -> list[Child]:
        """Every process, in the order of starting; they stop in the reverse one."""
        python = sys.executable
        web = [
            python, "-m", "uvicorn", "marketplace.asgi:application", "--host", self.options.web.host,
            "--port", str(self.options.web.port), "--ws", "websockets-sansio", "--no-access-log",
            "--timeout-graceful-shutdown", "5",
        ]  # fmt: skip
        worker = [python, "manage.py", "rqworker", "default", "--serializer", "json"]
        children = [
            self._site_child("web", web, {"DATABASE_POOL": "1"}),
            self._site_child("worker", worker),
            self._site_child("market", [python, "manage.py", "run_market"]),
        ]
        for agent in self.agents:
            children += self._agent_children(agent)
        return children

    def _site_child(self, name: str, command: list[str], extra: Mapping[str, str] | None = None) -> Child:
        return Child(name, command, {**self.environment, **(extra or {})}, REPOSITORY)

    def _agent_children(self, agent: Enrolled) -> list[Child]:
        outside = {name: value for name, value in self.environment.items() if name not in SITE_ONLY}
        environment = {
            **outside,
            "SITE_URL": self.options.web.url,
            "AGENT_TOKEN": agent.token,
            "AGENT_DATA_DIR": str(agent.folder),
        }
        if agent.vram_gib is None:
            environment["COMFYUI_URL"] = self.options.comfyui_url
            return [Child(agent.name, [sys.executable, "-m", "gpu_agent"], environment, REPOSITORY)]
        port = ports.free_port()
        speed = f"{self.options.simulator_speed:g}"
        simulator = [
            sys.executable, "-m", "gpu_agent.simulator", "--port", str(port), "--folder",
            str(agent.folder / "simulator"), "--speed", speed, "--vram-gib", str(agent.vram_gib),
        ]  # fmt: skip
        if self.options.node_definitions is not None:
            simulator += ["--node-definitions", str(self.options.node_definitions), "--any-model"]
        environment |= {
            "COMFYUI_URL": f"http://127.0.0.1:{port}",
            "COMFYUI_SIMULATED": "1",
            "AGENT_GPU": "simulated",
            "SIMULATOR_SPEED": speed,
        }
        return [
            Child(f"{agent.name}-sim", simulator, outside, REPOSITORY),
            Child(agent.name, [sys.executable, "-m", "gpu_agent"], environment, REPOSITORY),
        ]

    def _wanted_agents(self) -> list[tuple[str, int | None]]:
        """Names and GiB. A name depends on the size only, so other sizes come and go between starts."""
        if self.options.comfyui_url:
            return [("comfyui", None)]
        seen: dict[int, int] = {}
        wanted: list[tuple[str, int | None]] = []
        for vram_gib in self.options.agent_vram_gib:
            seen[vram_gib] = seen.get(vram_gib, 0) + 1
            suffix = f"-{seen[vram_gib]}" if seen[vram_gib] > 1 else ""
            wanted.append((f"gpu-{vram_gib}{suffix}", vram_gib))
        return wanted

    def _enrolled(self, folder: Path, vram_gib: int | None) -> Enrolled:
        folder.mkdir(exist_ok=True, mode=0o700)
        kept = folder / "enrolment.json"
        if not kept.exists():
            self._say("setup", f"enrolling agent {folder.name}")
            # The last line is the answer: a log line may come before it.
            answer = self.manage("enrol_agent", folder.name, "--json").strip().splitlines()[-1]
            write_private(kept, answer)
        return Enrolled(folder.name, vram_gib, folder, str(json.loads(kept.read_text())["token"]))

    def _site_settings(self) -> dict[str, str]:
        options = self.options
        settings = {
            "DATA_DIR": str(options.data_dir),
            "SITE_URL": options.site_url,
            "SECRET_KEY": os.environ.get("SECRET_KEY") or secret(options.data_dir / "secret_key"),
        }
        names = _names_of_this_machine()
        if not options.web.is_local and "ALLOWED_HOSTS" not in os.environ:
            settings["ALLOWED_HOSTS"] = ",".join(
                ["127.0.0.1", "localhost", "[::1]", options.web.reach, *names]
            )
        if self._stores.valkey is not None and self._stores.valkey.is_open and names:
            # Agents elsewhere are told this address; the site itself goes on using its own.
            settings["AGENT_REDIS_PUBLIC_URL"] = os.environ.get(
                "AGENT_REDIS_PUBLIC_URL", f"redis://{names[0]}:{self._stores.valkey.port}"
            )
        return settings

    def _database_identity(self) -> str:
        """Names the database behind DATABASE_URL, so that what was enrolled in another one is not used."""
        with psycopg.connect(self.environment["DATABASE_URL"]) as connection:
            row = connection.execute(
                "SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database())"
                " FROM pg_control_system()"
            ).fetchone()
        assert row is not None  # nosec B101
        return f"{row[0]:x}-{row[1]}"


def _names_of_this_machine() -> list[str]:
    """Addresses and names by which others reach this machine, the most useful first."""
    names: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: only asks which address would be the sender's
            names.append(probe.getsockname()[0])
        except OSError:  # no route: the machine stands alone, its names must do
            pass
    names += [socket.gethostname(), socket.getfqdn()]
    return list(dict.fromkeys(names))
