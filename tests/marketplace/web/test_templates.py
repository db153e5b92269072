"""A template's page: a form with its price, the draft that survives, the click."""

import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import User, Workshop
from jobs import templates
from jobs.models import Job, Template
from marketplace.market.models import Quote
from tests.factories.jobs import a_job, a_member, a_student, a_workshop, balance_of
from tests.factories.templates import REQUIREMENT, a_comfyui_agent, a_template, an_upload
from tests.factories.workflows import MODEL, a_picture_graph, a_sketch

pytestmark = pytest.mark.django_db
GONE = "sdxl_of_somebody.safetensors"


@pytest.fixture(autouse=True)
def _agent(workshop: Workshop) -> None:
    a_comfyui_agent(workshop)


@pytest.fixture
def template(workshop: Workshop) -> Template:
    return a_template(workshop, name="Night tram", category="Text to image")


def sent(**fields: Any) -> dict[str, Any]:
    return {"form": "sent", "key": "k", **{f"f-{name}": value for name, value in fields.items()}}


def ceiling(text: str) -> int:
    found = re.search(r'name="shown" value="(\d+)"', text)
    assert found is not None, "a price"
    return int(found[1])


def test_the_page_shows_fields_models_and_a_price_at_once(page: Client, template: Template) -> None:
    text = page.get(f"/templates/{template.pk}").content.decode()
    assert ">an empty tram</textarea>" in text
    assert 'type="number" value="20"' in text
    assert "Run for up to 0." in text
    assert "CreativeML Open RAIL-M" in text
    assert "4.27\u00a0GB" in text


def test_moving_a_slider_moves_the_price_and_orders_nothing(page: Client, template: Template) -> None:
    address = f"/templates/{template.pk}/_fragment"
    few, many = (page.post(address, sent(steps=steps)).content.decode() for steps in (20, 40))
    assert ceiling(few) < ceiling(many)
    assert "40 steps" in many
    assert (Quote.objects.count(), Job.objects.count()) == (0, 0)


def test_what_was_typed_survives_a_reload(page: Client, template: Template) -> None:
    page.post(f"/templates/{template.pk}/_fragment", sent(prompt="a red <door>", steps="33"))
    text = page.get(f"/templates/{template.pk}").content.decode()
    assert ">a red &lt;door&gt;</textarea>" in text
    assert 'type="number" value="33"' in text
    page.post(f"/templates/{template.pk}/defaults")
    assert 'type="number" value="20"' in page.get(f"/templates/{template.pk}").content.decode()


def test_the_fragment_is_the_same_alone_as_in_the_page(page: Client, template: Template) -> None:
    page.post(f"/templates/{template.pk}/_fragment", sent(steps=30))
    fragment = page.get(f"/templates/{template.pk}/_fragment")
    assert fragment.content.decode() in page.get(f"/templates/{template.pk}").content.decode()
    again = page.get(f"/templates/{template.pk}/_fragment", headers={"If-None-Match": fragment["ETag"]})
    assert again.status_code == 304


def test_without_scripts_a_button_prices(page: Client, template: Template) -> None:
    answer = page.post(f"/templates/{template.pk}", sent(steps=40))
    assert answer.url == f"/templates/{template.pk}#price-h"
    assert "40 steps" in page.get(answer.url).content.decode()


def test_a_value_that_does_not_fit_is_told_at_its_field(page: Client, template: Template) -> None:
    page.post(f"/templates/{template.pk}", sent(steps="99999", cfg="much"))
    text = page.get(f"/templates/{template.pk}").content.decode()
    assert re.search(r'id="f-steps"[^>]*aria-invalid="true"[^>]*aria-describedby="f-steps-problem', text)
    assert 'id="f-cfg-problem"' in text
    assert 'id="run"' not in text
    assert 'value="99999"' in text


def test_the_click_orders_what_was_shown_once(
    page: Client, student: User, workshop: Workshop, template: Template
) -> None:
    form = sent(steps=30, seed="5", prompt="a red door")
    shown = ceiling(page.post(f"/templates/{template.pk}/_fragment", form).content.decode())
    answers = [page.post(f"/templates/{template.pk}/run", {**form, "shown": shown}) for _ in range(2)]
    job = Job.objects.get()
    assert {answer.url for answer in answers} == {f"/jobs/{job.pk}"}
    assert job.held_milli == shown == balance_of(student, workshop).held_milli
    assert (job.template, job.form_values["steps"]) == (template, 30)
    assert job.payload["6"]["inputs"]["text"] == "a red door"


