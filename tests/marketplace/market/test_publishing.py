"""Publishing a template with its price in view."""

import pytest

from accounts.models import AuditRow, User, Workshop
from marketplace.market import publishing
from tests.factories.jobs import a_member, a_workshop
from tests.factories.templates import a_comfyui_agent, a_template
from tests.factories.workflows import a_picture_graph, a_sketch

pytestmark = pytest.mark.django_db


@pytest.fixture
def workshop() -> Workshop:
    made = a_workshop(allowance_milli_per_hour=500)
    a_comfyui_agent(made)
    return made


@pytest.fixture
def teacher(workshop: Workshop) -> User:
    return a_member(workshop, "instructor")


def test_a_template_dearer_than_two_hours_allowance_is_warned_of(workshop: Workshop, teacher: User) -> None:
    cheap, dear = a_template(workshop, a_sketch(5)), a_template(workshop, a_sketch(500), slug="dear")
    assert publishing.outlook(cheap, teacher).warning == ""
    warned = publishing.outlook(dear, teacher)
    assert "Two hours' allowance is 1.00" in warned.warning
    assert (warned.ceiling_milli or 0) > 1_000


def test_the_audit_keeps_what_its_teacher_was_told(workshop: Workshop, teacher: User) -> None:
    row = publishing.publish(a_template(workshop, a_sketch(500)), teacher)
    again = publishing.publish(row, teacher)
    assert again.published_at == row.published_at
    fresh = a_template(workshop, a_sketch(400), slug="other")
    fresh.withdrawn_at = fresh.published_at
    fresh.save()
    publishing.publish(fresh, teacher)
    told = AuditRow.objects.get(subject=f"template:{fresh.pk}", actor=teacher).after
    assert told["ceiling_milli"] > 1_000
    assert "allowance" in told["warning"]


def test_a_template_that_cannot_be_priced_says_why(workshop: Workshop, teacher: User) -> None:
    found = publishing.outlook(a_template(workshop, a_sketch(model="gone.safetensors")), teacher)
    assert found.price_milli is None
    assert "gone.safetensors" in found.warning


def test_before_anybody_chose_a_picture_one_is_assumed(workshop: Workshop, teacher: User) -> None:
    template = a_template(workshop, a_picture_graph())
    price_milli = publishing.price_from_milli(template)
    assert price_milli == publishing.outlook(template, teacher).price_milli
    assert (price_milli or 0) > 0
