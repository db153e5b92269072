"""A store whose disk is full, for real: a tmpfs of a megabyte."""

import hashlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from jobs import artifacts


@pytest.fixture
def small_disk(settings: object, tmp_path: Path) -> Iterator[Path]:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    settings.MEDIA_ROOT = tmp_path  # type: ignore[attr-defined]
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


async def zeros(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(64 * 1024)


async def test_a_full_disk_is_said_and_nothing_is_kept(small_disk: Path) -> None:
    digest = hashlib.sha256(bytes(64 * 1024 * 32)).hexdigest()
    with pytest.raises(artifacts.StoreFull):
        await artifacts.store_stream(zeros(32), digest, 10**9)
    assert artifacts.open_path(digest) is None
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


async def test_there_is_room_again_afterwards(small_disk: Path) -> None:
    digest = hashlib.sha256(bytes(64 * 1024 * 4)).hexdigest()
    with pytest.raises(artifacts.StoreFull):
        await artifacts.store_stream(zeros(32), "0" * 64, 10**9)
    assert await artifacts.store_stream(zeros(4), digest, 10**9) == 64 * 1024 * 4
