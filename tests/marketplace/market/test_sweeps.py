"""Sweeps: priced as a whole, ordered all or not at all, once for each key."""

import pytest

from accounts.ledger import audit
from accounts.ledger.posting import InsufficientCredits, KeyConflict
from accounts.models import User, Workshop
from jobs.job_types.base import Refusal
from jobs.models import Job, Template
from marketplace.market import orders, sweeps, template_quotes
from marketplace.market.models import Quote, Sweep
from tests.factories.jobs import a_student, a_workshop, balance_of
from tests.factories.racing import race
from tests.factories.templates import a_comfyui_agent, a_template

pytestmark = pytest.mark.django_db
GRID = {"steps": [10, 20], "cfg": [5.0, 6.0, 7.0]}


@pytest.fixture
def template() -> Template:
    workshop = a_workshop()
    a_comfyui_agent(workshop)
    return a_template(workshop)


@pytest.fixture
def student(template: Template) -> User:
    return a_student(template.workshop)


def test_a_sweep_costs_what_its_jobs_cost(student: User, template: Template) -> None:
    prepared = sweeps.prepare_sweep(student, template, {"width": 256}, GRID)
    single = template_quotes.prepare(student, template, {"width": 256, "steps": 20, "cfg": 7.0})
    assert len(prepared.quotes) == 6
    assert prepared.points[-1] == {"steps": 20, "cfg": 7.0}
    assert prepared.quotes[-1].ceiling_milli == single.ceiling_milli
    assert prepared.ceiling_milli == sum(quote.ceiling_milli for quote in prepared.quotes)
    assert not Quote.objects.exists()


def test_a_sweep_is_ordered_whole_and_once_for_its_key(student: User, template: Template) -> None:
    first = sweeps.place_sweep(student, template, {}, GRID, key="k")
    assert sweeps.place_sweep(student, template, {}, GRID, key="k") == first
    jobs = Job.objects.filter(order__quote__sweep=first)
    assert jobs.count() == Job.objects.count() == 6
    assert len({job.payload["3"]["inputs"]["seed"] for job in jobs}) == 1, "they differ by the grid alone"
    assert balance_of(student, template.workshop).held_milli == sum(job.held_milli for job in jobs)
    assert audit.findings() == []


def test_too_few_credits_for_all_order_none(student: User, template: Template) -> None:
    needed_milli = sweeps.prepare_sweep(student, template, {}, GRID).ceiling_milli
    poor = a_student(template.workshop, needed_milli - 10)
    with pytest.raises(InsufficientCredits) as short:
        sweeps.place_sweep(poor, template, {}, GRID, key="k")
    assert short.value.shortfall_milli == 10
    assert balance_of(poor, template.workshop).held_milli == 0
    assert (Job.objects.count(), Sweep.objects.count(), Quote.objects.count()) == (0, 0, 0)


def test_full_waiting_places_order_none(student: User, template: Template) -> None:
    Workshop.objects.filter(pk=template.workshop_id).update(max_waiting=4)
    with pytest.raises(orders.WaitingLimit):
        sweeps.place_sweep(student, template, {}, GRID, key="k")
    assert balance_of(student, template.workshop).held_milli == 0
    assert (Job.objects.count(), Sweep.objects.count()) == (0, 0)


def test_a_key_used_for_another_grid_is_refused(student: User, template: Template) -> None:
    sweeps.place_sweep(student, template, {}, GRID, key="k")
    with pytest.raises(KeyConflict):
        sweeps.place_sweep(student, template, {}, {"steps": [10, 20]}, key="k")
    assert Sweep.objects.count() == 1


def test_a_sweep_whose_price_moved_waits_for_another_look(student: User, template: Template) -> None:
    with pytest.raises(template_quotes.PriceMoved):
        sweeps.place_sweep(student, template, {}, GRID, key="k", shown_ceiling_milli=10)
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("grid", "code"),
    [
        ({}, "no_grid"),
        ({"steps": []}, "no_values"),
        ({"colour": ["red"]}, "unknown_field"),
        ({"steps": list(range(1, 26))}, "too_many_jobs"),
        ({"steps": [1], "cfg": [1.0], "width": [256], "height": [256]}, "too_many_fields"),
    ],
)
def test_a_grid_that_is_none_is_refused(
    student: User, template: Template, grid: dict[str, list[object]], code: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        sweeps.prepare_sweep(student, template, {}, grid)
    assert refusal.value.problems[0].code == code


def test_a_value_that_does_not_fit_is_refused_by_its_field(student: User, template: Template) -> None:
    with pytest.raises(Refusal) as refusal:
        sweeps.prepare_sweep(student, template, {}, {"steps": [20, "many"]})
    assert refusal.value.problems[0].field == "steps"


@pytest.mark.django_db(transaction=True)
def test_twins_order_one_sweep(student: User, template: Template) -> None:
    answers = race(3, lambda _: sweeps.place_sweep(student, template, {}, {"steps": [5, 6]}, key="k"))
    assert len({getattr(answer, "pk", answer) for answer in answers}) == 1
    assert (Sweep.objects.count(), Job.objects.count()) == (1, 2)
    assert audit.findings() == []
