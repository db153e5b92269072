"""Small, valid audio files without an encoder: FLAC with plain samples, MP3 and Opus holding silence."""

import array
import hashlib
import math
import struct

BLOCK = 4096
TUNE_SECONDS = 6.0  # a longer sound ends in silence
TUNE_RATE = 16000
MP3_FRAME_SECONDS = 1152 / 44100


def tune(words: str, seed: int, seconds: float) -> "array.array[int]":
    """A plucked melody, 16-bit mono at `TUNE_RATE`, chosen by words and seed."""
    digest = hashlib.sha256(f"{seed}\n{words}".encode()).digest()
    scale = (0, 2, 4, 7, 9, 12, 14, 16)
    samples = array.array("h")
    note_samples = TUNE_RATE // 4
    for index in range(max(1, math.ceil(min(seconds, TUNE_SECONDS) * 4))):
        pitch = 220.0 * 2 ** (scale[digest[index % 32] % 8] / 12)
        turn = math.tau * pitch / TUNE_RATE
        samples.extend(
            round(9000 * math.sin(turn * n) * math.exp(-4.0 * n / note_samples)) for n in range(note_samples)
        )
    return samples[: max(1, round(seconds * TUNE_RATE))]


def flac(samples: "array.array[int]", rate: int, channels: int, silent_samples: int = 0) -> bytes:
    """A FLAC file: mono samples given to each channel, then silence."""
    total = len(samples) + silent_samples
    information = struct.pack(">HH", BLOCK, BLOCK) + bytes(6)
    packed = rate << 44 | (channels - 1) << 41 | 15 << 36 | total
    information += packed.to_bytes(8, "big") + bytes(16)
    parts = [b"fLaC\x80", len(information).to_bytes(3, "big"), information]
    for number, start in enumerate(range(0, total, BLOCK)):
        count = min(BLOCK, total - start)
        block = samples[start : start + count]
        parts.append(_flac_frame(number, block, count, channels))
    return b"".join(parts)


def _flac_frame(number: int, block: "array.array[int]", count: int, channels: int) -> bytes:
    head = b"\xff\xf8" + bytes([0x70, (channels - 1) << 4 | 0x08]) + _coded(number)
    head += struct.pack(">H", count - 1)
    head += bytes([_crc(head, 8, 0x07)])
    if len(block):
        padded = block + array.array("h", bytes(2 * (count - len(block))))
        padded.byteswap()
        sound = b"\x02" + padded.tobytes()
    else:
        sound = b"\x00\x00\x00"  # a constant block of zeros
    frame = head + sound * channels
    return frame + _crc(frame, 16, 0x8005).to_bytes(2, "big")


def _coded(number: int) -> bytes:
    """The frame's number, coded as UTF-8 would."""
    return chr(number).encode("utf-8", "surrogatepass")


def _table(width: int, polynomial: int) -> list[int]:
    top, mask, table = 1 << (width - 1), (1 << width) - 1, []
    for byte in range(256):
        value = byte << (width - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return table


_TABLES = {(8, 0x07): _table(8, 0x07), (16, 0x8005): _table(16, 0x8005)}


def _crc(body: bytes, width: int, polynomial: int) -> int:
    table, value, shift, mask = _TABLES[width, polynomial], 0, width - 8, (1 << width) - 1
    for byte in body:
        value = (value << 8 & mask) ^ table[(value >> shift ^ byte) & 0xFF]
    return value


def mp3(seconds: float) -> bytes:
    """Silent MPEG-1 layer III frames of 128 kbit/s at 44.1 kHz."""
    frame = b"\xff\xfb\x90\x64" + bytes(413)
    return frame * max(1, round(seconds / MP3_FRAME_SECONDS))
