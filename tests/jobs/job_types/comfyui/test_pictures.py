"""Workflows inside the pictures ComfyUI saves."""

import io
import json
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from jobs.job_types.base import Refusal
from tests.jobs.job_types.comfyui.graphs import COMFYUI, text_to_image
from tests.jobs.job_types.comfyui.ui_files import text_to_image_ui

API = json.dumps(text_to_image())
UI = json.dumps(text_to_image_ui().data)


def png(*, compressed: bool = False, **texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text, zip=compressed)
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def webp(**tags: str) -> bytes:
    image = Image.new("RGB", (4, 4))
    exif = image.getexif()
    for tag, (key, text) in zip((0x0110, 0x010F), tags.items(), strict=False):
        exif[tag] = f"{key}:{text}"
    out = io.BytesIO()
    image.save(out, "WEBP", exif=exif)
    return out.getvalue()


def code(body: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        COMFYUI.parse(body)
    return caught.value.problems[0].code


@pytest.mark.parametrize("make", [png, webp])
def test_the_graph_that_made_a_picture_is_read_from_it(make: Any) -> None:
    assert COMFYUI.parse(make(workflow=UI, prompt=API)) == COMFYUI.parse(API.encode())
    assert COMFYUI.parse(make(workflow=UI))["nodes"]


def test_compressed_and_international_texts_are_read_too() -> None:
    accented = json.dumps(text_to_image(good__text="Straße bei Nacht, 灯台"), ensure_ascii=False)
    for compressed in (False, True):
        assert COMFYUI.parse(png(prompt=accented, compressed=compressed)) == COMFYUI.parse(accented.encode())


def test_a_damaged_graph_falls_back_to_the_editors_file() -> None:
    assert COMFYUI.parse(png(prompt='{"1": NaN}', workflow=UI))["nodes"]
    assert code(png(prompt='{"1": NaN}')) == "not_a_number"


def test_a_picture_without_a_workflow_says_so() -> None:
    assert code(png()) == code(webp()) == "no_workflow_in_picture"


def test_a_text_that_unpacks_without_end_is_refused() -> None:
    bomb = zlib.compress(b" " * 50_000_000)
    data = b"prompt\x00\x00" + bomb
    chunk = struct.pack(">I4s", len(data), b"zTXt") + data + b"\x00" * 4
    assert code(b"\x89PNG\r\n\x1a\n" + chunk) == "broken_picture"


@pytest.mark.parametrize("make", [png, webp])
def test_a_picture_cut_short_anywhere_is_refused_or_read_but_never_breaks(make: Any) -> None:
    body = make(prompt=API)
    outcomes = {outcome(body[:length]) for length in range(12, len(body), 5)}
    assert outcomes <= {"read", "empty", "not_json", "no_workflow_in_picture", "broken_picture"}
    assert "no_workflow_in_picture" in outcomes


def outcome(body: bytes) -> str:
    try:
        COMFYUI.parse(body)
    except Refusal as refusal:
        return refusal.problems[0].code
    return "read"
