"""Random walks over the lifecycle, compared with a plain model of it."""

from typing import Any

import pytest
from django.db import transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gpu_agent.protocol.phases import Phase
from jobs import lifecycle
from jobs.lifecycle import Fence, Moved
from jobs.models import ON_AGENT, TERMINAL, WAITING, Attempt, FailureCause, Job, JobEvent, Status
from tests.factories.jobs import a_quote, a_student, a_workshop, an_agent

ORDER = (Status.ASSIGNED, Status.LOADING, Status.RUNNING, Status.STORING)
REACHED = {Phase.LOADING: Status.LOADING, Phase.RUNNING: Status.RUNNING, Phase.STORING: Status.STORING}


class JobWalk(RuleBasedStateMachine):
    """Any door, at any time, with the newest or an older attempt's fence."""

    def __init__(self) -> None:
        super().__init__()
        self.scope = transaction.atomic()
        self.scope.__enter__()
        self.fences: list[Fence] = []
        self.lost: set[int] = set()
        self.asked = False
        self.events = 1

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.scope.__exit__(None, None, None)

    @initialize(held_back=st.booleans())
    def a_job_is_placed(self, held_back: bool) -> None:
        workshop = a_workshop()
        an_agent(state="lost")
        student = a_student(workshop)
        quote = a_quote(student, workshop)
        self.job = Job(workshop=workshop, student=student, title=quote.title, job_type="timed", payload={})
        lifecycle.create(self.job, held_back=held_back)
        self.status = Status.HELD_BACK if held_back else Status.QUEUED

    @rule()
    def admit(self) -> None:
        self.expect(lifecycle.admit(self.job.pk), self.status is Status.HELD_BACK, Status.QUEUED)

    @rule()
    def assign(self) -> None:
        token = len(self.fences) + 1
        choices = [lifecycle.Choice(self.job.pk, 1.5, "The next in line bid 2×.")]
        begun = lifecycle.assign(choices, agent_id="a", agent_name="A", token=token, simulated=False)
        self.expect(begun and begun.moved, self.status is Status.QUEUED, Status.ASSIGNED)
        if begun:
            self.fences.append(Fence(begun.attempt_id, token))

    @rule(phase=st.sampled_from(list(Phase)), old=st.booleans())
    def reach(self, phase: Phase, old: bool) -> None:
        fence = self.fence(old)
        if fence is None:
            return
        target = REACHED.get(phase)
        may = target in ORDER and self.status in ORDER and ORDER.index(self.status) < ORDER.index(target)
        self.expect(lifecycle.reach(self.job.pk, fence, phase), may and self.is_newest(fence), target)

    @rule(old=st.booleans(), counted=st.booleans())
    def requeue(self, old: bool, counted: bool) -> None:
        fence = self.fence(old)
        if fence is None:
            return
        moved = lifecycle.requeue(self.job.pk, fence, reason="lost", counted=counted)
        self.expect(moved, self.status in ON_AGENT and self.is_newest(fence), Status.QUEUED)
        if moved:
            assert lifecycle.end_attempt(fence, lifecycle.LOST)
            self.lost.add(fence.attempt_id)

    @rule(old=st.booleans())
    def rejoin(self, old: bool) -> None:
        fence = self.fence(old)
        if fence is None:
            return
        may = self.status is Status.QUEUED and self.is_newest(fence) and fence.attempt_id in self.lost
        moved = lifecycle.rejoin(self.job.pk, fence, agent_name="A", counted=True)
        self.expect(moved, may, Status.ASSIGNED)
        if moved:
            self.lost.discard(fence.attempt_id)

    @rule(old=st.booleans(), ending=st.sampled_from(["succeed", "fail", "cancel"]))
    def end(self, old: bool, ending: str) -> None:
        fence = self.fence(old)
        if fence is None:
            return
        doors: dict[str, tuple[dict[str, Any], Status]] = {
            "succeed": ({"captured_milli": 0, "charged_ms": 0, "simulated": False}, Status.SUCCEEDED),
            "fail": ({"cause": FailureCause.TIMED_OUT, "message": "too long"}, Status.FAILED),
        }
        if ending == "cancel":
            moved = lifecycle.cancel(self.job.pk, fence=fence, captured_milli=0)
            self.expect(moved, self.alive and self.is_newest(fence), Status.CANCELLED)
            return
        extra, target = doors[ending]
        moved = getattr(lifecycle, ending)(self.job.pk, fence, **extra)
        self.expect(moved, self.status in ON_AGENT and self.is_newest(fence), target)

    @rule()
    def ask_to_stop(self) -> None:
        moved = lifecycle.request_cancel(self.job.pk, capture_milli=None, by="owner")
        self.expect(moved, self.status in ON_AGENT and not self.asked, self.status)
        self.asked = self.asked or moved is not None

    @invariant()
    def the_row_is_what_the_model_says(self) -> None:
        if not hasattr(self, "job"):
            return
        self.job.refresh_from_db()
        assert self.job.status == self.status
        seqs = JobEvent.objects.filter(job=self.job).order_by("seq").values_list("seq", flat=True)
        assert list(seqs) == list(range(1, self.events + 1))
        living = Attempt.objects.filter(job=self.job, outcome="").count()
        assert living == 1 if self.status in ON_AGENT else True

    @property
    def alive(self) -> bool:
        return self.status in (*WAITING, *ON_AGENT)

    def fence(self, old: bool) -> Fence | None:
        return (self.fences[0] if old else self.fences[-1]) if self.fences else None

    def is_newest(self, fence: Fence) -> bool:
        return fence == self.fences[-1]

    def expect(self, moved: Moved | None, may: bool, target: Status | None) -> None:
        assert (moved is not None) == may, f"from {self.status} to {target}"
        if moved is not None:
            assert target is not None
            self.status = target
            self.events += 1
            assert self.status in TERMINAL or self.alive


JobWalk.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


@pytest.mark.django_db
class TestWalks(JobWalk.TestCase, TestCase):
    """Run by unittest, inside the database fixture."""
