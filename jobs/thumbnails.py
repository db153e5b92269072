"""Small pictures of outputs, for lists and galleries. A chore: idempotent, apart from the settlement."""

import io
import warnings
from pathlib import Path

import structlog
from PIL import Image, UnidentifiedImageError

from jobs import artifacts
from jobs.models import Artifact

log = structlog.get_logger(__name__)
LONGEST_SIDE_PIXELS = 480
MOST_PIXELS = 60_000_000
QUALITY = 82


def make(artifact_id: str) -> bool:
    """Write the artifact's thumbnail and its size in pixels; False when it is no picture that can be read."""
    row = Artifact.objects.filter(pk=artifact_id, kind="image", deleted_at=None).first()
    path = artifacts.open_path(row.sha256) if row is not None else None
    if row is None or path is None:
        return False
    try:
        small, width, height = _shrunk(path)
    except (
        OSError,
        ValueError,
        SyntaxError,
        UnidentifiedImageError,
        Image.DecompressionBombWarning,
    ) as error:
        log.warning("artifacts.no_thumbnail", artifact=str(row.pk), fault=type(error).__name__)
        return False
    digest = artifacts.store_bytes(small)
    Artifact.objects.filter(pk=row.pk).update(thumbnail_sha256=digest, width=width, height=height)
    return True


def _shrunk(path: Path) -> tuple[bytes, int, int]:
    with warnings.catch_warnings():
        # Pillow only warns between once and twice its limit.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as picture:
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise ValueError(f"more than {MOST_PIXELS} pixels")
            picture.thumbnail((LONGEST_SIDE_PIXELS, LONGEST_SIDE_PIXELS))
            with_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
            out = io.BytesIO()
            picture.convert("RGBA" if with_alpha else "RGB").save(out, "WEBP", quality=QUALITY)
    return out.getvalue(), width, height
