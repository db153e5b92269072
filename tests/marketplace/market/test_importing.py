"""Templates that come from elsewhere: our starters, and an official package."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Workshop
from jobs import queries, templates
from jobs.job_types.comfyui.starters import STARTERS
from jobs.models import Template
from marketplace.market import importing, template_quotes
from tests.factories.jobs import a_student, a_workshop
from tests.factories.templates import a_comfyui_agent, an_upload
from tests.jobs.job_types.comfyui.ui_files import text_to_image_ui

pytestmark = pytest.mark.django_db


@pytest.fixture
def workshop() -> Workshop:
    made = a_workshop()
    a_comfyui_agent(made)
    return made


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of the official one's shape: two workflows, their list, and its own schema."""
    info = tmp_path / "comfyui_workflow_templates_json-0.1.dist-info"
    folder = tmp_path / "comfyui_workflow_templates_json" / "templates"
    folder.mkdir(parents=True)
    info.mkdir()
    strange = {"nodes": [{"id": 1, "type": "PaidNode", "inputs": [], "outputs": []}], "links": []}
    listed = [{"title": "Image", "templates": [{"name": "first", "title": "First light", "tags": ["Image"]}]}]
    ui = text_to_image_ui().data
    ui["nodes"][0]["widgets_values"] = ["sd_xl_base_1.0.safetensors"]
    files: dict[str, Any] = {"first": ui, "strange": strange, "index": listed, "index.fr": listed}
    for name, data in files.items():
        (folder / f"{name}.json").write_text(json.dumps(data))
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: comfyui-workflow-templates-json\nVersion: 0.1\n"
    )
    record = [f"comfyui_workflow_templates_json/templates/{name}.json,," for name in files]
    (info / "RECORD").write_text("\n".join(record))
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_starters_are_published_and_each_has_a_price(workshop: Workshop) -> None:
    student = a_student(workshop)
    an_upload(student, workshop)
    done = importing.import_starters(workshop)
    rows = queries.templates_for(student, workshop)
    assert {row.slug for row in rows} == set(done.made) == {one.slug for one in STARTERS}
    for row in rows:
        pictures = {one["name"]: "harbour.png" for one in row.form if one["kind"] == "image"}
        assert template_quotes.prepare(student, row, pictures).ceiling_milli > 0


def test_importing_again_changes_nothing(workshop: Workshop) -> None:
    importing.import_starters(workshop)
    again = importing.import_starters(workshop)
    assert (again.made, again.renewed) == ([], [])
    assert Template.objects.count() == len(STARTERS)


def test_a_starter_that_changed_becomes_a_new_version(workshop: Workshop) -> None:
    importing.import_starters(workshop)
    old = Template.objects.get(slug="upscale")
    Template.objects.filter(pk=old.pk).update(description="As it was once")
    assert importing.import_starters(workshop).renewed == ["upscale"]
    (shown,) = [row for row in queries.templates_for(a_student(workshop), workshop) if row.slug == "upscale"]
    assert (shown.version, shown.description) == (2, old.description)


def test_a_teachers_own_template_of_that_slug_is_left_alone(workshop: Workshop) -> None:
    own = templates.create(workshop, None, slug="upscale", name="Mine", payload={}, form=[])
    importing.import_starters(workshop)
    assert list(Template.objects.filter(slug="upscale")) == [own]


def test_official_workflows_become_drafts_with_a_form_and_refusals_are_told(
    workshop: Workshop, package: Path
) -> None:
    done = importing.import_official(workshop)
    row = Template.objects.get()
    assert (row.slug, row.name, row.category, row.published_at) == ("first", "First light", "Image", None)
    assert {"prompt", "steps", "seed", "width"} <= {one["name"] for one in row.form}
    assert row.model_files[0]["licence"]
    assert [name for name, _ in done.refused] == ["strange"]
    assert "PaidNode" in done.refused[0][1]
    assert importing.import_official(workshop).same == ["first"]


def test_the_command_brings_starters_to_every_open_workshop(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    a_workshop(closed_at=workshop.created_at)
    call_command("import_templates")
    assert (
        f"{workshop.slug}: {len(STARTERS)} new, 0 renewed, 0 as before, 0 refused" in capsys.readouterr().out
    )
    assert Template.objects.count() == len(STARTERS)


def test_the_command_says_what_is_missing(workshop: Workshop, package: Path) -> None:
    with pytest.raises(CommandError, match="no workshop has the slug"):
        call_command("import_templates", workshop="nowhere")
    for file in package.iterdir():
        file.unlink()
    (package.parent.parent / "comfyui_workflow_templates_json-0.1.dist-info" / "RECORD").write_text("")
    with pytest.raises(CommandError, match="not installed"):
        call_command("import_templates", official=True)
