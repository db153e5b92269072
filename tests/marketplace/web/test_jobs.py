"""The page of a job: where it stands, what it costs, what came of it."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.conf import settings
from django.test import Client

from accounts.models import Enrolment, User, Workshop
from gpu_agent.protocol.phases import Cause, Outcome, Phase
from jobs.models import Artifact, Job, Status
from marketplace.fleet.models import Agent
from marketplace.market import dispatch, orders
from tests.factories.clock import advance
from tests.factories.jobs import a_job, a_member, a_student, balance_of, let_lease_expire, taken
from tests.marketplace.web.pages import receipt, without_token

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(student: User, workshop: Workshop, agent: Agent) -> Job:
    """A job in line: price 9.90, set aside 12.38."""
    return a_job(student, workshop, seconds=99.0)


def shown(page: Client, job: Job) -> str:
    """The page's text, with the check that the live part alone is the same as in the page."""
    whole = page.get(f"/jobs/{job.pk}").content.decode()
    fragment = page.get(f"/jobs/{job.pk}/_fragment").content.decode()
    assert fragment in whole, "live must equal reload"
    return whole


def run_for(agent: Agent, charged_ms: int) -> None:
    """The agent runs its next job and has just told how long."""
    voice = taken(agent)
    voice.run(charged_ms=charged_ms)
    dispatch.renew(agent, voice.beat(charged_ms=charged_ms, executing_ms=charged_ms))


def test_a_queued_job_tells_its_place_its_wait_and_why(page: Client, job: Job) -> None:
    text = shown(page, job)
    assert "<b>1</b>" in text
    assert "of 1 in line" in text
    assert "Starts in" in text
    assert "Why am I waiting?" in text
    assert "Cancel and get 12.38 credits back" in text
    assert "You pay nothing while a job waits." in text


