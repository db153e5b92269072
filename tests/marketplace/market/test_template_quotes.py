"""From a template's form to a quote and a job; models that are missing, and what may stand in for them."""

import json

import pytest

from accounts.ledger.posting import KeyConflict
from accounts.models import User, Workshop
from jobs.job_types.base import Refusal
from jobs.models import Job
from marketplace.market import template_quotes
from marketplace.market.models import Quote
from tests.factories.jobs import a_student, a_workshop, balance_of
from tests.factories.templates import REQUIREMENT, a_comfyui_agent, a_template, an_upload
from tests.factories.workflows import MODEL, a_picture_graph, a_sketch

pytestmark = pytest.mark.django_db
GONE = "sdxl_of_somebody.safetensors"
SWAP = [{"node": "4", "input": "ckpt_name", "value": MODEL}]


@pytest.fixture
def workshop() -> Workshop:
    made = a_workshop()
    a_comfyui_agent(made)
    return made


@pytest.fixture
def student(workshop: Workshop) -> User:
    return a_student(workshop)


def test_more_steps_cost_more_and_the_quote_says_where_it_came_from(
    student: User, workshop: Workshop
) -> None:
    template = a_template(workshop)
    few, many = (template_quotes.prepare(student, template, {"steps": steps}) for steps in (20, 40))
    assert few.ceiling_milli < many.ceiling_milli
    assert (many.template, many.form_values, many.title) == (template, {"steps": 40}, "Sketch")
    assert not Quote.objects.exists(), "nothing is stored while somebody moves a slider"


def test_a_value_out_of_range_is_refused_by_its_field(student: User, workshop: Workshop) -> None:
    with pytest.raises(Refusal) as refusal:
        template_quotes.prepare(student, a_template(workshop), {"steps": 100_000})
    assert refusal.value.problems[0].field == "steps"


def test_a_seed_left_blank_is_drawn_and_told(student: User, workshop: Workshop) -> None:
    template = a_template(workshop)
    first, second = (template_quotes.store(student, template, {}) for _ in range(2))
    assert first.form_values["seed"] != second.form_values["seed"]
    assert first.payload["3"]["inputs"]["seed"] == first.form_values["seed"]


def test_ordering_twice_with_one_key_gives_one_job(student: User, workshop: Workshop) -> None:
    template = a_template(workshop)
    jobs = [template_quotes.order(student, template, {"steps": 9}, key="k") for _ in range(2)]
    assert jobs[0] == jobs[1]
    assert jobs[0].template == template
    assert jobs[0].form_values["steps"] == 9
    with pytest.raises(KeyConflict):
        template_quotes.order(student, template, {"steps": 10}, key="k")
    assert Job.objects.count() == 1


def test_a_price_that_moved_is_shown_before_anything_is_set_aside(student: User, workshop: Workshop) -> None:
    template = a_template(workshop)
    with pytest.raises(template_quotes.PriceMoved) as moved:
        template_quotes.order(student, template, {}, key="k", shown_ceiling_milli=10)
    assert balance_of(student, workshop).held_milli == 0
    ceiling_milli = moved.value.quote.ceiling_milli
    job = template_quotes.order(student, template, {}, key="k", shown_ceiling_milli=ceiling_milli)
    assert job.held_milli == ceiling_milli


def test_a_missing_model_is_told_with_size_folder_and_what_is_there_instead(
    student: User, workshop: Workshop
) -> None:
    template = a_template(workshop, a_sketch(model=GONE))
    with pytest.raises(Refusal) as refusal:
        template_quotes.prepare(student, template, {})
    body = template_quotes.filled(template, {})
    (missing,) = template_quotes.missing_models(workshop, "comfyui", body, refusal.value.problems)
    assert (missing.name, missing.folder, missing.exact) == (GONE, "checkpoints", False), "a guess"
    assert 5e9 < (missing.size_bytes or 0) < 8e9
    assert MODEL in missing.choices


def test_the_size_of_a_missing_model_is_known_where_a_template_tells_it(
    student: User, workshop: Workshop
) -> None:
    told = {**REQUIREMENT, "name": GONE, "size_bytes": 123_000_000}
    template = a_template(workshop, a_sketch(model=GONE), model_files=[told])
    with pytest.raises(Refusal) as refusal:
        template_quotes.prepare(student, template, {})
    body = template_quotes.filled(template, {})
    (missing,) = template_quotes.missing_models(workshop, "comfyui", body, refusal.value.problems)
    assert (missing.size_bytes, missing.exact) == (123_000_000, True)


def test_a_missing_model_is_swapped_for_one_that_is_there(student: User, workshop: Workshop) -> None:
    template = a_template(workshop, a_sketch(model=GONE))
    quote = template_quotes.prepare(student, template, {}, changes=SWAP)
    assert quote.payload["4"]["inputs"]["ckpt_name"] == MODEL
    body = template_quotes.changed(workshop, "comfyui", json.dumps(a_sketch(model=GONE)).encode(), SWAP)
    assert json.loads(body)["4"]["inputs"]["ckpt_name"] == MODEL


@pytest.mark.parametrize("place", [("4", "nothing"), ("99", "ckpt_name"), ("8", "vae")])
def test_a_change_of_what_is_not_there_is_refused(
    student: User, workshop: Workshop, place: tuple[str, str]
) -> None:
    change = {"node": place[0], "input": place[1], "value": "x"}
    with pytest.raises(Refusal):
        template_quotes.prepare(student, a_template(workshop), {}, changes=[change])


def test_a_picture_is_one_of_ones_own(student: User, workshop: Workshop) -> None:
    template = a_template(workshop, a_picture_graph())
    an_upload(student, workshop)
    assert (
        template_quotes.prepare(student, template, {"image": "harbour.png"}).inputs[0]["title"]
        == "harbour.png"
    )
    an_upload(a_student(workshop), workshop, "theirs.png")
    with pytest.raises(Refusal):
        template_quotes.prepare(student, template, {"image": "theirs.png"})


def test_licences_that_are_not_allowed_keep_a_template_back(student: User, workshop: Workshop) -> None:
    template = a_template(workshop, model_files=[{**REQUIREMENT, "commercial": False}])
    Workshop.objects.filter(pk=workshop.pk).update(commercial_licences_only=True)
    template.workshop.refresh_from_db()
    with pytest.raises(template_quotes.LicenceBarred, match=MODEL):
        template_quotes.prepare(student, template, {})
