"""Small, valid video files without an encoder.

MP4 holds H.264 whose pictures are stored as plain samples (I_PCM); WebM holds VP8 key frames, which is what
a lossy WebP file contains. Every picture is a key frame; a frame that repeats is shown longer instead.
"""

import struct
from collections.abc import Sequence
from io import BytesIO

from PIL import Image

TIMESCALE = 1000
Shots = Sequence[tuple[Image.Image, int]]  # pictures of one size, each with its milliseconds


class _Bits:
    """A bit string in the notation of the H.264 specification."""

    def __init__(self) -> None:
        self._text = ""

    def fixed(self, value: int, width: int) -> "_Bits":
        self._text += f"{value:0{width}b}"
        return self

    def golomb(self, *values: int) -> "_Bits":
        """Unsigned Exp-Golomb codes."""
        for value in values:
            code = f"{value + 1:b}"
            self._text += "0" * (len(code) - 1) + code
        return self

    def aligned(self) -> bytes:
        """Padded with zeros."""
        text = self._text + "0" * (-len(self._text) % 8)
        return int(text or "0", 2).to_bytes(len(text) // 8, "big")

    def ended(self) -> bytes:
        """With the stop bit."""
        return self.fixed(1, 1).aligned()


def _escaped(payload: bytes) -> bytes:
    """With the bytes that keep start codes out of a NAL unit."""
    out, zeros = bytearray(), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def _sequence(width: int, height: int) -> bytes:
    across, down = -(-width // 16), -(-height // 16)
    bits = _Bits().fixed(66, 8).fixed(0xC0, 8).fixed(51, 8).golomb(0, 0, 2, 1).fixed(0, 1)
    bits.golomb(across - 1, down - 1).fixed(0b11, 2)
    right, below = (across * 16 - width) // 2, (down * 16 - height) // 2
    bits.fixed(1, 1).golomb(0, right, 0, below)
    # Colours as Pillow converts them: full range, BT.601.
    bits.fixed(1, 1).fixed(0, 2).fixed(1, 1).fixed(5, 3).fixed(1, 1).fixed(1, 1)
    bits.fixed(1, 8).fixed(1, 8).fixed(6, 8).fixed(0, 6)
    return b"\x67" + _escaped(bits.ended())


def _picture_parameters() -> bytes:
    bits = _Bits().golomb(0, 0).fixed(0, 2).golomb(0, 0, 0).fixed(0, 3).golomb(0, 0, 0).fixed(0b100, 3)
    return b"\x68" + _escaped(bits.ended())


def _slice(image: Image.Image, number: int) -> bytes:
    """One picture. Samples below 4 are raised, so that nothing needs escaping."""
    width, height = -(-image.width // 16) * 16, -(-image.height // 16) * 16
    whole = image if image.size == (width, height) else image.resize((width, height))
    raise_low = [max(value, 4) for value in range(256)]
    luma, blue, red = (band.point(raise_low) for band in whole.convert("YCbCr").split())
    half = (width // 2, height // 2)
    blue, red = blue.resize(half, Image.Resampling.BOX), red.resize(half, Image.Resampling.BOX)
    header = _Bits().golomb(0, 7, 0).fixed(0, 4).golomb(number % 2).fixed(0, 2).golomb(0, 1).golomb(25)
    parts = [b"\x65", _escaped(header.aligned())]
    for y in range(0, height, 16):
        for x in range(0, width, 16):
            if x or y:
                parts.append(b"\x0d\x00")  # the code for I_PCM, aligned
            corner = (x // 2, y // 2, x // 2 + 8, y // 2 + 8)
            parts += [
                luma.crop((x, y, x + 16, y + 16)).tobytes(),
                blue.crop(corner).tobytes(),
                red.crop(corner).tobytes(),
            ]
    return b"".join([*parts, b"\x80"])


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def _full(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", flags), *parts)


_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def mp4(shots: Shots) -> bytes:
    """An MP4 file with one H.264 track."""
    width, height = shots[0][0].size
    sequence, parameters = _sequence(width, height), _picture_parameters()
    samples = []
    for number, (image, _) in enumerate(shots):
        unit = _slice(image, number)
        samples.append(struct.pack(">I", len(unit)) + unit)
    kind = _box(b"ftyp", b"isom", struct.pack(">I", 512), b"isomiso2avc1mp41")
    configuration = _box(
        b"avcC", bytes([1, 66, 0xC0, 51, 0xFF, 0xE1]), struct.pack(">H", len(sequence)), sequence,
        b"\x01", struct.pack(">H", len(parameters)), parameters,
    )  # fmt: skip

    def movie(offset: int) -> bytes:
        return _movie((width, height), [spent for _, spent in shots], samples, configuration, offset)

    offset = len(kind) + len(movie(0)) + 8
    return kind + movie(offset) + _box(b"mdat", *samples)


def _movie(
    size: tuple[int, int], times: list[int], samples: list[bytes], configuration: bytes, offset: int
) -> bytes:
    width, height = size
    total = sum(times)
    entry = _box(
        b"avc1", bytes(6), struct.pack(">H", 1), bytes(16), struct.pack(">HH", width, height),
        struct.pack(">IIIH", 0x480000, 0x480000, 0, 1), bytes(32), struct.pack(">Hh", 24, -1), configuration,
    )  # fmt: skip
    table = _box(
        b"stbl",
        _full(b"stsd", struct.pack(">I", 1), entry),
        _full(b"stts", struct.pack(">I", len(times)), *(struct.pack(">II", 1, spent) for spent in times)),
        _full(b"stsc", struct.pack(">4I", 1, 1, len(samples), 1)),
        _full(
            b"stsz", struct.pack(">II", 0, len(samples)), *(struct.pack(">I", len(one)) for one in samples)
        ),
        _full(b"stco", struct.pack(">II", 1, offset)),
    )
    references = _box(b"dinf", _full(b"dref", struct.pack(">I", 1), _full(b"url ", flags=1)))
    media = _box(
        b"mdia",
        _full(b"mdhd", struct.pack(">4IHH", 0, 0, TIMESCALE, total, 0x55C4, 0)),
        _full(b"hdlr", bytes(4), b"vide", bytes(12), b"Video\0"),
        _box(b"minf", _full(b"vmhd", bytes(8), flags=1), references, table),
    )
    track = _full(
        b"tkhd", struct.pack(">5I", 0, 0, 1, 0, total), bytes(16), _MATRIX,
        struct.pack(">II", width << 16, height << 16), flags=3,
    )  # fmt: skip
    head = _full(
        b"mvhd", struct.pack(">4I", 0, 0, TIMESCALE, total), struct.pack(">IH", 0x10000, 0x100), bytes(10),
        _MATRIX, bytes(24), struct.pack(">I", 2),
    )  # fmt: skip
    return _box(b"moov", head, _box(b"trak", track, media))


def webm(shots: Shots) -> bytes:
    """A WebM file with one VP8 track."""
    width, height = shots[0][0].size
    total = sum(spent for _, spent in shots)
    head = _element(
        0x1A45DFA3, _number(0x4286, 1), _number(0x42F7, 1), _number(0x42F2, 4), _number(0x42F3, 8),
        _element(0x4282, b"webm"), _number(0x4287, 4), _number(0x4285, 2),
    )  # fmt: skip
    information = _element(
        0x1549A966, _number(0x2AD7B1, 1_000_000), _element(0x4489, struct.pack(">d", float(total))),
        _element(0x4D80, b"simulator"), _element(0x5741, b"simulator"),
    )  # fmt: skip
    size = _element(0xE0, _number(0xB0, width), _number(0xBA, height))
    track = _element(
        0xAE, _number(0xD7, 1), _number(0x73C5, 1), _number(0x83, 1), _element(0x86, b"V_VP8"), size
    )
    clusters, at = [], 0
    for image, spent in shots:
        block = _element(0xA3, b"\x81\x00\x00\x80", _vp8(image))
        clusters.append(_element(0x1F43B675, _number(0xE7, at), block))
        at += spent
    return head + _element(0x18538067, information, _element(0x1654AE6B, track), *clusters)


def _vp8(image: Image.Image) -> bytes:
    """The key frame inside a lossy WebP file."""
    buffer = BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=75, method=0)
    body = buffer.getvalue()
    start = body.index(b"VP8 ")
    (length,) = struct.unpack("<I", body[start + 4 : start + 8])
    return body[start + 8 : start + 8 + length]


def _element(key: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return key.to_bytes((key.bit_length() + 7) // 8, "big") + (len(body) | 1 << 56).to_bytes(8, "big") + body


def _number(key: int, value: int) -> bytes:
    return _element(key, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))
