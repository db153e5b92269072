"""The model manifest in the admin, for those who look after a workshop."""

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from accounts.models import User, Workshop
from gpu_agent.protocol.manifest import ManifestFile, ManifestProgress, ModelProgress, ModelState
from gpu_agent.protocol.messages import PROTOCOL_VERSION
from jobs.models import Template
from marketplace.fleet import manifest, registry
from marketplace.fleet.models import ModelManifestEntry
from tests.factories import people

pytestmark = pytest.mark.django_db
CHANGELIST = "admin:fleet_modelmanifestentry_changelist"


@pytest.fixture(autouse=True)
def _a_folder_for_collected_files() -> None:
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns where there is none


@pytest.fixture
def place() -> Workshop:
    return people.workshop(name="Editing")


@pytest.fixture
def teacher(place: Workshop) -> Client:
    client = Client()
    client.force_login(people.instructor(place))
    return client


def filled(place: Workshop, **changed: object) -> dict[str, object]:
    words = {"folder": "vae", "name": "ae.safetensors", "sources": "", "size_bytes": "", "sha256": ""}
    return {"workshop": place.pk, **words, "licence": "", **changed}


def test_a_teacher_adds_changes_and_removes_a_file(teacher: Client, place: Workshop) -> None:
    add = reverse("admin:fleet_modelmanifestentry_add")
    two = "https://a.example/ae\n\nhttps://b.example/ae"
    assert teacher.post(add, filled(place, sources=two)).status_code == 302
    row = ModelManifestEntry.objects.get()
    assert row.sources == ["https://a.example/ae", "https://b.example/ae"]
    change = reverse("admin:fleet_modelmanifestentry_change", args=[row.pk])
    assert "https://b.example/ae" in teacher.get(change).content.decode()
    assert teacher.post(change, filled(place, sha256="B" * 64, gated="on")).status_code == 302
    row.refresh_from_db()
    assert (row.sha256, row.gated, row.sources) == ("b" * 64, True, [])
    remove = reverse("admin:fleet_modelmanifestentry_delete", args=[row.pk])
    assert teacher.post(remove, {"post": "yes"}).status_code == 302
    assert not ModelManifestEntry.objects.exists()


@pytest.mark.parametrize(
    "words", [{"name": "../ae.safetensors"}, {"sources": "http://a.example/ae"}, {"size_bytes": "-1"}]
)
def test_nonsense_comes_back_with_the_form(
    teacher: Client, place: Workshop, words: dict[str, object]
) -> None:
    answer = teacher.post(reverse("admin:fleet_modelmanifestentry_add"), filled(place, **words))
    assert answer.status_code == 200
    assert list(answer.context["errors"])
    assert not ModelManifestEntry.objects.exists()


def test_another_workshops_files_are_not_a_teachers(teacher: Client) -> None:
    other = people.workshop(name="Colour")
    row = manifest.keep(other, None, ManifestFile("vae", "secret.safetensors"))
    assert "secret.safetensors" not in teacher.get(reverse(CHANGELIST)).content.decode()
    assert teacher.post(reverse("admin:fleet_modelmanifestentry_add"), filled(other)).status_code == 200
    needed = reverse("admin:fleet_modelmanifestentry_add_needed")
    assert teacher.post(needed, {"workshop": other.pk}).status_code == 404
    assert list(ModelManifestEntry.objects.all()) == [row]


def test_what_the_templates_need_is_shown_then_added(teacher: Client, place: Workshop) -> None:
    Template.objects.create(
        workshop=place, slug="t", name="T", payload={}, published_at="2026-01-01T00:00:00Z",
        model_files=[{"folder": "loras", "name": "film.safetensors"}, {"folder": "x", "name": "../y.pt"}],
    )  # fmt: skip
    needed = reverse("admin:fleet_modelmanifestentry_add_needed")
    shown = teacher.get(needed).content.decode()
    assert "loras/film.safetensors" in shown
    assert "x/../y.pt" in shown
    assert teacher.post(needed, {"workshop": place.pk}).status_code == 302
    assert [str(row) for row in ModelManifestEntry.objects.all()] == ["loras/film.safetensors"]
    assert "film.safetensors" in teacher.get(reverse(CHANGELIST)).content.decode()


def test_an_agents_page_tells_how_far_its_host_is(place: Workshop) -> None:
    agent, _token = registry.enrol("bench", place)
    short = ModelProgress("vae", "ae.pt", ModelState.TRUNCATED, 5, 9, message="5 of 9 bytes")
    unproven = ModelProgress("loras", "b.pt", ModelState.UNPROVEN, 9, 9, sha256="d" * 64)
    manifest.take_progress(agent, ManifestProgress(PROTOCOL_VERSION, True, (short, unproven)))
    client = Client()
    client.force_login(User.objects.create(username="root", is_superuser=True, is_staff=True))
    page = client.get(reverse("admin:fleet_agent_change", args=[agent.pk])).content.decode()
    assert "vae/ae.pt: truncated, 5 of 9 bytes" in page
    assert "d" * 64 in page
