"""Templates over the API: list, form, and a quote from values."""

import pytest
from rest_framework.test import APIClient

from accounts.models import User, Workshop
from jobs.models import Template
from marketplace.market.models import Quote
from tests.factories.jobs import a_workshop
from tests.factories.templates import REQUIREMENT, a_comfyui_agent, a_template
from tests.factories.workflows import a_sketch

pytestmark = pytest.mark.django_db


@pytest.fixture
def template(workshop: Workshop) -> Template:
    a_comfyui_agent(workshop)
    return a_template(workshop)


def test_templates_are_listed_with_models_and_a_price_to_expect(api: APIClient, template: Template) -> None:
    a_template(a_workshop(), slug="theirs")
    (found,) = api.get("/api/v1/templates").json()["templates"]
    assert (found["id"], found["slug"], found["version"]) == (template.pk, "sketch", 1)
    assert found["models"] == [REQUIREMENT]
    assert found["from_milli"] > 0


def test_a_template_tells_its_form(api: APIClient, template: Template) -> None:
    found = api.get(f"/api/v1/templates/{template.pk}").json()
    steps = next(one for one in found["form"] if one["name"] == "steps")
    assert (steps["kind"], steps["default"], steps["minimum"], steps["maximum"]) == ("integer", 20, 1, 60)
    assert api.get(f"/api/v1/templates/{a_template(a_workshop()).pk}").status_code == 404


def test_a_quote_is_made_of_a_template_and_values(api: APIClient, student: User, template: Template) -> None:
    asked = {"template": template.pk, "values": {"steps": 33, "prompt": "a red door"}}
    answer = api.post("/api/v1/quotes", asked, format="json")
    assert answer.status_code == 201, answer.json()
    quote = Quote.objects.get(pk=answer.json()["id"])
    assert (quote.template, quote.form_values["steps"]) == (template, 33)
    assert quote.payload["6"]["inputs"]["text"] == "a red door"
    job = api.post("/api/v1/jobs", {"quote": str(quote.pk)}, format="json")
    assert job.status_code == 201


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"values": {"steps": "many"}}, "steps"),
        ({"values": {"colour": 1}}, "colour"),
        ({"values": {"steps": 20}, "workflow": a_sketch()}, "workflow"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_name_of_its_field(
    api: APIClient, template: Template, asked: dict[str, object], field: str
) -> None:
    answer = api.post("/api/v1/quotes", {"template": template.pk, **asked}, format="json")
    assert answer.status_code == 400
    assert answer.json()["field"] == field
    assert not Quote.objects.exists()


def test_neither_workflow_nor_template_is_no_request(api: APIClient, template: Template) -> None:
    assert api.post("/api/v1/quotes", {}, format="json").json()["field"] == "workflow"
    answer = api.post("/api/v1/quotes", {"workflow": a_sketch(), "values": {}}, format="json")
    assert answer.json()["field"] == "values"


def test_a_licence_that_is_not_allowed_is_told(
    api: APIClient, workshop: Workshop, template: Template
) -> None:
    barred = a_template(workshop, slug="barred", model_files=[{**REQUIREMENT, "commercial": False}])
    Workshop.objects.filter(pk=workshop.pk).update(commercial_licences_only=True)
    answer = api.post("/api/v1/quotes", {"template": barred.pk}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (403, "licence_barred")
    assert REQUIREMENT["name"] in api.get(f"/api/v1/templates/{barred.pk}").json()["refusal"]


def test_a_quote_names_its_rates_its_models_and_what_would_be_cheaper(
    api: APIClient, student: User, template: Template
) -> None:
    asked = {"template": template.pk, "values": {"steps": 60}}
    told = api.post("/api/v1/quotes", asked, format="json").json()
    assert told["rate_version"] >= 1
    assert {"folder", "name", "size_bytes", "licence", "commercial"} <= set(told["models"][0])
    (hint, *_more) = told["hints"]
    assert 0 < hint["saved_milli"] < told["quote_milli"]
    assert {"node", "input", "value"} == set(hint["changes"][0])
