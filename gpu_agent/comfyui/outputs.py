"""Which files a finished prompt made, from its history entry. Pure.

ComfyUI's word is not trusted: a name that could leave the job's folder is refused.
"""

import mimetypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

MAX_NAME_LENGTH = 255
KINDS_BY_MAIN_TYPE = {"image": "image", "video": "video", "audio": "audio", "text": "text", "model": "model"}
MODEL_SUFFIXES = {".glb", ".gltf", ".obj", ".fbx", ".stl", ".ply", ".usdz", ".splat", ".ksplat", ".spz"}
# Python's table depends on the host's /etc/mime.types; these must be the same everywhere.
MEDIA_TYPES = {
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".obj": "model/obj",
    ".opus": "audio/ogg",
    ".ply": "model/ply",
    ".stl": "model/stl",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
}


class HostileName(ValueError):
    """ComfyUI named a file that must not be fetched."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file ComfyUI says a node wrote."""

    node: str
    filename: str
    subfolder: str
    folder: str  # "output" or "temp"
    kind: str  # image | video | audio | text | model | file
    media_type: str


@dataclass(frozen=True, slots=True)
class OutputText:
    """Text a node showed without writing a file."""

    node: str
    text: str


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a prompt made; `refused` says which names were not fetched, and why."""

    files: tuple[OutputFile, ...]
    texts: tuple[OutputText, ...]
    refused: tuple[str, ...]


def collect(outputs: Mapping[str, Any], prefix: str) -> Outputs:
    """Read the `outputs` of a history entry. Files of type `temp` count only when there is nothing else.

    `prefix` is the job's own folder: an `output` file elsewhere belongs to another job (a cached node
    names what an earlier run wrote) and is refused. "" accepts any folder.
    """
    files: list[OutputFile] = []
    texts: list[OutputText] = []
    refused: list[str] = []
    for node, key, entry in _entries(outputs):
        if isinstance(entry, str):
            if key == "text":
                texts.append(OutputText(node, entry))
            continue
        try:
            file = _file(node, entry, prefix)
        except HostileName as error:
            refused.append(f"node {node}: {error}")
            continue
        if file is not None and file not in files:
            files.append(file)
    lasting = [file for file in files if file.folder == "output"]
    written = {file.node for file in lasting if file.kind == "text"}
    shown = [text for text in texts if text.node not in written]  # SaveText both shows and writes
    chosen = lasting if lasting or shown else files
    return Outputs(tuple(chosen), tuple(shown), tuple(refused))


def _entries(outputs: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Every list item under any key: core and custom nodes (`gifs`, `3d`, …) alike."""
    for node, forms in outputs.items():
        if not isinstance(forms, dict):
            continue
        for key, entries in forms.items():
            for entry in entries if isinstance(entries, list) else ():
                yield str(node), str(key), entry


def _file(node: str, entry: object, prefix: str) -> OutputFile | None:
    if not isinstance(entry, dict) or "filename" not in entry:
        return None  # `animated: [true]`, widget values and other things that name no file
    filename, subfolder = entry.get("filename"), entry.get("subfolder") or ""
    folder = entry.get("type", "output")
    if not isinstance(filename, str) or not isinstance(subfolder, str):
        raise HostileName("a file name that is not text")
    if folder not in ("output", "temp"):
        raise HostileName(f"a file of type {str(folder)[:20]!r}")
    check_name(filename)
    for part in subfolder.split("/") if subfolder else ():
        check_name(part)
    if folder == "output" and prefix and not f"{subfolder}/".startswith(prefix.strip("/") + "/"):
        raise HostileName("a file outside the job's own folder")
    media_type = media_type_of(filename)
    return OutputFile(node, filename, subfolder, folder, kind_of(filename, media_type), media_type)


def check_name(name: str) -> None:
    """One plain path segment, or `HostileName`."""
    if not name or name in {".", ".."} or len(name) > MAX_NAME_LENGTH:
        raise HostileName(f"{name[:40]!r} is no file name")
    if any(letter in '/\\:<>|"*?' or not letter.isprintable() for letter in name):
        raise HostileName(f"{name[:40]!r} holds characters a file name must not have")


def media_type_of(filename: str) -> str:
    suffix = PurePosixPath(filename).suffix.lower()
    return MEDIA_TYPES.get(suffix) or mimetypes.guess_type(filename)[0] or "application/octet-stream"


def kind_of(filename: str, media_type: str) -> str:
    if PurePosixPath(filename).suffix.lower() in MODEL_SUFFIXES:
        return "model"
    return KINDS_BY_MAIN_TYPE.get(media_type.split("/")[0], "file")
