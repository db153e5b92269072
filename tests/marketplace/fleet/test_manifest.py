"""A workshop's model manifest: who changes it, what may stand in it, what hosts are told and tell."""

from typing import Any

import pytest

from accounts.models import AuditRow, Workshop
from gpu_agent.protocol.manifest import ManifestFile, ManifestProgress, ModelProgress, ModelState
from gpu_agent.protocol.messages import PROTOCOL_VERSION
from jobs.models import Template
from marketplace.fleet import manifest, registry
from marketplace.fleet.models import Agent, ModelManifestEntry, ModelReport
from tests.factories import people

pytestmark = pytest.mark.django_db
VAE = ManifestFile("vae", "ae.safetensors", ("https://models.example/ae.safetensors",), 335_304_388, "a" * 64)


@pytest.fixture
def place() -> Workshop:
    return people.workshop()


def an_agent(name: str, workshop: Workshop | None) -> Agent:
    return registry.enrol(name, workshop)[0]


def a_template(place: Workshop, *needs: dict[str, Any], shown: bool = True) -> Template:
    row = Template.objects.create(
        workshop=place, slug=f"t{Template.objects.count()}", name="T", payload={}, model_files=list(needs)
    )
    if shown:
        Template.objects.filter(pk=row.pk).update(published_at="2026-01-01T00:00:00Z")
    return row


def said(*files: ModelProgress, ended: bool = False) -> ManifestProgress:
    return ManifestProgress(PROTOCOL_VERSION, ended, files, bytes_per_second=80_000_000)


def test_a_teacher_adds_and_changes_a_file_and_the_audit_tells(place: Workshop) -> None:
    who = people.instructor(place)
    row = manifest.keep(place, who, VAE)
    changed = ManifestFile("vae", "ae.safetensors", ("https://a.example/x?signature=abc",), 7, "b" * 64)
    manifest.keep(place, who, changed, entry=row)
    assert manifest.as_file(ModelManifestEntry.objects.get()) == changed
    latest = AuditRow.objects.filter(action="manifest.change").get()
    assert (latest.before["size_bytes"], latest.after["size_bytes"]) == (335_304_388, 7)
    assert "signature" not in str(latest.after)


def test_a_student_changes_nothing(place: Workshop) -> None:
    row = manifest.keep(place, None, VAE)
    who = people.student(place)
    for attempt in (
        lambda: manifest.keep(place, who, ManifestFile("vae", "other.safetensors")),
        lambda: manifest.remove(row, who),
        lambda: manifest.add_needed(place, who),
    ):
        with pytest.raises(manifest.NotYours):
            attempt()
    assert ModelManifestEntry.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "file"),
    [
        ("name", ManifestFile("vae", "../ae.safetensors")),
        ("name", ManifestFile("/etc", "ae.safetensors")),
        ("name", ManifestFile("vae", "ae.py")),
        ("name", ManifestFile("vae", "a\\b.safetensors")),
        ("name", ManifestFile("", "ae.safetensors")),
        ("size_bytes", ManifestFile("vae", "ae.safetensors", size_bytes=0)),
        ("sha256", ManifestFile("vae", "ae.safetensors", sha256="A" * 64)),
        ("sources", ManifestFile("vae", "ae.safetensors", ("http://models.example/ae",))),
        ("sources", ManifestFile("vae", "ae.safetensors", ("https://me:secret@models.example/ae",))),
        ("sources", ManifestFile("vae", "ae.safetensors", ("file:///etc/passwd",))),
    ],
)
def test_nonsense_is_refused_by_its_field(place: Workshop, field: str, file: ManifestFile) -> None:
    with pytest.raises(manifest.BadEntry) as refusal:
        manifest.keep(place, None, file)
    assert refusal.value.field == field
    assert not ModelManifestEntry.objects.exists()


def test_a_file_stands_in_a_manifest_once(place: Workshop) -> None:
    manifest.keep(place, None, VAE)
    with pytest.raises(manifest.BadEntry):
        manifest.keep(place, None, VAE)
    manifest.keep(people.workshop(), None, VAE)
    assert ModelManifestEntry.objects.count() == 2


def test_what_published_templates_need_is_added_once(place: Workshop) -> None:
    base = {"folder": "checkpoints", "name": "sd15.safetensors", "size_bytes": 4_265_146_304, "licence": "M"}
    a_template(place, base, {"folder": "vae", "name": "AE.safetensors"})
    a_template(place, base, {"folder": "", "name": "lost.safetensors"})
    a_template(place, {"folder": "loras", "name": "draft.safetensors"}, shown=False)
    manifest.keep(place, None, VAE)
    assert [what for what, _why in manifest.needed(place).left_out] == ["lost.safetensors"]
    added = manifest.add_needed(place, None)
    assert [(row.folder, row.name, row.size_bytes) for row in added] == [
        ("checkpoints", "sd15.safetensors", 4_265_146_304)
    ]
    assert manifest.add_needed(place, None) == []


def test_an_agent_is_told_the_files_of_its_workshop_or_of_all_open_ones(place: Workshop) -> None:
    other, closed = people.workshop(), people.workshop(closed_at="2026-01-01T00:00:00Z")
    manifest.keep(place, None, VAE)
    manifest.keep(other, None, ManifestFile("loras", "film.safetensors"))
    manifest.keep(other, None, ManifestFile("vae", "ae.safetensors", sha256="c" * 64))
    manifest.keep(closed, None, ManifestFile("loras", "old.safetensors"))
    assert manifest.of_agent(an_agent("one", place)).files == (VAE,)
    everybodys = manifest.of_agent(an_agent("any", None)).files
    assert [file.path for file in everybodys] == ["vae/ae.safetensors", "loras/film.safetensors"]
    assert everybodys[0] == VAE


def test_progress_is_kept_and_told_in_words(place: Workshop) -> None:
    agent = an_agent("bench", place)
    assert manifest.standing(agent) is None
    half = ModelProgress("unet", "big.safetensors", ModelState.PULLING, 12_000_000_000, 25_000_000_000)
    whole = ModelProgress("vae", "ae.safetensors", ModelState.PRESENT, 335_304_388, 335_304_388)
    manifest.take_progress(agent, said(half, whole))
    now = manifest.standing(agent)
    assert now is not None
    assert now.words == "1 of 2 model files, 12.3 of 25.3 GB, 80 MB/s"
    short = ModelProgress("vae", "ae.safetensors", ModelState.TRUNCATED, 7, 335_304_388, message="7 bytes")
    manifest.take_progress(agent, said(short, ended=True))
    now = manifest.standing(agent)
    assert now is not None
    assert (now.there, now.troubles) == (0, ("vae/ae.safetensors: truncated, 7 bytes",))


def test_impossible_progress_is_refused(place: Workshop) -> None:
    agent = an_agent("bench", place)
    with pytest.raises(registry.BadValue):
        manifest.take_progress(agent, said(ModelProgress("vae", "a.pt", ModelState.PULLING, -1)))
    with pytest.raises(registry.ProtocolMismatch):
        manifest.take_progress(agent, ManifestProgress(PROTOCOL_VERSION + 1, True, ()))
    assert not ModelReport.objects.exists()