def test_a_job_above_the_cap_says_it_enters_later(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    Workshop.objects.filter(pk=workshop.pk).update(max_in_flight=1)
    workshop.refresh_from_db()
    a_job(student, workshop)
    text = shown(page, a_job(student, workshop))
    assert "Held back" in text
    assert "enters the line when one of yours ends" in text


def test_a_running_job_shows_its_last_frame_on_load(page: Client, job: Job, agent: Agent) -> None:
    taken(agent).run(charged_ms=29_900)
    frame = {
        "percent": 48.2, "node_title": "Sample", "step": 12, "steps": 25, "stage": 3, "stages": 7,
        "remaining_ms": 61_000, "preview": "data:image/jpeg;base64,AA==",
    }  # fmt: skip
    redis.Redis.from_url(f"{settings.REDIS_URL}/2").set(f"live:frame:{job.pk}", json.dumps(frame), ex=60)
    text = shown(page, job)
    for words in ("step 12 of 25", "Stage 3 of 7", "50–75\u00a0s left", "48&nbsp;%", "base64,AA=="):
        assert words in text
    assert 'value="48"' in text


def test_a_running_job_says_what_cancelling_costs_and_returns(page: Client, job: Job, agent: Agent) -> None:
    run_for(agent, 29_900)
    text = shown(page, job)
    assert "Cancel: pay 2.99, get 9.39 back" in text
    assert 'data-rate="100"' in text
    assert 'data-held="12380"' in text


def test_the_receipt_of_a_finished_job_adds_up(
    page: Client, job: Job, agent: Agent, student: User, workshop: Workshop
) -> None:
    taken(agent).succeed(charged_ms=93_500)
    text = shown(page, job)
    assert receipt(text) == {"quote": 9900, "held": 12380, "paid": 9350, "returned": 3030}
    assert "9.35 paid + 3.03 returned = 12.38 set aside." in text
    assert "94\u00a0s of GPU time at 0.10 a second; loading free" in text
    assert balance_of(student, workshop).available_milli == 100_000 - 9350


def test_a_finished_job_shows_its_picture_and_how_it_was_made(page: Client, job: Job, agent: Agent) -> None:
    taken(agent).succeed()
    artifact = Artifact.objects.get()
    text = shown(page, job)
    assert f'<img src="/artifacts/{artifact.pk}"' in text
    assert f'href="/artifacts/{artifact.pk}?download=1"' in text
    assert f'href="/jobs/{job.pk}/workflow.json"' in text
    assert "simulated GPU" in text


@pytest.mark.parametrize(("kind", "tag"), [("video", "<video"), ("audio", "<audio"), ("model", "Download, ")])
def test_each_kind_of_output_has_its_viewer(
    page: Client, job: Job, agent: Agent, kind: str, tag: str
) -> None:
    taken(agent).succeed()
    Artifact.objects.update(kind=kind, name="out.bin")
    assert tag in shown(page, job)


def test_seeds_of_a_workflow_are_told(
    page: Client, student: User, workshop: Workshop, agent: Agent, sketch: Callable[..., str]
) -> None:
    quote = orders.quote(student, workshop, sketch(seed=4242).encode())
    job = orders.place(student, quote.pk)
    taken(agent).succeed()
    text = shown(page, job)
    assert '<dd class="mono">4242</dd>' in text
    assert "v1-5-pruned-emaonly.safetensors" in text
    body = page.get(f"/jobs/{job.pk}/workflow.json")
    assert body.json()["3"]["inputs"]["seed"] == 4242
    assert body["Content-Disposition"].startswith("attachment")


def test_a_failure_says_what_happened_where_what_it_cost_and_what_would_work(
    page: Client, job: Job, agent: Agent
) -> None:
    taken(agent).fail(Cause.OUT_OF_MEMORY)
    text = shown(page, job)
    assert "It didn’t fit in the device’s memory" in text
    assert "It did not work." in text
    assert "12.38 credits returned." in text
    assert "You paid nothing: failed jobs are free." in text
    assert "needs less memory" in text
    assert "Out of memory" in text


def test_a_lost_agent_is_told_with_the_place_kept(page: Client, job: Job, agent: Agent) -> None:
    voice = taken(agent)
    voice.run()
    let_lease_expire(voice.attempt)
    advance(minutes=2)
    dispatch.reap()
    text = shown(page, job)
    assert "Retrying" in text
    assert "Lost contact with" in text
    assert "pay nothing for the lost time" in text


def test_a_job_handed_back_says_so(page: Client, job: Job, agent: Agent) -> None:
    taken(agent).finish(Outcome.HANDED_BACK)
    text = shown(page, job)
    assert "Requeued" in text
    assert "handed it back" in text


def test_cancelling_in_line_returns_all(page: Client, job: Job, student: User, workshop: Workshop) -> None:
    answer = page.post(f"/jobs/{job.pk}/cancel", follow=True)
    text = answer.content.decode()
    assert "Cancelled. 0.00 paid, 12.38 returned." in text
    assert receipt(text)["returned"] == 12_380
    assert balance_of(student, workshop).held_milli == 0


def test_cancelling_a_running_job_says_it_is_stopping(page: Client, job: Job, agent: Agent) -> None:
    run_for(agent, 10_000)
    text = page.post(f"/jobs/{job.pk}/cancel", follow=True).content.decode()
    assert "Stopping. At most 1.00 paid, at least 11.38 returned." in text
    assert "The device has been told" in text
    assert 'id="cancel-button"' not in text


def test_cancelling_what_ended_changes_nothing(page: Client, job: Job, agent: Agent) -> None:
    taken(agent).succeed(charged_ms=99_000)
    text = page.post(f"/jobs/{job.pk}/cancel", follow=True).content.decode()
    assert "It had ended before you cancelled. 9.90 paid" in text
    assert Job.objects.get().status == Status.SUCCEEDED


@pytest.mark.parametrize("phase", [Phase.LOADING, Phase.RUNNING, Phase.STORING])
def test_every_phase_renders_the_same_alone_as_in_the_page(
    page: Client, job: Job, agent: Agent, phase: Phase
) -> None:
    taken(agent).say(phase)
    assert 'aria-current="step"' in shown(page, job)


def test_an_unchanged_job_is_not_sent_again(page: Client, job: Job, agent: Agent) -> None:
    etag = page.get(f"/jobs/{job.pk}/_fragment")["ETag"]
    asked = {"If-None-Match": etag}
    assert page.get(f"/jobs/{job.pk}/_fragment", headers=asked).status_code == 304
    taken(agent).succeed()
    assert page.get(f"/jobs/{job.pk}/_fragment", headers=asked).status_code == 200


def test_pricing_a_job_again_leads_to_a_new_price(page: Client, job: Job, agent: Agent) -> None:
    taken(agent).fail(Cause.INFRASTRUCTURE)
    answer = page.post(f"/jobs/{job.pk}/again", follow=True)
    assert "Run for up to 12.38 credits" in answer.content.decode()


@pytest.mark.parametrize("address", ["", "/_fragment", "/workflow.json", "/cancel", "/again"])
def test_a_strangers_job_is_answered_as_none(
    page: Client, workshop: Workshop, agent: Agent, address: str
) -> None:
    theirs = a_job(a_student(workshop), workshop)
    send = page.post if address in ("/cancel", "/again") else page.get
    foreign, none = send(f"/jobs/{theirs.pk}{address}"), send(f"/jobs/{uuid.uuid4()}{address}")
    assert foreign.status_code == none.status_code == 404
    assert without_token(foreign) == without_token(none)
    assert Job.objects.get(pk=theirs.pk).status == Status.QUEUED


def test_an_instructor_sees_a_students_job_and_whose_it_is(
    client: Client, workshop: Workshop, job: Job, student: User
) -> None:
    client.force_login(a_member(workshop, Enrolment.Role.INSTRUCTOR))
    assert f"ordered by {student.name}" in shown(client, job)
    assert str(job.pk) in client.get("/jobs").content.decode()


def test_the_list_pages_by_number(page: Client, student: User, workshop: Workshop, agent: Agent) -> None:
    jobs = [a_job(student, workshop) for _ in range(31)]
    first = page.get("/jobs").content.decode()
    assert f'href="?before={jobs[1].number}"' in first
    second = page.get(f"/jobs?before={jobs[1].number}").content.decode()
    assert str(jobs[0].pk) in second
    assert str(jobs[1].pk) not in second


def test_a_job_page_asks_few_questions(
    page: Client, job: Job, agent: Agent, django_assert_max_num_queries: Callable, settings: Any
) -> None:
    settings.ETA_CACHE_SECONDS = 1  # as the site runs
    with django_assert_max_num_queries(20):
        page.get(f"/jobs/{job.pk}")
    taken(agent).succeed()
    with django_assert_max_num_queries(12):
        page.get(f"/jobs/{job.pk}")
