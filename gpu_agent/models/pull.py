"""Fetching what is missing: resumable, verified, within a bandwidth, never under the final name before it is
proven."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import httpx

from gpu_agent.models import stock
from gpu_agent.models.settings import Settings
from gpu_agent.models.sources import Broken, Gated, NotThere, Source, Transfer, Unusable, sources_of
from gpu_agent.models.throttle import Throttle
from gpu_agent.protocol.manifest import ManifestFile, ModelProgress, ModelState

LOCK_NAME = ".models.lock"
TRIES = 5
WORTH_BYTES = 1024 * 1024  # a try that gained this much was not in vain
ROOM_EVERY_BYTES = 64 * 1024 * 1024
PAUSE_CAP_SECONDS = 30.0


class Busy(Exception):
    """Another pull works on this folder."""


class NoRoom(Exception):
    """The disk has not the room; the text has the figures. Nothing was fetched."""


class Stopped(Exception):
    """Somebody asked to stop; what arrived is kept for the next time."""


@contextlib.contextmanager
def alone(models_dir: Path) -> Iterator[None]:
    """Hold the folder against other pulls, of other agents on it too. Busy."""
    with (models_dir / LOCK_NAME).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Busy(f"process {lock.read(20).strip() or '?'} pulls into {models_dir} already") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@dataclass
class _Part:
    """The bytes gathered so far, and of what they are (the small file beside)."""

    path: Path

    @property
    def notes(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def resume(self, file: ManifestFile, source: str) -> tuple[int, str]:
        """(offset, validator) to go on with. Bytes of unknown origin are not built upon.

        With the same SHA-256 wanted any source may go on, for the whole is proven at the end; without one
        only the same source, and only if it says that the file is still the same.
        """
        try:
            notes = json.loads(self.notes.read_text())
            if file.sha256 and notes["sha256"] == file.sha256:
                return self.size_bytes, ""
            if not file.sha256 and notes["source"] == source and notes["validator"]:
                return self.size_bytes, str(notes["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, ""
        return 0, ""

    def note(self, file: ManifestFile, source: str, validator: str) -> None:
        words = {"sha256": file.sha256, "source": source, "validator": validator}
        self.notes.write_text(json.dumps(words))

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)


class Puller:
    """Fetches the files of a manifest one after another. `told(progress)` hears of every step."""

    def __init__(
        self,
        settings: Settings,
        http: httpx.Client,
        told: Callable[[ModelProgress], None],
        *,
        stop: threading.Event | None = None,
        first_pause_seconds: float = 1.0,
        replace_wrong: bool = False,
    ) -> None:
        self._settings, self._http, self._told = settings, http, told
        self._stop = stop or threading.Event()
        self._first_pause_seconds = first_pause_seconds
        self._replace_wrong = replace_wrong
        self._throttle = Throttle(settings.bytes_per_second, wait=self._stop.wait)
        self._cache = stock.HashCache(settings.models_dir)
        self._room_checked_bytes = 0
        self._hashed: tuple[Path, int, hashlib._Hash] | None = None  # so that going on needn't read it again

    def pull(self, files: tuple[ManifestFile, ...]) -> None:
        """Fetch what is missing. NoRoom before the first byte, Stopped; what goes wrong with one file is told
        and the next one is fetched."""
        wanted = [file for file in files if self._is_wanted(file)]
        self._check_room(wanted)
        for file in wanted:
            self._told(self._fetch(file))

    def _is_wanted(self, file: ManifestFile) -> bool:
        now = stock.look(self._settings.models_dir, file, self._cache, prove=True, seen=self._heed)
        if now.state in (ModelState.TRUNCATED, ModelState.WRONG) and not self._replace_wrong:
            now = replace(now, message=f"{now.message}; pull --replace fetches it anew")
        self._told(now)
        if now.state in (ModelState.MISSING, ModelState.PARTIAL):
            return True
        return self._replace_wrong and now.state in (ModelState.TRUNCATED, ModelState.WRONG)

    def _check_room(self, wanted: list[ManifestFile]) -> None:
        needed = 0
        for file in wanted:
            part = stock.part_of(stock.place(self._settings.models_dir, file))
            here = part.stat().st_size if part.is_file() else 0
            needed += max(0, (file.size_bytes or 0) - here)
        free = shutil.disk_usage(self._settings.models_dir).free - self._settings.disk_floor_bytes
        if wanted and needed > free:
            missing, room = f"{needed / 1e9:.1f} GB", f"{max(free, 0) / 1e9:.1f} GB"
            raise NoRoom(
                f"{missing} are missing and {room} are free above the floor of DISK_FLOOR_MB; nothing was "
                "fetched. Make room, or choose with --only."
            )

    def _fetch(self, file: ManifestFile) -> ModelProgress:
        """From the first source that has it, or why none does."""
        told = ModelProgress(file.folder, file.name, ModelState.FAILED, 0, file.size_bytes)
        faults: list[str] = []
        gated = False
        for source in sources_of(file, self._settings, self._http):
            try:
                return self._from(source, file)
            except NotThere:
                faults.append(f"{source.label}: not there")
            except Gated as fault:
                gated = True
                faults.append(str(fault))
            except (Unusable, Broken, stock.BadPlace) as fault:
                faults.append(f"{source.label}: {fault}")
            except OSError as fault:  # our own disk
                faults.append(f"cannot be written: {fault.strerror}")
                break
        part = _Part(stock.part_of(stock.place(self._settings.models_dir, file)))
        state = ModelState.GATED if gated else ModelState.FAILED
        why = "; ".join(faults) or "no source: put it on the network drive or name an address"
        return replace(told, state=state, received_bytes=part.size_bytes, message=why)

    def _from(self, source: Source, file: ManifestFile) -> ModelProgress:
        path = stock.place(self._settings.models_dir, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _Part(stock.part_of(path))
        vain = 0
        while True:
            before = part.size_bytes
            try:
                resumed, digest = self._receive(source, file, part)
            except Broken:
                vain = 0 if part.size_bytes >= before + WORTH_BYTES else vain + 1
                if vain >= TRIES:
                    raise
                self._pause(vain)
                continue
            fault = self._fault(file, part, digest)
            if not fault:
                return self._keep(file, part, path, digest)
            part.drop()
            if not resumed:
                raise Unusable(fault)
            # Some of the bytes were of an earlier time or another source: once more from the start.

    def _receive(self, source: Source, file: ManifestFile, part: _Part) -> tuple[bool, str]:
        """Take bytes until the source has no more. (built on earlier bytes, SHA-256 of all). Broken …"""
        offset, validator = part.resume(file, source.label)
        if file.size_bytes is not None and offset > file.size_bytes:
            offset, validator = 0, ""
        with source.open(file, offset, validator, self._throttle.chunk_bytes) as transfer:
            self._check_length(file, transfer)
            part.note(file, source.label, transfer.validator)
            with _appending(part.path, transfer.start_bytes) as target:
                running = self._hash_of(part.path, transfer.start_bytes)
                got = transfer.start_bytes
                self._say(file, transfer, got)
                for chunk in transfer.chunks:
                    self._throttle.take(len(chunk))
                    target.write(chunk)
                    running.update(chunk)
                    got += len(chunk)
                    self._hashed = (part.path, got, running)
                    self._between(file, transfer, got)
                target.flush()
                os.fsync(target.fileno())
        if transfer.total_bytes is not None and got < transfer.total_bytes:
            raise Broken(f"it ended after {got:,} of {transfer.total_bytes:,} bytes")
        return transfer.start_bytes > 0, running.hexdigest()

    def _hash_of(self, path: Path, size_bytes: int) -> "hashlib._Hash":
        if self._hashed is not None and self._hashed[:2] == (path, size_bytes):
            return self._hashed[2]
        return stock.sha256(path, self._heed)

    def _heed(self, _bytes: int = 0) -> None:
        if self._stop.is_set():
            raise Stopped

    def _between(self, file: ManifestFile, transfer: Transfer, got: int) -> None:
        self._heed()
        if file.size_bytes is not None and got > file.size_bytes:
            raise Unusable(f"it sends more than the {file.size_bytes:,} bytes of the manifest")
        if got - self._room_checked_bytes >= ROOM_EVERY_BYTES or got < self._room_checked_bytes:
            self._room_checked_bytes = got
            if shutil.disk_usage(self._settings.models_dir).free < self._settings.disk_floor_bytes:
                raise OSError(28, "the disk is down to the floor of DISK_FLOOR_MB")
        self._say(file, transfer, got)

    def _check_length(self, file: ManifestFile, transfer: Transfer) -> None:
        wanted = file.size_bytes
        if wanted is not None and transfer.total_bytes not in (None, wanted):
            raise Unusable(f"it has {transfer.total_bytes:,} bytes, not the manifest's {wanted:,}")

    def _fault(self, file: ManifestFile, part: _Part, digest: str) -> str:
        size = stock.size_fault(part.path, file)
        if size is not None:
            return f"it delivered {size[1]}"
        if file.sha256 and digest != file.sha256:
            return f"it delivered other bytes: SHA-256 {digest[:12]}…, not {file.sha256[:12]}…"
        return ""

    def _keep(self, file: ManifestFile, part: _Part, path: Path, digest: str) -> ModelProgress:
        if path.exists() and not self._replace_wrong:
            raise Unusable("a file of this name appeared meanwhile; it was left alone")
        size = part.size_bytes
        part.path.replace(path)
        part.notes.unlink(missing_ok=True)
        self._cache.put(path, digest)
        state = ModelState.PRESENT if file.sha256 else ModelState.UNPROVEN
        return ModelProgress(file.folder, file.name, state, size, file.size_bytes or size, digest)

    def _say(self, file: ManifestFile, transfer: Transfer, got: int) -> None:
        size = file.size_bytes or transfer.total_bytes
        self._told(ModelProgress(file.folder, file.name, ModelState.PULLING, got, size))

    def _pause(self, failures: int) -> None:
        seconds = min(PAUSE_CAP_SECONDS, self._first_pause_seconds * 2 ** max(0, failures - 1))
        if self._stop.wait(seconds):
            raise Stopped


@contextlib.contextmanager
def _appending(path: Path, keep_bytes: int) -> Iterator[BinaryIO]:
    """The part, cut to the bytes it goes on from. A link in its place is not followed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "r+b") as file:
        file.truncate(keep_bytes)
        file.seek(keep_bytes)
        yield file
