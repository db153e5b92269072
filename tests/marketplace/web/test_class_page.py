"""The class page: every lever has a button, and only the workshop's staff have the page."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from accounts import clock as market_clock
from accounts.ledger import posting
from accounts.models import AuditRow, ClassSession, User, Workshop
from gpu_agent.protocol.manifest import ManifestProgress, ModelProgress, ModelState
from gpu_agent.protocol.messages import PROTOCOL_VERSION
from jobs.models import Job, Status, Template
from marketplace.fleet import manifest
from marketplace.fleet.models import Agent
from marketplace.market import closing
from tests.factories import people
from tests.factories.jobs import a_job, a_member, a_quote, a_student, a_workshop, taken

pytestmark = pytest.mark.django_db


@pytest.fixture
def teacher(workshop: Workshop) -> User:
    who = a_member(workshop, "assistant")
    who.display_name = "Ines"
    who.save()
    return who


@pytest.fixture
def board(client: Client, teacher: User) -> Client:
    client.force_login(teacher)
    return client


def shown(board: Client) -> str:
    whole = board.get("/class").content.decode()
    assert board.get("/class/_fragment").content.decode() in whole, "live must equal reload"
    return whole


def pull(board: Client, lever: str, **more: Any) -> str:
    """Press the button, if it is there; what the page then says."""
    assert f'value="{lever}"' in shown(board), "there is no such button"
    answer = board.post("/class/pull", {"pull": lever, "reason": "because", **more}, follow=True)
    return str(answer.content.decode())


def test_the_class_page_shows_names_and_what_they_wait_for(
    board: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    student.display_name = "Mira Okafor"
    student.save()
    running, waiting = a_job(student, workshop), a_job(student, workshop)
    taken(agent).run()
    text = shown(board)
    assert text.count("Mira Okafor") >= 2
    for job in (running, waiting):
        assert f"/jobs/{job.pk}" in text


def test_the_clock_is_turned_from_the_page(board: Client, workshop: Workshop, agent: Agent) -> None:
    session = people.session(workshop)
    closing.tick()
    assert "Break." in pull(board, f"clock:{session.pk}:break:open")
    assert ClassSession.objects.get().state == "break"
    stale = board.post("/class/pull", {"pull": f"clock:{session.pk}:closing:open"}, follow=True)
    assert "moved on meanwhile" in stale.content.decode()
    assert ClassSession.objects.get().state == "break"


def test_the_end_is_moved_and_a_session_planned_from_the_page(
    board: Client, workshop: Workshop, agent: Agent
) -> None:
    now = market_clock.now()
    times = {
        "opens_at": (now + timedelta(days=1)).isoformat(),
        "closes_at": (now + timedelta(days=1, hours=3)).isoformat(),
    }
    assert "opens by itself" in pull(board, "plan", **times)
    assert "planned for that time" in pull(board, "plan", **times)
    session = ClassSession.objects.get()
    later = session.closes_at + timedelta(hours=1)
    assert "was moved" in pull(board, f"end:{session.pk}", closes_at=later.isoformat())
    assert ClassSession.objects.get().closes_at == later
    assert "Give the time" in pull(board, f"end:{session.pk}", closes_at="soon")


def test_pausing_freezing_and_draining_have_buttons_there_and_back(
    board: Client, workshop: Workshop, agent: Agent
) -> None:
    pull(board, "pause")
    pull(board, "bids:on")
    pull(board, f"agent:{agent.pk}:on")
    found = Workshop.objects.get(pk=workshop.pk)
    assert (found.paused_reason, found.bids_frozen) == ("because", True)
    assert Agent.objects.get().pause_reason == "because"
    for lever in ("resume", "bids:off", f"agent:{agent.pk}:off", f"drain:{agent.pk}:on"):
        pull(board, lever)
    assert Agent.objects.get().drain_requested
    pull(board, f"drain:{agent.pk}:off")
    assert not Agent.objects.get().drain_requested
    assert AuditRow.objects.filter(workshop=workshop, reason="because").count() == 6


def test_the_way_of_queueing_and_its_fairness_are_chosen(
    board: Client, workshop: Workshop, agent: Agent
) -> None:
    assert "Jobs queue by: Market." in pull(board, "policy:market", phi="3")
    found = Workshop.objects.get(pk=workshop.pk)
    assert (found.policy, found.fairness_phi) == ("market", 3.0)
    pull(board, "policy:fifo")
    assert Workshop.objects.get(pk=workshop.pk).fairness_phi == 3.0
    pull(board, "policy:fair_share", phi="999")
    assert Workshop.objects.get(pk=workshop.pk).policy == "fifo"


def test_a_template_is_paused_and_goes_on(board: Client, workshop: Workshop, agent: Agent) -> None:
    template = Template.objects.create(
        workshop=workshop, slug="portrait", name="Portrait", payload={}, published_at=market_clock.now()
    )
    pull(board, f"template:{template.pk}:on")
    assert Template.objects.get().paused_reason == "because"
    pull(board, f"template:{template.pk}:off")
    assert Template.objects.get().paused_reason == ""


def test_a_job_is_moved_and_stopped_from_the_page(
    board: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    first, second = a_job(a_student(workshop), workshop), a_job(student, workshop)
    assert f"Job {second.number} is next." in pull(board, f"front:{second.pk}")
    assert f"goes to {agent.name}" in pull(board, f"to:{first.pk}", agent=agent.pk)
    assert "return to its owner" in pull(board, f"stop:{first.pk}")
    assert Job.objects.get(pk=first.pk).status == Status.CANCELLED
    assert Job.objects.get(pk=second.pk).wait_reason == "Moved to the front by Ines: because"


def test_a_demo_is_run_from_the_page_and_a_dry_purse_says_so(
    board: Client, teacher: User, workshop: Workshop, agent: Agent
) -> None:
    quote = a_quote(teacher, workshop)
    assert "credits short" in pull(board, f"demo:{quote.pk}")
    people.give(posting.purse_account(workshop), 50_000)
    assert "goes next" in pull(board, f"demo:{quote.pk}")
    assert Job.objects.get().demo


@pytest.mark.parametrize(
    "words",
    ["", "none", "clock", "clock:x:y:z", "front:nonsense", "stop:00000000-0000-0000-0000-000000000000"],
)
def test_a_button_that_is_not_there_does_nothing_and_says_so(
    board: Client, workshop: Workshop, agent: Agent, words: str
) -> None:
    answer = board.post("/class/pull", {"pull": words, "reason": "x"}, follow=True)
    assert answer.status_code == 200
    assert "data-toast" in answer.content.decode()
    assert not AuditRow.objects.filter(workshop=workshop).exists()


def test_without_a_reason_nothing_is_paused(board: Client, workshop: Workshop, agent: Agent) -> None:
    for lever in ("pause", f"agent:{agent.pk}:on", f"drain:{agent.pk}:on", "bids:on"):
        assert "Say why" in pull(board, lever, reason=" ")
    assert not AuditRow.objects.filter(workshop=workshop).exists()


def test_students_and_other_workshops_staff_have_no_class_page(
    page: Client, workshop: Workshop, agent: Agent, student: User
) -> None:
    job = a_job(student, workshop)
    for address in ("/class", "/class/_fragment"):
        assert page.get(address).status_code == 403
    assert page.post("/class/pull", {"pull": "pause", "reason": "x"}).status_code == 403
    assert 'href="/class"' not in page.get("/studio").content.decode()
    stranger = Client()
    stranger.force_login(a_member(a_workshop(), "instructor"))
    answer = stranger.post("/class/pull", {"pull": f"stop:{job.pk}", "reason": "x"}, follow=True)
    assert "not here any more" in answer.content.decode()
    assert Job.objects.get().status == Status.QUEUED


def test_a_gpus_card_tells_how_far_its_model_files_are(board: Client, agent: Agent) -> None:
    short = ModelProgress("vae", "ae.pt", ModelState.TRUNCATED, 500_000_000, 10**9, message="cut off")
    manifest.take_progress(agent, ManifestProgress(PROTOCOL_VERSION, True, (short,)))
    text = shown(board)
    assert "0 of 1 model files, 0.5 of 1.0 GB" in text
    assert "vae/ae.pt: truncated, cut off" in text
    whole = ModelProgress("vae", "ae.pt", ModelState.PRESENT, 10**9, 10**9)
    manifest.take_progress(agent, ManifestProgress(PROTOCOL_VERSION, True, (whole,)))
    assert "model files" not in shown(board)
