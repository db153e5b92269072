"""Embedded stores: they keep what they were told, come back in place and refuse a second holder."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from marketplace.quickstart import stores as store_room
from marketplace.quickstart.stores import FolderInUse, FolderLock, StoreError, Stores, Valkey
from tests.polling import poll


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    stores = Stores(tmp_path / "var", durable=True)
    stores.start()
    yield stores
    stores.stop()


def test_a_killed_postgres_comes_back_in_place_with_its_rows(stores: Stores) -> None:
    postgres = stores.postgres
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    url, pid = postgres.url, postgres.pid
    os.kill(pid, signal.SIGKILL)
    poll(lambda: postgres.exit_status() is not None)
    store_room.start(postgres)
    assert postgres.url == url
    assert postgres.pid != pid
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_a_killed_valkey_comes_back_on_its_port_with_its_keys(stores: Stores) -> None:
    valkey = stores.valkey
    url = valkey.url
    with redis.Redis.from_url(url) as client:
        client.set("kept", "7")
        client.waitaof(1, 0, 5000)
    os.kill(valkey.pid, signal.SIGKILL)
    poll(lambda: valkey.exit_status() is not None)
    store_room.start(valkey)
    assert valkey.url == url
    with redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"7"


def test_everything_is_where_it_was_after_an_orderly_stop(tmp_path: Path) -> None:
    first = Stores(tmp_path)
    environment = first.start()
    with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    first.stop()
    second = Stores(tmp_path)
    assert second.start() == environment
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
    second.stop()


def test_servers_left_behind_by_a_killed_run_are_stopped_first(tmp_path: Path) -> None:
    source = (
        "import os, signal, sys; from pathlib import Path; from marketplace.quickstart import stores;"
        "stores.death_signal = lambda name: [];"
        "mine = stores.Stores(Path(sys.argv[1])); mine.start();"
        "print(mine.postgres.pid, mine.valkey.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", source, str(tmp_path)], capture_output=True, text=True)
    orphans = [int(word) for word in killed.stdout.split()]
    assert len(orphans) == 2, killed.stderr
    second = Stores(tmp_path)
    second.start()
    for pid in orphans:
        poll(lambda pid=pid: not _lives(pid), what=f"end of orphan {pid}")
    second.stop()


def test_a_pid_file_naming_some_living_process_is_no_obstacle(stores: Stores) -> None:
    postgres = stores.postgres
    os.kill(postgres.pid, signal.SIGKILL)
    poll(lambda: postgres.exit_status() is not None)
    pid_file = postgres.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    store_room.start(postgres)
    assert postgres.ready()


def test_a_second_holder_of_the_folder_is_told_who_has_it_and_since_when(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(
        FolderInUse, match=rf"held by process {os.getpid()} since \d{{4}}-\d\d-\d\d \d\d:\d\d"
    ):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


def test_a_cluster_of_another_version_is_refused(tmp_path: Path) -> None:
    stores = Stores(tmp_path, with_valkey=False)
    stores.postgres.data.mkdir(parents=True)
    (stores.postgres.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(StoreError, match=re.escape("made by PostgreSQL 17, this build is 18")):
        stores.start()
    stores.stop()


def test_a_long_path_gets_a_short_socket_folder(tmp_path: Path) -> None:
    stores = Stores(tmp_path / ("long" * 30), durable=False, with_valkey=False)
    environment = stores.start()
    try:
        assert str(tmp_path) not in environment["DATABASE_URL"]
        with psycopg.connect(environment["DATABASE_URL"]) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        stores.stop()


def test_secrets_are_readable_by_their_owner_only(stores: Stores) -> None:
    for name in ("password", "users.acl", "valkey.conf"):
        mode = (stores.valkey.folder / name).stat().st_mode & 0o777
        assert mode == 0o600, name
    assert stores.folder.stat().st_mode & 0o077 == 0


def test_a_named_port_that_is_taken_is_refused_with_its_holder(stores: Stores, tmp_path: Path) -> None:
    second = Valkey(tmp_path / "second", durable=False, bind=f"127.0.0.1:{stores.valkey.port}")
    with pytest.raises(
        StoreError, match=rf"port {stores.valkey.port} is held by process {stores.valkey.pid} "
    ):
        second.spawn()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_without_user_namespaces_runs_postgres_as_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_USER_NAMESPACES", "1")
    with store_room.temporary_stores() as environment:
        assert _owner(environment["DATABASE_URL"].partition("host=")[2]) == "nobody"
        with psycopg.connect(environment["DATABASE_URL"]) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def _owner(folder: str) -> str:
    return Path(folder).owner()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
