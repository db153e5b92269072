"""The store of files named by their hash, and the links that lead to them."""

import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from jobs import artifacts

CONTENT = b"a picture" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def store(settings: object, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path  # type: ignore[attr-defined]
    return tmp_path


async def pieces(content: bytes, size: int = 700) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def key_of(link: str) -> str:
    return parse_qs(urlsplit(link).query)["key"][0]


async def test_a_stream_lies_under_its_hash(store: Path) -> None:
    assert await artifacts.store_stream(pieces(CONTENT), DIGEST, 10**6) == len(CONTENT)
    assert files_in(store) == [store / DIGEST[:2] / DIGEST[2:4] / DIGEST]
    assert artifacts.open_path(DIGEST).read_bytes() == CONTENT
    assert artifacts.size_of(DIGEST) == len(CONTENT)


async def test_the_same_file_twice_is_one_file(store: Path) -> None:
    for _ in range(2):
        await artifacts.store_stream(pieces(CONTENT), DIGEST, 10**6)
    assert len(files_in(store)) == 1


async def test_bytes_of_another_name_leave_nothing(store: Path) -> None:
    with pytest.raises(artifacts.BadDigest):
        await artifacts.store_stream(pieces(CONTENT), "0" * 64, 10**6)
    assert files_in(store) == []


async def test_a_file_beyond_the_limit_leaves_nothing(store: Path) -> None:
    with pytest.raises(artifacts.TooLarge):
        await artifacts.store_stream(pieces(CONTENT), DIGEST, len(CONTENT) - 1)
    assert files_in(store) == []


async def test_a_stream_that_breaks_off_leaves_nothing(store: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield CONTENT[:100]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await artifacts.store_stream(broken(), DIGEST, 10**6)
    assert files_in(store) == []


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, DIGEST + "0", DIGEST[:-1] + "\n"])
def test_only_a_hash_is_a_name(name: str) -> None:
    with pytest.raises(artifacts.BadDigest):
        artifacts.open_path(name)


def test_a_file_and_bytes_are_stored_alike(store: Path) -> None:
    assert artifacts.store_file(io.BytesIO(CONTENT), 10**6) == (DIGEST, len(CONTENT))
    assert artifacts.store_bytes(CONTENT) == DIGEST
    assert len(files_in(store)) == 1
    assert artifacts.open_path("0" * 64) is None


def test_a_link_opens_its_file_for_five_minutes() -> None:
    with time_machine.travel("2026-03-01 10:00:00", tick=False) as clock:
        key = key_of(artifacts.link(DIGEST, "a b.png", "image/png", download=True))
        clock.shift(299)
        assert artifacts.read_link(DIGEST, key) == artifacts.Link(DIGEST, "a b.png", "image/png", True)
        clock.shift(2)
        with pytest.raises(artifacts.BadLink):
            artifacts.read_link(DIGEST, key)


def test_a_link_opens_no_other_file() -> None:
    key = key_of(artifacts.link(DIGEST, "a.png", "image/png"))
    for sha256, words in (("0" * 64, key), (DIGEST, key + "x"), (DIGEST, ""), (DIGEST, "a:b:c")):
        with pytest.raises(artifacts.BadLink):
            artifacts.read_link(sha256, words)


@given(st.text(max_size=60))
def test_no_name_breaks_out_of_its_header(name: str) -> None:
    try:
        value = artifacts.content_disposition(name, shown=False)
    except UnicodeEncodeError:
        assert any("\ud800" <= letter <= "\udfff" for letter in name)
        return
    assert value.startswith('attachment; filename="')
    assert value.isascii()
    assert value.isprintable()
    assert value.count('"') == 2
