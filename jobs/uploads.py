"""Files students bring for their workflows to read.

Pictures are decoded and encoded anew before they are hashed: what an agent gets was made by us, whatever was
hidden in the file. Clips and sounds are kept as they are. A workflow embedded in a picture is read first.
"""

import io
import json
import re
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from django.conf import settings
from PIL import Image, ImageOps, UnidentifiedImageError

from accounts.models import User, Workshop
from jobs import artifacts
from jobs.models import Upload

MAX_PIXELS = 60_000_000
MAX_NAME_CHARACTERS = 120
MAX_WORKFLOW_CHARACTERS = 2 * 1024 * 1024
MAX_UPLOADS = 1000  # of one person in one workshop
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# By their first bytes: (offset, bytes, media type, suffix).
MEDIA_STARTS = (
    (4, b"ftypqt", "video/quicktime", ".mov"),
    (4, b"ftyp", "video/mp4", ".mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm", ".webm"),
    (8, b"WAVE", "audio/wav", ".wav"),
    (0, b"fLaC", "audio/flac", ".flac"),
    (0, b"OggS", "audio/ogg", ".ogg"),
    (0, b"ID3", "audio/mpeg", ".mp3"),
    (0, b"\xff\xfb", "audio/mpeg", ".mp3"),
    (0, b"\xff\xf3", "audio/mpeg", ".mp3"),
)


class BadUpload(ValueError):
    """The file can't be taken; the text says why and what would do. `status` is an HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Received:
    """A stored upload, and the workflow that was in the picture (None: none)."""

    upload: Upload
    workflow: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Content:
    sha256: str
    media_type: str
    suffix: str
    size_bytes: int
    width: int | None = None
    height: int | None = None
    workflow: dict[str, Any] | None = None


def receive(owner: User, workshop: Workshop, name: str, file: IO[bytes]) -> Received:
    """Check and store a file under the name its owner gave it; a second of that name replaces the first.

    BadUpload; artifacts.StoreFull.
    """
    limit = settings.MAX_UPLOAD_BYTES
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size == 0:
        raise BadUpload("empty", "The file is empty.")
    if size > limit:
        raise BadUpload("too_large", f"Files may have {limit // 1024**2} MB.", 413)
    kept = Upload.objects.filter(owner=owner, workshop=workshop)
    if kept.count() >= MAX_UPLOADS:
        raise BadUpload("too_many", f"You have {MAX_UPLOADS} files here. Delete some first.", 409)
    start = file.read(16)
    file.seek(0)
    content = _media(file, start, limit) or _picture(file)
    upload, _made = Upload.objects.update_or_create(
        owner=owner,
        workshop=workshop,
        name=_clean_name(name, content.suffix),
        defaults={
            "sha256": content.sha256,
            "media_type": content.media_type,
            "size_bytes": content.size_bytes,
            "width": content.width,
            "height": content.height,
        },
    )
    return Received(upload, content.workflow)


def _media(file: IO[bytes], start: bytes, limit: int) -> _Content | None:
    for offset, words, media_type, suffix in MEDIA_STARTS:
        if start[offset:].startswith(words):
            sha256, size_bytes = artifacts.store_file(file, limit)
            return _Content(sha256, media_type, suffix, size_bytes)
    return None


def _picture(file: IO[bytes]) -> _Content:
    with warnings.catch_warnings():
        # Pillow only warns of a picture that is a bomb up to twice its limit.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=PICTURE_FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise BadUpload(
                        "too_many_pixels", f"Pictures may have {MAX_PIXELS // 10**6} megapixels.", 413
                    )
                workflow = _embedded_workflow(opened)
                opened.seek(0)
                picture = ImageOps.exif_transpose(opened) or opened
                return _encoded(picture, jpeg=opened.format == "JPEG", workflow=workflow)
        except (BadUpload, artifacts.StoreFull):
            raise
        except UnidentifiedImageError:
            raise BadUpload(
                "unknown_file",
                "This is no picture, clip or sound known here. PNG, JPEG, WebP or MP4 would do.",
            ) from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise BadUpload(
                "too_many_pixels", f"Pictures may have {MAX_PIXELS // 10**6} megapixels.", 413
            ) from None
        except (OSError, SyntaxError, ValueError, EOFError, OverflowError, MemoryError) as error:
            raise BadUpload("damaged", "The picture is damaged: it could not be read to its end.") from error


def _encoded(picture: Image.Image, *, jpeg: bool, workflow: dict[str, Any] | None) -> _Content:
    """The picture encoded anew, without any of its metadata; pixels keep their transparency."""
    clear = "A" in picture.getbands() or "transparency" in picture.info
    plain = picture.convert("RGBA" if clear else "RGB")
    plain.info = {}  # Pillow would write what it finds here into the new file
    into = io.BytesIO()
    if jpeg and not clear:
        plain.save(into, "JPEG", quality=95)
    else:
        plain.save(into, "PNG", compress_level=3)
    content = into.getvalue()
    media_type, suffix = ("image/jpeg", ".jpg") if jpeg and not clear else ("image/png", ".png")
    sha256 = artifacts.store_bytes(content)
    return _Content(sha256, media_type, suffix, len(content), plain.width, plain.height, workflow)


def _embedded_workflow(picture: Image.Image) -> dict[str, Any] | None:
    """The API-format graph ComfyUI writes into its pictures as the text chunk `prompt`."""
    text = picture.info.get("prompt")
    if not isinstance(text, str) or len(text) > MAX_WORKFLOW_CHARACTERS:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found else None


def _clean_name(name: str, suffix: str) -> str:
    """One path segment of plain letters: what a workflow names.

    The owner's suffix stays where it says the same kind of file, for the workflow already names it so.
    """
    last = PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/")).name
    given = PurePosixPath(last).suffix
    if suffix in PICTURE_SUFFIXES:
        suffix = given if given.lower() in PICTURE_SUFFIXES else suffix
    elif given.lower() == suffix:
        suffix = given
    stem = re.sub(r"[^\w .()+-]+", "_", PurePosixPath(last).stem).strip(" ._") or "file"
    return stem[: MAX_NAME_CHARACTERS - len(suffix)].rstrip(" .") + suffix
