"""What lies in a models folder: where a file of the manifest belongs, and whether it is whole and right."""

import contextlib
import hashlib
import json
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gpu_agent.protocol.manifest import ManifestFile, ModelProgress, ModelState, path_fault

CHUNK_BYTES = 1024 * 1024
CACHE_NAME = ".model-hashes.json"
MAX_HEADER_BYTES = 100 * 1024 * 1024
PART = ".part"


class BadPlace(ValueError):
    """The file would not lie in the models folder; the text says why."""


def place(root: Path, file: ManifestFile) -> Path:
    """Where the file belongs below `root` (resolved). BadPlace, also where a link leads out."""
    fault = path_fault(file.folder, file.name)
    if fault:
        raise BadPlace(fault)
    path = root.joinpath(*file.path.split("/"))
    parent = path.parent.resolve()
    if not parent.is_relative_to(root):
        raise BadPlace(f"{path.parent.relative_to(root)} is a link that leads out of the models folder")
    return parent / path.name


def part_of(path: Path) -> Path:
    """Where its bytes gather until they are proven: ComfyUI lists no such ending."""
    return path.with_name(path.name + PART)


class HashCache:
    """SHA-256 by path, size and modification time, kept in the models folder.

    A folder that cannot be written costs only the reading of the files again.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = root / CACHE_NAME
        self._known: dict[str, tuple[int, int, str]] = {}
        with contextlib.suppress(OSError, ValueError, TypeError):
            kept = json.loads(self._file.read_text())
            self._known = {
                str(name): (int(size), int(at), str(digest)) for name, (size, at, digest) in kept.items()
            }

    def get(self, path: Path) -> str:
        """The digest of the file as it is now; "" when not known."""
        at = path.stat()
        size, changed, digest = self._known.get(self._name(path), (0, 0, ""))
        return digest if (size, changed) == (at.st_size, at.st_mtime_ns) else ""

    def put(self, path: Path, digest: str) -> None:
        at = path.stat()
        self._known[self._name(path)] = (at.st_size, at.st_mtime_ns, digest)
        unfinished = self._file.with_name(f"{CACHE_NAME}.{os.getpid()}")
        with contextlib.suppress(OSError):
            unfinished.write_text(json.dumps(self._known))
            unfinished.replace(self._file)

    def digest(self, path: Path, seen: Callable[[int], None] = lambda _bytes: None) -> str:
        """Known or computed; `seen` hears of each chunk read."""
        known = self.get(path)
        if known:
            return known
        digest = sha256(path, seen).hexdigest()
        self.put(path, digest)
        return digest

    def forget(self) -> None:
        self._known.clear()

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._root))


def sha256(path: Path, seen: Callable[[int], None] = lambda _bytes: None) -> "hashlib._Hash":
    """The running hash over a file's bytes."""
    running = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            running.update(chunk)
            seen(len(chunk))
    return running


def look(
    root: Path,
    file: ManifestFile,
    cache: HashCache,
    *,
    prove: bool,
    seen: Callable[[int], None] = lambda _bytes: None,
) -> ModelProgress:
    """How the file stands. With `prove` its bytes are hashed where the cache doesn't know them, and `seen`
    hears of each chunk. OSError."""
    told = ModelProgress(file.folder, file.name, ModelState.MISSING, 0, file.size_bytes)
    try:
        path = place(root, file)
    except BadPlace as error:
        return replace(told, state=ModelState.FAILED, message=str(error))
    if not path.exists():
        return _broken_off(told, part_of(path))
    if not path.is_file():
        return replace(told, state=ModelState.WRONG, message="it is not a file")
    told = replace(told, received_bytes=path.stat().st_size)
    fault = size_fault(path, file)
    if fault is not None:
        return replace(told, state=fault[0], message=fault[1])
    return _compared(file, replace(told, sha256=cache.digest(path, seen) if prove else cache.get(path)))


def size_fault(path: Path, file: ManifestFile) -> tuple[ModelState, str] | None:
    """What the size (or, where the manifest names none, a safetensors header) says against the file."""
    size = path.stat().st_size
    wanted = file.size_bytes or safetensors_bytes(path, file.name)
    if wanted is None or size == wanted:
        return None
    state = ModelState.TRUNCATED if size < wanted else ModelState.WRONG
    return state, f"{size:,} bytes, not {wanted:,}"


def safetensors_bytes(path: Path, name: str) -> int | None:
    """How long a safetensors file must be by its own header; None for other files and unreadable headers.

    Format: 8 bytes little-endian header length, JSON header with `data_offsets`, then the data.
    """
    if not name.lower().endswith((".safetensors", ".sft")):
        return None
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= MAX_HEADER_BYTES:
            return None
        text = file.read(length)
    if len(text) < length:
        return int(8 + length)
    try:
        header = json.loads(text)
        ends = [int(one["data_offsets"][1]) for key, one in header.items() if key != "__metadata__"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    return int(8 + length + max(ends, default=0))


def _broken_off(told: ModelProgress, part: Path) -> ModelProgress:
    if not part.is_file():
        return told
    return replace(told, state=ModelState.PARTIAL, received_bytes=part.stat().st_size)


def _compared(file: ManifestFile, told: ModelProgress) -> ModelProgress:
    if not (file.sha256 and told.sha256):
        return replace(told, state=ModelState.UNPROVEN)
    if told.sha256 != file.sha256:
        said = f"other bytes than the manifest's: SHA-256 {told.sha256[:12]}…, not {file.sha256[:12]}…"
        return replace(told, state=ModelState.WRONG, message=said)
    return replace(told, state=ModelState.PRESENT)