def test_another_form_under_the_same_key_is_no_second_job(page: Client, template: Template) -> None:
    page.post(f"/templates/{template.pk}/run", sent(steps=30))
    answer = page.post(f"/templates/{template.pk}/run", sent(steps=31))
    assert answer.status_code == 409
    assert "used for another order" in answer.content.decode()
    assert Job.objects.count() == 1


def test_a_price_that_moved_is_told_before_anything_is_set_aside(page: Client, template: Template) -> None:
    answer = page.post(f"/templates/{template.pk}/run", {**sent(steps=30), "shown": "10"})
    assert answer.status_code == 409
    assert "The price changed" in answer.content.decode()
    assert not Job.objects.exists()


def test_too_few_credits_are_told_with_what_is_missing(workshop: Workshop, template: Template) -> None:
    poor = Client()
    poor.force_login(a_student(workshop, 20))
    answer = poor.post(f"/templates/{template.pk}/run", sent(steps=30))
    assert answer.status_code == 402
    assert "credits short. Nothing was set aside." in answer.content.decode()
    assert not Job.objects.exists()


def test_a_missing_model_is_swapped_for_one_that_is_here_and_back(page: Client, workshop: Workshop) -> None:
    form = [one for one in a_template(workshop).form if one["name"] != "model"]
    fixed = a_template(workshop, a_sketch(model=GONE), slug="fixed", form=form)
    told = page.get(f"/templates/{fixed.pk}").content.decode()
    assert f"{GONE} has about" in told
    assert "models/checkpoints/" in told
    assert 'id="run"' not in told
    page.post(f"/templates/{fixed.pk}", {**sent(), "press": "swap", "swap:4:ckpt_name": MODEL})
    swapped = page.get(f"/templates/{fixed.pk}").content.decode()
    assert 'id="run"' in swapped
    assert f'<span class="mono">{MODEL}</span>' in swapped
    page.post(f"/templates/{fixed.pk}", {**sent(), "undo": "0"})
    assert 'id="run"' not in page.get(f"/templates/{fixed.pk}").content.decode()


def test_a_hint_is_applied_to_the_field_it_means(page: Client, template: Template) -> None:
    change = '[{"node": "3", "input": "steps", "value": 10}]'
    page.post(f"/templates/{template.pk}", {**sent(steps=30), "apply": change})
    assert 'type="number" value="10"' in page.get(f"/templates/{template.pk}").content.decode()


@pytest.mark.parametrize(
    "forged", ['{"node": 1}', "[1, 2]", "[[[", '[{"node": "3", "input": "x", "value": []}]']
)
def test_what_is_no_hint_changes_nothing(page: Client, template: Template, forged: str) -> None:
    page.post(f"/templates/{template.pk}", {**sent(steps=30), "apply": forged})
    assert 'type="number" value="30"' in page.get(f"/templates/{template.pk}").content.decode()


def test_a_picture_is_chosen_among_ones_own(page: Client, student: User, workshop: Workshop) -> None:
    template = a_template(workshop, a_picture_graph(), slug="picture")
    an_upload(student, workshop)
    an_upload(a_student(workshop), workshop, "theirs.png")
    text = page.get(f"/templates/{template.pk}").content.decode()
    assert '<option value="harbour.png">' in text
    assert "theirs.png" not in text
    assert "choose a picture" in text
    page.post(f"/templates/{template.pk}/run", sent(image="harbour.png"))
    assert Job.objects.get().inputs[0]["title"] == "harbour.png"


def test_other_peoples_templates_and_drafts_are_answered_as_none(page: Client, workshop: Workshop) -> None:
    theirs = a_template(a_workshop())
    draft = templates.create(workshop, None, name="Draft", payload=a_sketch(), form=[])
    for row in (theirs, draft):
        for address in ("", "/_fragment", "/sweep", "/workflow.json"):
            assert page.get(f"/templates/{row.pk}{address}").status_code == 404
        assert page.post(f"/templates/{row.pk}/run", sent()).status_code == 404


def test_a_teacher_tries_a_draft(workshop: Workshop) -> None:
    teacher = Client()
    teacher.force_login(a_member(workshop, "instructor"))
    draft = templates.create(workshop, None, name="Draft", payload=a_sketch(), form=[])
    text = teacher.get(f"/templates/{draft.pk}").content.decode()
    assert "A draft: students don&#x27;t see it yet." in text or "A draft: students don't see it yet." in text


