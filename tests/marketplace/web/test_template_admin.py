"""Templates in the admin: a file becomes a draft, fields are chosen, publishing tells what it costs."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditRow, Workshop
from jobs import templates
from jobs.models import Template
from tests.factories.jobs import a_member, a_workshop
from tests.factories.templates import a_comfyui_agent, a_template
from tests.factories.workflows import a_sketch
from tests.jobs.job_types.comfyui.ui_files import text_to_image_ui

pytestmark = pytest.mark.django_db
LIST = "/admin/jobs/template/"


@pytest.fixture
def workshop(db: None) -> Workshop:
    made = a_workshop(allowance_milli_per_hour=500)
    a_comfyui_agent(made)
    return made


@pytest.fixture
def teacher(workshop: Workshop) -> Client:
    user = a_member(workshop, "instructor")
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


def a_draft(workshop: Workshop, **more: object) -> Template:
    given = {"name": "Draft", "payload": a_sketch(), "form": [], **more}
    return templates.create(workshop, None, **given)  # type: ignore[arg-type]


def bring(teacher: Client, workshop: Workshop, body: bytes) -> object:
    file = SimpleUploadedFile("tram.json", body)
    asked = {"workshop": workshop.pk, "name": "Night tram", "category": "Text to image", "file": file}
    return teacher.post(f"{LIST}add/", asked)


def test_a_file_of_the_editor_becomes_a_draft_with_a_proposed_form(
    teacher: Client, workshop: Workshop
) -> None:
    ui = text_to_image_ui().data
    ui["nodes"][0]["widgets_values"] = ["sd_xl_base_1.0.safetensors"]
    bring(teacher, workshop, json.dumps(ui).encode())
    row = Template.objects.get()
    assert (row.name, row.published_at, row.created_by_id is not None) == ("Night tram", None, True)
    assert {"prompt", "steps", "seed"} <= {one["name"] for one in row.form}
    assert row.model_files[0]["size_bytes"] > 6e9


def test_a_file_that_cannot_run_here_is_refused_by_its_nodes(teacher: Client, workshop: Workshop) -> None:
    graph = {**a_sketch(), "99": {"class_type": "PaidNode", "inputs": {}}}
    answer = bring(teacher, workshop, json.dumps(graph).encode())
    assert "PaidNode (node 99) is not installed" in answer.content.decode()  # type: ignore[attr-defined]
    assert not Template.objects.exists()


def test_fields_of_a_draft_are_chosen_and_worded(teacher: Client, workshop: Workshop) -> None:
    row = a_draft(workshop)
    text = teacher.get(f"{LIST}{row.pk}/change/").content.decode()
    number = next(n for n in range(20) if f'name="field{n}-maximum"' in text and "steps" in _legend(text, n))
    words = {"name": "Draft", f"field{number}-keep": "on"}
    labels = {f"field{n}-label": "Turns" for n in range(20) if f'name="field{n}-label"' in text}
    limits = {f"field{number}-minimum": "4", f"field{number}-maximum": "30", f"field{number}-step": "1"}
    teacher.post(f"{LIST}{row.pk}/change/", {**words, **labels, **limits})
    row.refresh_from_db()
    (field,) = row.form
    assert (field["label"], field["minimum"], field["maximum"], field["node"]) == ("Turns", 4, 30, "3")


def test_a_range_that_leaves_out_the_default_is_refused(teacher: Client, workshop: Workshop) -> None:
    row = a_template(workshop)
    draft = templates.new_version(row, None)
    text = teacher.get(f"{LIST}{draft.pk}/change/").content.decode()
    number = next(n for n in range(20) if f'name="field{n}-maximum"' in text and "steps" in _legend(text, n))
    labels = {f"field{n}-label": "L" for n in range(20) if f'name="field{n}-label"' in text}
    asked = {"name": "X", f"field{number}-keep": "on", f"field{number}-maximum": "5", **labels}
    answer = teacher.post(f"{LIST}{draft.pk}/change/", asked)
    assert "use 5 at most" in answer.content.decode()


def test_publishing_something_dear_asks_first(teacher: Client, workshop: Workshop) -> None:
    row = a_draft(workshop, payload=a_sketch(500))
    told = teacher.post(f"{LIST}{row.pk}/publish/").content.decode()
    row.refresh_from_db()
    assert "Two hours&#x27; allowance is 1.00" in told
    assert row.published_at is None
    teacher.post(f"{LIST}{row.pk}/publish/", {"confirmed": "yes"})
    row.refresh_from_db()
    assert row.published_at is not None
    assert "allowance" in AuditRow.objects.get(action="template.publish").after["warning"]


def test_a_cheap_one_is_published_withdrawn_and_followed_by_a_new_version(
    teacher: Client, workshop: Workshop
) -> None:
    row = a_draft(workshop)
    teacher.post(f"{LIST}{row.pk}/publish/")
    assert "stays as it is" in teacher.get(f"{LIST}{row.pk}/change/").content.decode()
    answer = teacher.post(f"{LIST}{row.pk}/version/")
    assert Template.objects.get(version=2).published_at is None
    assert answer.url.endswith(f"{Template.objects.get(version=2).pk}/change/")
    teacher.post(f"{LIST}{row.pk}/withdraw/", {"reason": "broken"})
    row.refresh_from_db()
    assert row.withdrawn_at is not None


def test_another_workshops_templates_are_not_found(teacher: Client) -> None:
    theirs = a_draft(a_workshop())
    assert "Draft" not in teacher.get(LIST).content.decode().split("<tbody")[-1]
    for address in ("change", "publish", "withdraw", "version"):
        assert teacher.post(f"{LIST}{theirs.pk}/{address}/").status_code in (302, 404)
    theirs.refresh_from_db()
    assert (theirs.published_at, theirs.withdrawn_at, Template.objects.count()) == (None, None, 1)


def test_a_teacher_allows_nodes_by_name(teacher: Client, workshop: Workshop) -> None:
    address = f"/admin/accounts/workshop/{workshop.pk}/change/"
    form = teacher.get(address).context["adminform"].form
    asked = {name: value for name, value in form.initial.items() if value is not None}
    asked["allowed_node_types"] = "StrangeFilter\n\n Easy Sampler \n"
    asked.pop("closed_at", None)
    assert teacher.post(address, asked).status_code == 302
    workshop.refresh_from_db()
    assert workshop.allowed_node_types == ["StrangeFilter", "Easy Sampler"]
    told = AuditRow.objects.get(action="workshop.change").after
    assert "StrangeFilter" in told["allowed_node_types"]


def test_students_are_not_let_in(page: Client, workshop: Workshop) -> None:
    row = a_draft(workshop)
    for address in (LIST, f"{LIST}add/", f"{LIST}{row.pk}/change/"):
        assert page.get(address).status_code == 302


def _legend(text: str, number: int) -> str:
    """What stands above a field's form."""
    return text.split(f'name="field{number}-keep"')[0].rpartition("<legend")[2]


def test_the_list_tells_what_is_published_and_asks_as_much_for_one_as_for_many(
    teacher: Client, workshop: Workshop
) -> None:
    counts = []
    for number in range(3):
        a_template(workshop, slug=f"t{number}")
        with CaptureQueriesContext(connection) as asked:
            assert teacher.get(LIST).content.decode().count("Published") >= number + 1
        counts.append(len(asked))
    assert counts[1] == counts[2]
