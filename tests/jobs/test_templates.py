"""Templates: drafts change, published versions never do, and each workshop sees its own."""

from typing import Any

import pytest

from accounts.models import AuditRow, Workshop
from jobs import queries, templates
from jobs.job_types.base import Refusal
from jobs.models import Template
from tests.factories.jobs import a_member, a_workshop

pytestmark = pytest.mark.django_db
PAYLOAD = {"1": {"class_type": "KSampler", "inputs": {"steps": 20}}}
FORM = [{"name": "steps", "node": "1", "input": "steps", "kind": "integer", "default": 20, "maximum": 60}]


def a_template(workshop: Workshop, **more: Any) -> Template:
    return templates.create(workshop, None, **{"name": "Sketch", "payload": PAYLOAD, "form": FORM, **more})


def slugs(workshop: Workshop) -> list[tuple[str, int]]:
    student = a_member(workshop)
    return [(row.slug, row.version) for row in queries.templates_for(student, workshop)]


def test_a_draft_is_not_offered_until_it_is_published() -> None:
    workshop = a_workshop()
    draft = a_template(workshop)
    assert slugs(workshop) == []
    templates.publish(draft, None)
    assert slugs(workshop) == [("sketch", 1)]


def test_a_published_version_never_changes_but_a_new_one_follows_it() -> None:
    workshop = a_workshop()
    first = templates.publish(a_template(workshop), None)
    with pytest.raises(templates.Published):
        templates.change(first, None, name="Other")
    second = templates.new_version(first, None, name="Better sketch")
    assert slugs(workshop) == [("sketch", 1)], "the draft is not shown"
    templates.publish(second, None)
    assert slugs(workshop) == [("sketch", 2)]
    first.refresh_from_db()
    assert (first.name, first.withdrawn_at is not None) == ("Sketch", True)


def test_a_withdrawn_template_is_gone_and_may_be_published_again() -> None:
    workshop = a_workshop()
    row = templates.publish(a_template(workshop), None)
    templates.withdraw(row, None, reason="broken")
    assert slugs(workshop) == []
    templates.publish(row, None)
    assert slugs(workshop) == [("sketch", 1)]


def test_a_form_that_does_not_fit_its_workflow_makes_no_template() -> None:
    with pytest.raises(Refusal):
        a_template(a_workshop(), form=[{**FORM[0], "node": "7"}])
    draft = a_template(a_workshop())
    with pytest.raises(Refusal):
        templates.change(draft, None, payload={"2": PAYLOAD["1"]})


def test_only_teachers_of_the_workshop_write_its_templates() -> None:
    workshop, other = a_workshop(), a_workshop()
    draft = a_template(workshop)
    for stranger in (a_member(workshop), a_member(other, "instructor"), a_member(workshop, "assistant")):
        for door in (templates.publish, templates.withdraw, templates.new_version, templates.change):
            with pytest.raises(templates.NotYours):
                door(draft, stranger)
    assert templates.publish(draft, a_member(workshop, "instructor")).published_at


def test_every_step_is_audited() -> None:
    workshop = a_workshop()
    teacher = a_member(workshop, "instructor")
    row = templates.create(workshop, teacher, name="Sketch", payload=PAYLOAD, form=FORM)
    templates.change(row, teacher, description="Small")
    templates.publish(row, teacher)
    templates.withdraw(row, teacher, reason="broken")
    steps = AuditRow.objects.filter(subject=f"template:{row.pk}", actor=teacher).order_by("pk")
    assert [step.action.partition(".")[2] for step in steps] == ["make", "change", "publish", "withdraw"]


def test_two_templates_of_a_workshop_have_two_slugs() -> None:
    workshop = a_workshop()
    a_template(workshop)
    with pytest.raises(templates.SlugTaken):
        a_template(workshop)
    assert a_template(a_workshop()).slug == "sketch"


@pytest.mark.parametrize(("commercial", "offered"), [(True, 1), (False, 0), (None, 0)])
def test_a_workshop_may_insist_on_licences_for_commercial_use(commercial: bool | None, offered: int) -> None:
    workshop = a_workshop(commercial_licences_only=True)
    model = {"folder": "vae", "name": "a.sft", "size_bytes": 5, "licence": "L", "commercial": commercial}
    row = templates.publish(a_template(workshop, model_files=[model]), None)
    assert len(slugs(workshop)) == offered
    assert ("a.sft" in templates.licence_refusal(row, workshop)) == (not offered)
    assert templates.licence_refusal(row, a_workshop()) == ""


def test_a_template_is_opened_by_its_own_workshop_only() -> None:
    workshop = a_workshop()
    draft = a_template(workshop)
    shown = templates.publish(a_template(workshop, slug="other"), None)
    student, teacher, stranger = a_member(workshop), a_member(workshop, "instructor"), a_member(a_workshop())
    assert queries.visible_template(student, shown.pk) == shown
    assert queries.visible_template(teacher, draft.pk) == draft
    for who, row in ((student, draft), (stranger, shown)):
        with pytest.raises(Template.DoesNotExist):
            queries.visible_template(who, row.pk)
