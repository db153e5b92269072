"""/view and /upload: files in and out."""

import asyncio
import json
import mimetypes
from email.utils import formatdate
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

from PIL import Image, UnidentifiedImageError
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from gpu_agent.simulator.files import Folders, OutsideFolder, split_annotation

_KNOWN_TYPES = {
    ".webp": "image/webp",
    ".flac": "audio/flac",
    ".opus": "audio/opus",
    ".mkv": "video/x-matroska",
    ".txt": "text/plain",
    ".latent": "application/octet-stream",
}
# What a browser would run is served as bytes.
_HARMFUL = ("text/html", "text/javascript", "application/javascript", "text/css", "image/svg+xml")


def media_type(path: Path) -> str:
    kind = _KNOWN_TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0]
    return "application/octet-stream" if kind is None or kind in _HARMFUL else kind


def view(folders: Folders, query: dict[str, str], byte_range: str | None) -> Response:
    """GET /view. 404 without the file, 400 for a strange name or type, 403 outside the folder."""
    if not query.get("filename"):
        return Response(status_code=404)
    name, kind = split_annotation(query["filename"], query.get("type", "output"))
    if name.startswith("/") or ".." in name:
        return Response(status_code=400)
    try:
        path = folders.inside(kind, query.get("subfolder", ""), Path(name).name)
    except KeyError:
        return Response(status_code=400)
    except OutsideFolder:
        return Response(status_code=403)
    if not path.is_file():
        return Response(status_code=404)
    disposition = f'filename="{path.name}"'
    if query.get("preview"):
        return _preview(path, query["preview"], disposition)
    if query.get("channel") in ("rgb", "a"):
        return _channel(path, query["channel"], disposition)
    return _file(path, disposition, byte_range)


def _file(path: Path, disposition: str, byte_range: str | None) -> Response:
    body, stat = path.read_bytes(), path.stat()
    headers = {
        "Content-Disposition": disposition,
        "ETag": f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"',
        "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        "Content-Type": media_type(path),
    }
    part = _part(byte_range, len(body))
    if part is None:
        return Response(body, 200, headers)
    start, end = part
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
    return Response(body[start:end], 206, headers)


def _part(byte_range: str | None, size: int) -> tuple[int, int] | None:
    """Start and end of a single range of bytes; None for the whole."""
    if byte_range is None or not byte_range.startswith("bytes=") or "," in byte_range:
        return None
    first, _, last = byte_range[6:].partition("-")
    if not first:
        return (max(0, size - int(last)), size) if last.isdigit() else None
    if not first.isdigit() or int(first) >= size:
        return None
    return int(first), min(size, int(last) + 1) if last.isdigit() else size


def _preview(path: Path, wanted: str, disposition: str) -> Response:
    kind, _, quality = wanted.partition(";")
    kind = kind if kind in ("webp", "jpeg") else "webp"
    with Image.open(path) as image:
        buffer = BytesIO()
        image.convert("RGB").save(buffer, kind, quality=int(quality) if quality.isdigit() else 90)
    return Response(buffer.getvalue(), 200, {"Content-Disposition": disposition}, f"image/{kind}")


def _channel(path: Path, channel: str, disposition: str) -> Response:
    with Image.open(path) as image:
        if channel == "rgb":
            chosen = image.convert("RGB")
        else:
            chosen = Image.new("RGBA", image.size)
            chosen.putalpha(image.convert("RGBA").getchannel("A"))
        buffer = BytesIO()
        chosen.save(buffer, "PNG")
    return Response(buffer.getvalue(), 200, {"Content-Disposition": disposition}, "image/png")


async def upload(folders: Folders, request: Request, *, mask: bool = False) -> Response:
    """POST /upload/image and /upload/mask (form: image, subfolder, type, overwrite)."""
    async with request.form() as form:
        image = form.get("image")
        if not isinstance(image, UploadFile) or not image.filename:
            return Response(status_code=400)
        kind, subfolder = str(form.get("type") or "input"), str(form.get("subfolder") or "")
        overwrite = str(form.get("overwrite", "")).lower() in ("true", "1")
        # aiohttp's client quotes what a file name may not hold, and its server leaves it quoted.
        name = image.filename.replace("/", quote("/", safe=""))
        body = await image.read()
        if mask:
            body = await asyncio.to_thread(_masked, folders, str(form.get("original_ref", "{}")), body)
        try:
            used = await asyncio.to_thread(
                folders.store_upload, kind, subfolder, name, body, overwrite=overwrite
            )
        except (OutsideFolder, KeyError):
            return Response(status_code=400)
    shown = {"name": used, "subfolder": subfolder, "type": kind}
    return Response(json.dumps(shown), media_type="application/json; charset=utf-8")


def _masked(folders: Folders, reference: str, body: bytes) -> bytes:
    """The original picture with the mask's alpha, as a PNG."""
    told = json.loads(reference)
    name, kind = split_annotation(str(told.get("filename", "")), str(told.get("type", "output")))
    path = folders.inside(kind, str(told.get("subfolder", "")), name)
    try:
        with Image.open(path) as original, Image.open(BytesIO(body)) as mask:
            whole = original.convert("RGBA")
            whole.putalpha(mask.convert("RGBA").getchannel("A").resize(whole.size))
    except UnidentifiedImageError:
        return body
    buffer = BytesIO()
    whole.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()
