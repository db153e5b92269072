"""Files students bring: what is stored was made by us, and is what the picture showed."""

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from accounts.models import User, Workshop
from jobs import artifacts, uploads
from jobs.models import Upload
from tests.factories import jobs as make

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture
def workshop() -> Workshop:
    return make.a_workshop()


@pytest.fixture
def owner(workshop: Workshop) -> User:
    return make.a_student(workshop, credits_milli=0)


def file_of(picture: Image.Image, kind: str = "PNG", **options: Any) -> io.BytesIO:
    into = io.BytesIO()
    picture.save(into, kind, **options)
    into.seek(0)
    return into


def stored(upload: Upload) -> Image.Image:
    return Image.open(io.BytesIO(artifacts.path_of(upload.sha256).read_bytes()))


def test_a_picture_is_encoded_anew_and_says_its_size(owner: User, workshop: Workshop) -> None:
    hidden = PngInfo()
    hidden.add_text("secret", "GPS 52.5 N")
    file = file_of(Image.new("RGB", (40, 30), "teal"), pnginfo=hidden)
    row = uploads.receive(owner, workshop, "a.png", file).upload
    assert (row.name, row.media_type, row.width, row.height) == ("a.png", "image/png", 40, 30)
    assert b"GPS" in file.getvalue()
    assert b"GPS" not in artifacts.path_of(row.sha256).read_bytes()
    assert stored(row).getpixel((5, 5)) == (0, 128, 128)


def test_a_photo_stands_upright_and_forgets_where_it_was_made(owner: User, workshop: Workshop) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90°
    exif[0x010F] = "Camera of somebody"
    file = file_of(Image.new("RGB", (40, 30)), "JPEG", exif=exif)
    row = uploads.receive(owner, workshop, "photo.JPG", file).upload
    assert (row.width, row.height, row.name) == (30, 40, "photo.JPG")
    assert not stored(row).getexif()


def test_transparency_stays(owner: User, workshop: Workshop) -> None:
    file = file_of(Image.new("RGBA", (4, 4), (255, 0, 0, 64)), "WEBP", lossless=True)
    row = uploads.receive(owner, workshop, "mask.webp", file).upload
    assert stored(row).getpixel((0, 0)) == (255, 0, 0, 64)
    assert (row.name, row.media_type) == ("mask.webp", "image/png")


def test_a_workflow_in_the_picture_is_found_first(owner: User, workshop: Workshop) -> None:
    graph = {"3": {"class_type": "KSampler", "inputs": {}}}
    words = PngInfo()
    words.add_text("prompt", json.dumps(graph))
    received = uploads.receive(owner, workshop, "a.png", file_of(Image.new("RGB", (4, 4)), pnginfo=words))
    assert received.workflow == graph
    assert "prompt" not in stored(received.upload).info


def test_the_same_name_replaces_the_file(owner: User, workshop: Workshop) -> None:
    for colour in ("red", "blue"):
        uploads.receive(owner, workshop, "a.png", file_of(Image.new("RGB", (4, 4), colour)))
    assert stored(Upload.objects.get()).getpixel((0, 0)) == (0, 0, 255)


def test_a_clip_is_kept_as_it_is(owner: User, workshop: Workshop) -> None:
    clip = b"\0\0\0\x20ftypisom" + b"moving pictures" * 100
    row = uploads.receive(owner, workshop, "clip.mp4", io.BytesIO(clip)).upload
    assert (row.media_type, row.width) == ("video/mp4", None)
    assert artifacts.path_of(row.sha256).read_bytes() == clip


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 ...", "unknown_file"),
        (b"<svg onload='alert(1)'/>", "unknown_file"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "unknown_file"),
    ],
)
def test_what_is_no_picture_is_refused(owner: User, workshop: Workshop, content: bytes, code: str) -> None:
    with pytest.raises(uploads.BadUpload) as caught:
        uploads.receive(owner, workshop, "a.png", io.BytesIO(content))
    assert caught.value.code == code
    assert not Upload.objects.exists()


def test_a_picture_cut_short_is_refused(owner: User, workshop: Workshop) -> None:
    noise = Image.frombytes("RGB", (64, 64), random.Random(1).randbytes(64 * 64 * 3))
    file = io.BytesIO(file_of(noise).getvalue()[:3000])
    with pytest.raises(uploads.BadUpload) as caught:
        uploads.receive(owner, workshop, "a.png", file)
    assert caught.value.code == "damaged"


@pytest.mark.parametrize("side", [8000, 20_000])
def test_too_many_pixels_are_refused_before_they_are_decoded(
    owner: User, workshop: Workshop, side: int
) -> None:
    file = file_of(Image.new("1", (side, side)))
    assert len(file.getvalue()) < 100_000
    with pytest.raises(uploads.BadUpload) as caught:
        uploads.receive(owner, workshop, "a.png", file)
    assert (caught.value.code, caught.value.status) == ("too_many_pixels", 413)


def test_a_file_beyond_the_limit_is_refused(owner: User, workshop: Workshop, settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 100
    with pytest.raises(uploads.BadUpload) as caught:
        uploads.receive(owner, workshop, "a.mp4", io.BytesIO(b"\0\0\0\x20ftypisom" + bytes(200)))
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd.png"),
        ("C:\\Users\\me\\Bild 1.PNG", "Bild 1.PNG"),
        (".png", "png.png"),
        ("a\0b<script>.png", "a_b_script.png"),
        ("größe.jpeg", "größe.jpeg"),
        ("evil.html", "evil.png"),
        ("x" * 300 + ".png", "x" * 116 + ".png"),
    ],
)
def test_a_name_is_one_plain_segment(owner: User, workshop: Workshop, given: str, kept: str) -> None:
    row = uploads.receive(owner, workshop, given, file_of(Image.new("RGB", (2, 2)))).upload
    assert row.name == kept
