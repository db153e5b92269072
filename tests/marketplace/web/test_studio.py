"""The studio: a workflow becomes a price, or is refused beside its kept text."""

import re
from collections.abc import Callable

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import User, Workshop
from jobs import templates
from jobs.models import Job, Upload
from marketplace.fleet.models import Agent
from marketplace.market.models import Quote
from tests.factories.jobs import a_job, a_student, a_workshop, taken
from tests.factories.templates import a_comfyui_agent, a_template
from tests.factories.workflows import MODEL

pytestmark = pytest.mark.django_db


def test_templates_stand_on_cards_with_models_licences_and_a_price_to_expect(
    page: Client, agent: Agent, workshop: Workshop
) -> None:
    template = a_template(workshop, category="Text to image")
    shown = page.get("/studio").content.decode()
    assert f'href="/templates/{template.pk}"' in shown
    assert "Model of 4.27\u00a0GB" in shown
    assert "CreativeML Open RAIL-M" in shown
    assert re.search(r"from about 0\.\d\d credits", shown)


def test_drafts_and_templates_of_other_workshops_stand_on_no_card(
    page: Client, agent: Agent, workshop: Workshop
) -> None:
    a_template(a_workshop(), name="Theirs")
    templates.withdraw(a_template(workshop, name="Gone"), None)
    shown = page.get("/studio").content.decode()
    assert "Theirs" not in shown
    assert "Gone" not in shown
    assert "No templates yet" in shown


def test_a_missing_model_is_swapped_on_the_page_that_tells_of_it(
    page: Client, workshop: Workshop, sketch: Callable[..., str]
) -> None:
    a_comfyui_agent(workshop)
    text = sketch("4", ckpt_name="sdxl_of_somebody.safetensors")
    told = page.post("/studio", {"workflow": text})
    shown = told.content.decode()
    assert told.status_code == 400
    assert "sdxl_of_somebody.safetensors has about" in shown
    assert "models/checkpoints/" in shown
    assert 'name="swap:4:ckpt_name"' in shown
    answer = page.post("/studio", {"workflow": text, "swap:4:ckpt_name": MODEL})
    assert answer.status_code == 302
    assert Quote.objects.get().payload["4"]["inputs"]["ckpt_name"] == MODEL


def test_a_pasted_workflow_leads_to_a_price(page: Client, agent: Agent, sketch: Callable[..., str]) -> None:
    answer = page.post("/studio", {"workflow": sketch(), "title": "  Night   tram "})
    assert answer.status_code == 302
    assert Quote.objects.get().title == "Night tram"


def test_a_chosen_file_wins_over_the_text(page: Client, agent: Agent, sketch: Callable[..., str]) -> None:
    file = SimpleUploadedFile("tram.json", sketch(steps=7).encode())
    page.post("/studio", {"workflow": "not JSON", "workflow_file": file})
    assert Quote.objects.get().payload["3"]["inputs"]["steps"] == 7


def test_a_refusal_names_node_and_field_beside_the_kept_text(
    page: Client, agent: Agent, sketch: Callable[..., str]
) -> None:
    text = sketch(steps="many")
    answer = page.post("/studio", {"workflow": text, "title": "Tram"})
    told = answer.content.decode()
    assert answer.status_code == 400
    assert '"steps": "many"'.replace('"', "&quot;") in told
    assert "Node 3 ·" in told
    assert '<span class="mono">steps</span>' in told
    assert 'value="Tram"' in told
    assert not Quote.objects.exists()


def test_text_that_is_no_workflow_is_refused_and_escaped(page: Client, agent: Agent) -> None:
    answer = page.post("/studio", {"workflow": "<script>alert(1)</script>"})
    assert answer.status_code == 400
    assert "<script>alert" not in answer.content.decode()


def test_a_file_beyond_the_limit_is_refused_with_the_limit(page: Client, agent: Agent) -> None:
    file = SimpleUploadedFile("big.json", b'"' + b"x" * settings.MAX_WORKFLOW_BYTES + b'"')
    answer = page.post("/studio", {"workflow_file": file})
    assert answer.status_code == 400
    assert "Not priced" in answer.content.decode()


def test_without_a_gpu_the_studio_says_so_and_keeps_the_text(
    page: Client, sketch: Callable[..., str]
) -> None:
    answer = page.post("/studio", {"workflow": sketch()})
    assert answer.status_code == 503
    assert "No GPU has been connected yet" in answer.content.decode()
    assert "CheckpointLoaderSimple" in answer.content.decode()


def test_a_closed_workshop_takes_no_workflow(
    page: Client, agent: Agent, workshop: Workshop, sketch: Callable[..., str]
) -> None:
    workshop.closed_at = workshop.created_at
    workshop.save()
    assert page.post("/studio", {"workflow": sketch()}).status_code == 403
    assert "is closed" in page.get("/studio").content.decode()


def test_a_paused_workshop_says_why(page: Client, workshop: Workshop) -> None:
    workshop.paused_reason = "critique until 15:00"
    workshop.save()
    assert "Paused: critique until 15:00." in page.get("/studio").content.decode()


def test_a_newcomer_sees_what_to_do_first(page: Client) -> None:
    assert "the first image takes two clicks" in page.get("/studio").content.decode()


def test_the_strip_shows_only_my_own_jobs(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    mine = a_job(student, workshop)
    theirs = a_job(a_student(workshop), workshop)
    shown = page.get("/studio/_fragment").content.decode()
    assert str(mine.pk) in shown
    assert str(theirs.pk) not in shown


def test_the_strip_is_the_same_alone_as_in_the_page(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    a_job(student, workshop)
    taken(agent).run()
    fragment = page.get("/studio/_fragment").content.decode()
    assert "Running" in fragment
    assert fragment in page.get("/studio").content.decode()


def test_an_unchanged_fragment_is_not_sent_again(page: Client) -> None:
    etag = page.get("/studio/_fragment")["ETag"]
    assert page.get("/studio/_fragment", headers={"If-None-Match": etag}).status_code == 304


def test_my_files_are_listed_by_the_names_workflows_use(
    page: Client, student: User, workshop: Workshop
) -> None:
    Upload.objects.create(
        owner=student, workshop=workshop, sha256="a" * 64, name="harbour.png", media_type="image/png",
        size_bytes=2_400_000, width=640, height=360,
    )  # fmt: skip
    shown = page.get("/studio").content.decode()
    assert "harbour.png" in shown
    assert "640×360 · 2.4\u00a0MB" in shown


def test_many_jobs_cost_no_more_queries_than_one(
    page: Client, student: User, workshop: Workshop, agent: Agent, django_assert_max_num_queries: Callable
) -> None:
    for _ in range(8):
        a_job(student, workshop)
    taken(agent).succeed()
    assert Job.objects.count() == 8
    with django_assert_max_num_queries(15):
        page.get("/studio")
    with django_assert_max_num_queries(12):
        page.get("/jobs")
