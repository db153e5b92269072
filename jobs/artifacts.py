"""The content-addressed store of output files and uploads, and the signed links that lead to them.

A file lies under MEDIA_ROOT/ab/cd/<sha256>, is written once and never changed. It appears by a rename after
its bytes were hashed, so a name that exists holds what it says; rows are written afterwards.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from django.conf import settings
from django.core import signing

from jobs.models import Artifact, Attempt

SHA256 = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]*")
KINDS = ("image", "video", "audio", "text", "model", "file")
MAX_NAME_CHARACTERS = 200
LINK_SALT = "jobs.artifacts.link"
# What a browser may show inside a page of ours. Everything else is only ever downloaded: a type that can
# carry script (SVG, HTML, PDF) would run as our site.
SHOWN_MEDIA_TYPES = frozenset(
    {
        "image/png", "image/jpeg", "image/webp", "image/gif", "image/avif",
        "video/mp4", "video/webm", "video/quicktime", "video/x-matroska",
        "audio/mpeg", "audio/flac", "audio/wav", "audio/x-wav", "audio/ogg", "audio/opus", "audio/mp4",
    }
)  # fmt: skip


class BadDigest(ValueError):
    """The name is not a SHA-256 in lowercase hex, or the bytes are not those it names."""


class TooLarge(ValueError):
    """The file is longer than allowed."""


class BadOutput(ValueError):
    """A word about an output is not as it should be; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class StoreFull(OSError):
    """The disk of the store is full; nothing of the file was kept."""


class BadLink(ValueError):
    """The link is not one of ours, or its time is over."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a signed link says of its file; whoever holds it needs no other permission."""

    sha256: str
    name: str
    media_type: str
    download: bool


def path_of(sha256: str) -> Path:
    """Where the file lies or would lie. BadDigest unless `sha256` is one."""
    if not SHA256.fullmatch(sha256):
        raise BadDigest("a file is named by its SHA-256 in lowercase hex")
    return Path(settings.MEDIA_ROOT) / sha256[:2] / sha256[2:4] / sha256


def open_path(sha256: str) -> Path | None:
    """The stored file; None when there is none."""
    path = path_of(sha256)
    return path if path.is_file() else None


def size_of(sha256: str) -> int | None:
    """Bytes of the stored file; None when there is none."""
    try:
        return path_of(sha256).stat().st_size
    except FileNotFoundError:
        return None


async def store_stream(chunks: AsyncIterator[bytes], sha256: str, limit: int) -> int:
    """Write a file as its bytes arrive; returns their number.

    Raises BadDigest when they hash to another name, TooLarge beyond `limit` bytes, StoreFull. Then, as when
    the stream breaks off, nothing is kept. Storing a file twice is no error.
    """
    target = path_of(sha256)
    digest, size = hashlib.sha256(), 0
    with _unfinished() as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"the file is longer than {limit} bytes")
            await asyncio.to_thread(_append, file, digest, chunk)
        if digest.hexdigest() != sha256:
            raise BadDigest(f"the bytes are those of {digest.hexdigest()}, not {sha256}")
        await asyncio.to_thread(_finish, file, target)
    return size


def store_bytes(content: bytes) -> str:
    """Store a file held in memory; returns its SHA-256. StoreFull when there is no room."""
    digest = hashlib.sha256(content)
    with _unfinished() as file:
        _append(file, hashlib.sha256(), content)
        _finish(file, path_of(digest.hexdigest()))
    return digest.hexdigest()


def store_file(source: IO[bytes], limit: int) -> tuple[str, int]:
    """Store a file read in pieces; returns its SHA-256 and size. TooLarge, StoreFull as for a stream."""
    digest, size = hashlib.sha256(), 0
    with _unfinished() as file:
        while chunk := source.read(1024 * 1024):
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"the file is longer than {limit} bytes")
            _append(file, digest, chunk)
        _finish(file, path_of(digest.hexdigest()))
    return digest.hexdigest(), size


def record(
    attempt_id: int, sha256: str, *, name: str, media_type: str, kind: str, node: str, size_bytes: int
) -> Artifact:
    """Write the row of a stored output of an attempt; nobody sees it before its job is settled.

    The second time gives the first one's row. BadOutput.
    """
    if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise BadOutput("name", f"name must be printable text of 1 to {MAX_NAME_CHARACTERS} characters")
    if kind not in KINDS:
        raise BadOutput("kind", f"kind must be one of {', '.join(KINDS)}")
    if len(media_type) > 100 or not _MEDIA_TYPE.fullmatch(media_type):
        raise BadOutput("media_type", "media_type must be like image/png")
    if len(node) > 120 or not node.isprintable():
        raise BadOutput("node", "node must be printable text of at most 120 characters")
    row, _made = Artifact.objects.get_or_create(
        attempt_id=attempt_id,
        sha256=sha256,
        name=name,
        defaults={
            "job_id": Attempt.objects.values_list("job_id", flat=True).get(pk=attempt_id),
            "media_type": media_type,
            "kind": kind,
            "node": node,
            "size_bytes": size_bytes,
        },
    )
    return row


def link(sha256: str, name: str, media_type: str, *, download: bool = False) -> str:
    """A path on this site that serves the file for settings.ARTIFACT_LINK_SECONDS to whoever has it."""
    key = signing.dumps([sha256, name, media_type, download], salt=LINK_SALT)
    return f"/files/{sha256}?key={quote(key)}"


def read_link(sha256: str, key: str) -> Link:
    """What the link of `/files/<sha256>?key=` allows. BadLink."""
    try:
        words = signing.loads(key, salt=LINK_SALT, max_age=settings.ARTIFACT_LINK_SECONDS)
        found = Link(*words)
    except (signing.BadSignature, TypeError, ValueError) as error:
        raise BadLink("this link is not valid, or no longer") from error
    if found.sha256 != sha256:
        raise BadLink("this link is for another file")
    return found


def content_disposition(name: str, *, shown: bool) -> str:
    """The header's value: an ASCII name for old clients, the true one beside it, nothing a name can break."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "file"
    kind = "inline" if shown else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


@contextlib.contextmanager
def _unfinished() -> Iterator[IO[bytes]]:
    """A file beside the store that is gone afterwards unless `_finish` gave it its name."""
    folder = Path(settings.MEDIA_ROOT) / "unfinished"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.NamedTemporaryFile(dir=folder, delete=False)  # noqa: SIM115 - closed below
    except OSError as error:
        raise _store_error(error) from error
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # closing flushes; on a full disk the error was raised before
            file.close()
        Path(file.name).unlink(missing_ok=True)


def _append(file: IO[bytes], digest: "hashlib._Hash", chunk: bytes) -> None:
    digest.update(chunk)
    try:
        file.write(chunk)
    except OSError as error:
        raise _store_error(error) from error


def _finish(file: IO[bytes], target: Path) -> None:
    try:
        file.flush()
        # The row that will name this file is durable; so must the file be.
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o640)
        target.parent.mkdir(parents=True, exist_ok=True)
        Path(file.name).rename(target)
    except OSError as error:
        raise _store_error(error) from error


def _store_error(error: OSError) -> OSError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(error.errno, "the disk of the store is full")
    return error