def test_a_new_version_takes_over_what_was_typed_and_is_priced_anew(page: Client, template: Template) -> None:
    page.post(f"/templates/{template.pk}/_fragment", sent(steps=33))
    newer = templates.publish(templates.new_version(template, None, name="Night tram, better"), None)
    for answer in (
        page.post(f"/templates/{template.pk}/run", sent(steps=34)),
        page.get(f"/templates/{template.pk}"),
    ):
        assert answer.url == f"/templates/{newer.pk}"
    text = page.get(f"/templates/{newer.pk}").content.decode()
    assert 'type="number" value="34"' in text
    assert "has a new version" in text
    assert not Job.objects.exists()


def test_an_earlier_take_is_started_from_again(page: Client, workshop: Workshop, template: Template) -> None:
    page.post(f"/templates/{template.pk}/run", sent(steps=31, seed="77", prompt="a blue door"))
    job = Job.objects.get()
    page.post(f"/templates/{template.pk}/defaults")
    assert f'name="take" value="{job.pk}"' in page.get(f"/templates/{template.pk}").content.decode()
    page.post(f"/templates/{template.pk}", {**sent(steps=20), "take": str(job.pk)})
    text = page.get(f"/templates/{template.pk}").content.decode()
    assert 'type="number" value="31"' in text
    assert ">a blue door</textarea>" in text
    assert 'value="77"' in text
    other = Client()
    other.force_login(a_student(workshop))
    assert str(job.pk) not in other.get(f"/templates/{template.pk}").content.decode()


def test_a_licence_the_workshop_does_not_allow_is_told_in_place_of_a_price(
    page: Client, workshop: Workshop
) -> None:
    barred = a_template(workshop, slug="barred", model_files=[{**REQUIREMENT, "commercial": False}])
    Workshop.objects.filter(pk=workshop.pk).update(commercial_licences_only=True)
    text = page.get(f"/templates/{barred.pk}").content.decode()
    assert f"{MODEL} may not be used commercially" in text
    assert 'id="run"' not in text


def test_a_sweep_is_priced_and_ordered_whole(
    page: Client, student: User, workshop: Workshop, template: Template
) -> None:
    page.post(f"/templates/{template.pk}/_fragment", sent(prompt="a red door"))
    grid = {"grid": "sent", "key": "k", "g-steps": "10, 20", "g-cfg": "5 6.5"}
    told = page.post(f"/templates/{template.pk}/sweep/_fragment", grid).content.decode()
    assert "Run 4 jobs for up to" in told
    answer = page.post(f"/templates/{template.pk}/sweep/run", {**grid, "shown": ceiling(told)})
    jobs = Job.objects.all()
    assert {(job.form_values["steps"], job.form_values["cfg"]) for job in jobs} == {
        (10, 5), (10, 6.5), (20, 5), (20, 6.5),
    }  # fmt: skip
    assert all(job.payload["6"]["inputs"]["text"] == "a red door" for job in jobs)
    assert balance_of(student, workshop).held_milli == ceiling(told)
    assert page.post(f"/templates/{template.pk}/sweep/run", grid).url == answer.url
    assert page.get(answer.url).content.decode().count("data-job=") == 4


def test_a_sweep_of_too_many_jobs_is_told_and_not_ordered(page: Client, template: Template) -> None:
    grid = {"grid": "sent", "key": "k", "g-steps": ",".join(map(str, range(1, 30)))}
    assert "24 are possible" in page.post(f"/templates/{template.pk}/sweep/_fragment", grid).content.decode()
    assert page.post(f"/templates/{template.pk}/sweep/run", grid).status_code == 400
    assert not Job.objects.exists()


def test_a_sweeps_page_is_its_owners_and_staffs(page: Client, workshop: Workshop, template: Template) -> None:
    grid = {"grid": "sent", "key": "k", "g-steps": "10,20"}
    address = page.post(f"/templates/{template.pk}/sweep/run", grid).url
    fragment = page.get(f"{address}/_fragment").content.decode()
    assert fragment in page.get(address).content.decode()
    other, teacher = Client(), Client()
    other.force_login(a_student(workshop))
    teacher.force_login(a_member(workshop, "instructor"))
    assert other.get(address).status_code == 404
    assert teacher.get(address).status_code == 200


def test_cards_cost_a_fixed_number_of_queries(
    page: Client, student: User, workshop: Workshop, template: Template, django_assert_max_num_queries: Any
) -> None:
    for number in range(6):
        a_template(workshop, slug=f"another-{number}")
    a_job(student, workshop)
    page.get("/studio")  # prices of cards are kept for two minutes
    with django_assert_max_num_queries(16):
        page.get("/studio")
