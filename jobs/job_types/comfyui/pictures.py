"""Workflows inside pictures: ComfyUI writes the graph into the PNG and WEBP files it saves.

Only the container is read, chunk by chunk; no pixel is ever decoded.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NoReturn

from jobs.job_types.base import Problem, Refusal
from jobs.job_types.comfyui import graph

MAX_PICTURE_BYTES = 32 * 1024 * 1024
MAX_CHUNKS = 10_000
_PNG, _RIFF = b"\x89PNG\r\n\x1a\n", b"RIFF"
_KEYS = ("prompt", "workflow")  # the API form first: it is what made the picture


def is_picture(body: bytes) -> bool:
    return body.startswith(_PNG) or (body.startswith(_RIFF) and body[8:12] == b"WEBP")


def embedded(body: bytes) -> list[bytes]:
    """The workflow texts in a picture, best first. Raises `Refusal` (too_large, broken_picture,
    no_workflow_in_picture)."""
    if len(body) > MAX_PICTURE_BYTES:
        _refuse("too_large", f"The picture is larger than {MAX_PICTURE_BYTES // 1024**2} MiB.")
    try:
        texts = dict(_png_texts(body) if body.startswith(_PNG) else _webp_texts(body))
    except (struct.error, zlib.error, IndexError, ValueError) as error:
        raise Refusal(Problem("broken_picture", f"The picture can't be read: {error}.")) from error
    found = [texts[key] for key in _KEYS if key in texts]
    if not found:
        _refuse("no_workflow_in_picture", "The picture carries no workflow: it was saved without one.")
    return found


def _refuse(code: str, message: str) -> NoReturn:
    raise Refusal(Problem(code, message))


def _png_texts(body: bytes) -> Iterator[tuple[str, bytes]]:
    at = len(_PNG)
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(body):
            return
        length, kind = struct.unpack_from(">I4s", body, at)
        data = body[at + 8 : at + 8 + length]
        if kind == b"IEND":
            return
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            key, _, rest = data.partition(b"\x00")
            name = key.decode("latin-1").lower()
            if name in _KEYS:
                yield name, _png_text(kind, rest)
        at += 12 + length


def _png_text(kind: bytes, rest: bytes) -> bytes:
    if kind == b"tEXt":
        return rest.decode("latin-1").encode()
    if kind == b"zTXt":
        return _inflated(rest[1:]).decode("latin-1").encode()
    compressed, text = rest[0], rest[2:].split(b"\x00", 2)[2]
    return _inflated(text) if compressed else text


def _inflated(data: bytes) -> bytes:
    """Raises ValueError for a text that unpacks to more than a workflow may have."""
    unpack = zlib.decompressobj()
    text = unpack.decompress(data, graph.MAX_BYTES + 1)
    if len(text) > graph.MAX_BYTES:
        raise ValueError("its workflow is too large")
    return text


def _webp_texts(body: bytes) -> Iterator[tuple[str, bytes]]:
    at = 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(body):
            return
        kind, length = struct.unpack_from("<4sI", body, at)
        if kind == b"EXIF":
            yield from _exif_texts(body[at + 8 : at + 8 + length].removeprefix(b"Exif\x00\x00"))
        at += 8 + length + length % 2


def _exif_texts(tiff: bytes) -> Iterator[tuple[str, bytes]]:
    """ASCII tags of the first directory that read "prompt:…" or "workflow:…"."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        raise ValueError("its EXIF block is damaged")
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for number in range(min(count, 200)):
        _, kind, length, offset = struct.unpack_from(order + "HHII", tiff, start + 2 + 12 * number)
        if kind == 2 and length > 4:
            text = tiff[offset : offset + min(length, graph.MAX_BYTES + 100)].rstrip(b"\x00")
            key, colon, rest = text.partition(b":")
            name = key.decode("latin-1").lower()
            if colon and name in _KEYS:
                yield name, rest
