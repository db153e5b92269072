"""The market over the API: the same as the page, without names."""

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from accounts.models import User, Workshop
from jobs.models import Job
from marketplace.fleet.models import Agent
from marketplace.market import closing
from tests.factories import people
from tests.factories.jobs import a_job, a_student, a_workshop

pytestmark = pytest.mark.django_db


def test_the_line_is_told_without_names_and_titles_of_others(
    api: APIClient, student: User, workshop: Workshop, agent: Agent
) -> None:
    other = a_student(workshop)
    Job.objects.filter(pk=a_job(other, workshop).pk).update(title="Secret castle")
    mine = a_job(student, workshop)
    answer = api.get("/api/v1/market")
    told = answer.json()
    assert [row["mine"] for row in told["line"]] == [False, True]
    assert [row["job"] for row in told["line"]] == [None, str(mine.pk)]
    assert len(told["line"][1]["starts_in_seconds"]) == 2
    assert other.username not in answer.content.decode()
    assert "Secret" not in answer.content.decode()
    assert (told["in_line"], told["mine_in_line"], told["held_back"]) == (2, 1, 0)


def test_prices_gpus_and_clock_are_told(
    api: APIClient, student: User, workshop: Workshop, agent: Agent
) -> None:
    people.session(workshop)
    closing.tick()
    told = api.get("/api/v1/market").json()
    assert told["clock"]["state"] == "open"
    assert told["gpu_seconds_for_a_credit"] == 1000 / told["base_milli_per_gpu_second"]
    assert [(gpu["name"], gpu["state"]) for gpu in told["gpus"]] == [(agent.name, "ready")]
    assert told["rule"]
    assert [notice["words"] for notice in told["notices"]][-1].startswith("Class opened")


def test_who_belongs_to_several_workshops_says_which(
    api: APIClient, client_of: Callable[[User], APIClient], student: User, workshop: Workshop, agent: Agent
) -> None:
    second = a_workshop()
    people.enrol(student, second)
    assert api.get("/api/v1/market").json()["code"] == "workshop_needed"
    assert api.get(f"/api/v1/market?workshop={second.slug}").json()["workshop"] == second.slug
    stranger = client_of(people.user())
    assert stranger.get(f"/api/v1/market?workshop={second.slug}").status_code == 404
