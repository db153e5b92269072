"""PNG files with the text chunks in which ComfyUI keeps the graph."""

import json
import struct
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from PIL import Image

SIGNATURE_BYTES = 8
HEADER_END = SIGNATURE_BYTES + 25  # the IHDR chunk always takes 25 bytes


def encode_png(image: Image.Image) -> bytes:
    """Fast rather than small."""
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def with_texts(png: bytes, texts: Mapping[str, Any]) -> bytes:
    """The file with one tEXt chunk per entry, values as JSON, right after its header."""
    chunks = b"".join(
        _chunk(b"tEXt", key.encode("latin-1") + b"\0" + json.dumps(value).encode("latin-1"))
        for key, value in texts.items()
    )
    return png[:HEADER_END] + chunks + png[HEADER_END:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
