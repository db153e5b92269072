"""Quotes tell what would cost less and what their models allow; a hint can be applied."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from accounts.clock import now
from accounts.models import ClassSession, User, Workshop
from jobs.job_types.base import Refusal
from jobs.models import Template, Upload
from marketplace.fleet.models import Inventory, NodeDefinitions
from marketplace.market import price_list, quoting, resubmission
from marketplace.market.models import Quote
from tests.factories.jobs import a_quote, a_student, a_workshop, an_agent
from tests.jobs.job_types.comfyui.graphs import DEFINITIONS, text_to_image

pytestmark = pytest.mark.django_db


@pytest.fixture
def workshop() -> Workshop:
    found = a_workshop(milli_per_gpu_second=100)
    agent = an_agent()
    known = NodeDefinitions.objects.create(pk="of the graphs", body={**DEFINITIONS, "Sampler": {}})
    Inventory.objects.filter(agent=agent).update(node_definitions=known)
    return found


@pytest.fixture
def student(workshop: Workshop) -> User:
    return a_student(workshop)


def quoted(student: User, workshop: Workshop, graph: dict[str, Any] | None = None, **rest: Any) -> Quote:
    body = json.dumps(graph or text_to_image()).encode()
    return Quote.objects.get(pk=quoting.quote(student, workshop, body, **rest).pk)


def requoted(row: Quote, changes: Sequence[Mapping[str, Any]]) -> Quote:
    """A new quote with single inputs changed, as the page's button makes it."""
    body, origin = resubmission.with_changes(row, changes), resubmission.origin(row, changes)
    return quoting.quote(row.student, row.workshop, body, job_type=row.job_type, **origin)


def test_hints_are_priced_and_the_best_stands_first(student: User, workshop: Workshop) -> None:
    row = quoted(student, workshop)
    savings = [hint["saved_milli"] for hint in row.hints]
    assert savings == sorted(savings, reverse=True)
    assert all(saved >= 0.1 * row.quote_milli and saved % 10 == 0 for saved in savings)
    assert [hint["words"] for hint in row.hints if "steps" in hint["words"]] == ["12 steps instead of 20"]


def test_an_applied_hint_saves_what_it_said(student: User, workshop: Workshop) -> None:
    row = quoted(student, workshop)
    for hint in row.hints:
        cheaper = requoted(row, hint["changes"])
        assert row.quote_milli - cheaper.quote_milli == hint["saved_milli"]
        assert cheaper.pk != row.pk
    assert json.loads(resubmission.with_changes(row, [])) == row.payload


def test_small_savings_are_not_told(student: User, workshop: Workshop) -> None:
    assert [hint["words"] for hint in a_quote(student, workshop, seconds=10).hints] == ["half the seconds"]


def test_an_applied_hint_reads_the_students_files_again(student: User, workshop: Workshop) -> None:
    Upload.objects.create(
        owner=student, workshop=workshop, sha256="ab" * 32, name="My castle.png", media_type="image/png",
        size_bytes=3, width=1024, height=1024,
    )  # fmt: skip
    graph = text_to_image(sampler__latent_image=["encode", 0])
    graph["picture"] = {"class_type": "LoadImage", "inputs": {"image": "My castle.png"}}
    graph["encode"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["picture", 0], "vae": ["model", 2]}}
    row = quoted(student, workshop, graph)
    assert row.inputs[0]["name"] == "ab" * 32 + ".png"
    again = requoted(row, row.hints[0]["changes"])
    assert again.inputs == row.inputs


def test_an_applied_hint_moves_the_templates_field(student: User, workshop: Workshop) -> None:
    form = [{"name": "steps", "node": "sampler", "input": "steps", "kind": "integer", "label": "Steps"}]
    template = Template.objects.create(
        workshop=workshop, slug="t", name="T", payload=text_to_image(), form=form,
        model_files=[{"name": "sdxl.safetensors", "folder": "checkpoints", "size_bytes": 7, "licence": "Ours",
                      "commercial": True}],
    )  # fmt: skip
    row = quoted(student, workshop, template=template, form_values={"steps": 20})
    steps = next(hint for hint in row.hints if "steps" in hint["words"])
    again = requoted(row, steps["changes"])
    assert (again.form_values, again.template_id) == ({"steps": 12}, template.pk)
    told = row.requirements[0]
    assert (told["name"], told["size_bytes"], told["licence"]) == ("sdxl.safetensors", 7, "Ours")


def test_a_model_that_may_not_be_used_commercially_is_refused_by_name_where_asked_so(
    student: User, workshop: Workshop
) -> None:
    row = a_quote(student, workshop, model="closed.safetensors")
    assert row.requirements[0]["licence"] == "Closed"
    Workshop.objects.update(commercial_licences_only=True)
    workshop.refresh_from_db()
    assert a_quote(student, workshop, model="nobody-knows.safetensors").pk
    with pytest.raises(Refusal, match=r"closed\.safetensors may not be used commercially") as refusal:
        a_quote(student, workshop, model="closed.safetensors")
    assert refusal.value.problems[0].code == "licence"


def test_the_sessions_base_price_comes_before_the_workshops(student: User, workshop: Workshop) -> None:
    session = ClassSession.objects.create(
        workshop=workshop, opens_at=now() - timedelta(hours=1), closes_at=now() + timedelta(hours=3)
    )
    assert price_list.base_price(workshop) == 100
    ClassSession.objects.filter(pk=session.pk).update(base_milli_per_gpu_second=40)
    row = a_quote(student, workshop, seconds=10)
    assert (row.milli_per_gpu_second, row.quote_milli, row.ceiling_milli) == (40, 400, 500)


def test_a_quote_takes_few_queries(
    student: User, workshop: Workshop, django_assert_max_num_queries: Any
) -> None:
    quoted(student, workshop)
    with django_assert_max_num_queries(13):
        quoting.quote(student, workshop, json.dumps(text_to_image()).encode())
