"""Which model files a workshop needs, and how far a GPU host has them. Messages of the agent API."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from gpu_agent.protocol.messages import Message

MAX_MANIFEST_FILES = 2_000
# What ComfyUI and its nodes load, and the small files beside them. No code.
MODEL_SUFFIXES = frozenset(
    {".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf", ".onnx", ".engine"}
    | {".msgpack", ".json", ".yaml", ".yml", ".txt", ".model"}
)
_SEGMENT = re.compile(r"[^\x00-\x1f\x7f\\/:*?\"<>|]{1,150}")


class ModelState(StrEnum):
    """What a GPU host says of one file of the manifest."""

    PRESENT = "present"  # size and SHA-256 are right
    UNPROVEN = "unproven"  # there and of the right size, but no SHA-256 was compared
    MISSING = "missing"
    PARTIAL = "partial"  # broken off; a pull goes on with it
    TRUNCATED = "truncated"  # under its final name, but too short
    WRONG = "wrong"  # longer, or other bytes
    PULLING = "pulling"
    GATED = "gated"  # its source wants a token, or the licence accepted
    FAILED = "failed"


HAVE = frozenset({ModelState.PRESENT, ModelState.UNPROVEN})


def path_fault(folder: str, name: str) -> str:
    """Why `folder/name` is no place below a models folder, "" where it is. Site and host both ask."""
    segments = f"{folder}/{name}".split("/")
    for segment in segments:
        if not _SEGMENT.fullmatch(segment) or segment != segment.strip() or not segment.isprintable():
            return f"{segment[:40]!r} is no name of a file or folder"
        if segment.startswith(".") or segment.endswith("."):
            return f"{segment[:40]!r} begins or ends with a dot"
    if not folder or not name or len(segments) > 6:
        return "a folder and a file name are needed, five folders deep at most"
    if PurePosixPath(name).suffix.lower() not in MODEL_SUFFIXES:
        return f"{segments[-1][:40]!r} does not end like a model file"
    return ""


@dataclass(frozen=True, slots=True)
class ManifestFile(Message):
    """One file. `sources` are tried in order, after the host's network drive and object store."""

    folder: str  # below the models folder: checkpoints, loras …
    name: str  # may lie in subfolders: "flux/dev.safetensors"
    sources: tuple[str, ...] = ()  # https addresses
    size_bytes: int | None = None
    sha256: str = ""  # lowercase hex, "" = nobody knows
    licence: str = ""
    gated: bool = False

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"


@dataclass(frozen=True, slots=True)
class Manifest(Message):
    """Site → agent, answer of GET /agent/v1/manifest."""

    protocol: int
    files: tuple[ManifestFile, ...]


@dataclass(frozen=True, slots=True)
class ModelProgress(Message):
    """How one file stands. `sha256` is what the host computed, "" when it did not."""

    folder: str
    name: str
    state: ModelState
    received_bytes: int = 0
    size_bytes: int | None = None
    sha256: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ManifestProgress(Message):
    """Agent → site, POST /agent/v1/manifest/progress: all files of the manifest, as they stand now."""

    protocol: int
    ended: bool  # nothing more is on its way
    files: tuple[ModelProgress, ...]
    bytes_per_second: int = 0
