"""Thumbnails of outputs."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs import artifacts, chores, thumbnails
from jobs.models import Artifact
from tests.factories.jobs import AgentVoice, a_job, a_student, a_workshop, an_agent, taken

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _store(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def voice() -> AgentVoice:
    workshop, agent = a_workshop(), an_agent()
    a_job(a_student(workshop), workshop)
    return taken(agent)


def an_output(voice: AgentVoice, content: bytes, kind: str = "image") -> Artifact:
    """A stored output of the attempt."""
    return artifacts.record(
        voice.attempt.pk,
        artifacts.store_bytes(content),
        name="out.png",
        media_type="image/png",
        kind=kind,
        node="1",
        size_bytes=len(content),
    )


def a_picture(width: int, height: int, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height), 100).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16"])
def test_a_picture_of_any_mode_gets_a_small_one_and_its_size(voice: AgentVoice, mode: str) -> None:
    row = an_output(voice, a_picture(960, 300, mode))
    assert thumbnails.make(str(row.pk))
    row.refresh_from_db()
    assert (row.width, row.height) == (960, 300)
    with Image.open(artifacts.path_of(row.thumbnail_sha256)) as small:
        assert (small.format, small.size) == ("WEBP", (480, 150))


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", a_picture(10, 10)[:45]], ids=["empty", "text", "cut"]
)
def test_what_cannot_be_read_has_no_thumbnail_and_fails_nothing(voice: AgentVoice, content: bytes) -> None:
    row = an_output(voice, content)
    assert not thumbnails.make(str(row.pk))
    row.refresh_from_db()
    assert row.thumbnail_sha256 == ""


def test_a_picture_of_too_many_pixels_is_left_alone(
    voice: AgentVoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "MOST_PIXELS", 99)
    assert not thumbnails.make(str(an_output(voice, a_picture(10, 10)).pk))


def test_clips_and_absent_outputs_have_none(voice: AgentVoice) -> None:
    assert not thumbnails.make(str(an_output(voice, b"clip", kind="video").pk))
    assert not thumbnails.make("00000000-0000-0000-0000-000000000000")


def test_the_chore_a_settlement_wants_makes_it(voice: AgentVoice) -> None:
    row = an_output(voice, a_picture(20, 20))
    chores.want("thumbnail", str(row.pk))
    assert chores.run(chores.due()[0])
    row.refresh_from_db()
    assert row.thumbnail_sha256
