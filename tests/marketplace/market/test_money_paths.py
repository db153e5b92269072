"""Whatever happens in whatever order, every job is settled exactly once and the ledger is proven."""

from contextlib import suppress

import pytest
from django.db import transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from accounts.ledger import audit
from gpu_agent.protocol.messages import Report
from gpu_agent.protocol.phases import Cause, Outcome, Phase
from jobs.models import ON_AGENT, TERMINAL, Attempt, Job
from marketplace.market import dispatch, orders, settlement, switching
from tests.factories.clock import advance
from tests.factories.jobs import (
    AgentVoice,
    a_member,
    a_quote,
    a_student,
    a_workshop,
    an_agent,
    balance_of,
    let_lease_expire,
)

CREDITS_MILLI = 3000
CHARGES = st.integers(-10, 9000)
BIDS = st.sampled_from([1, 2, 4])
pytestmark = pytest.mark.django_db


class ClassRoom(RuleBasedStateMachine):
    """Two agents, one student with credits for some jobs, an assistant; any door at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.scope = transaction.atomic()
        self.scope.__enter__()
        self.voices: list[AgentVoice] = []
        self.said: list[tuple[AgentVoice, Report]] = []

    def teardown(self) -> None:
        try:
            self.everything_ends()
        finally:
            transaction.set_rollback(True)
            self.scope.__exit__(None, None, None)

    @initialize()
    def class_begins(self) -> None:
        self.workshop = a_workshop(max_in_flight=2, policy="market", max_credits_in_flight_milli=1500)
        self.agents = [an_agent(), an_agent(gib=8)]
        self.student = a_student(self.workshop, CREDITS_MILLI)
        self.assistant = a_member(self.workshop, role="assistant")

    @rule(seconds=st.sampled_from([0.01, 1, 5]), gib=st.sampled_from([4, 20]), bid=BIDS, unpaid=st.booleans())
    def place(self, seconds: float, gib: int, bid: int, unpaid: bool) -> None:
        before = balance_of(self.student, self.workshop)
        quote = a_quote(self.student, self.workshop, seconds=seconds, gib=gib)
        advance(milliseconds=1)
        if bid > 1 and self.workshop.policy != "market":
            bid = 1
        wanted = 0 if unpaid else quote.ceiling_milli * bid
        if wanted > before.available_milli:
            with pytest.raises(orders.InsufficientCredits):
                orders.place(self.student, quote.pk, bid=bid)
        elif unpaid and (bid > 1 or quote.ceiling_milli <= before.available_milli):
            with pytest.raises((orders.BadBid, orders.HasCredits)):
                orders.place(self.student, quote.pk, bid=bid, unpaid=True)
        else:
            job = orders.place(self.student, quote.pk, bid=bid, unpaid=unpaid)
            after = balance_of(self.student, self.workshop)
            assert before.available_milli - after.available_milli == job.held_milli == wanted

    @rule(data=st.data(), bid=BIDS)
    def rebid(self, data: st.DataObject, bid: int) -> None:
        jobs = list(Job.objects.filter(workshop=self.workshop).order_by("number"))
        if jobs:
            with suppress(orders.BadBid, orders.BidTooLate, orders.InsufficientCredits):
                orders.rebid(data.draw(st.sampled_from(jobs)), self.student, bid)

    @rule(data=st.data())
    def buy(self, data: st.DataObject) -> None:
        jobs = list(Job.objects.filter(workshop=self.workshop).order_by("number"))
        if jobs:
            with suppress(orders.NothingToBuy, orders.InsufficientCredits):
                orders.buy_failed(data.draw(st.sampled_from(jobs)), self.student)

    @rule(policy=st.sampled_from(["market", "fair_share", "market"]))
    def switch(self, policy: str) -> None:
        switching.switch_policy(self.workshop, policy, self.assistant)

    @rule(which=st.integers(0, 1))
    def assign(self, which: int) -> None:
        agent = self.agents[which]
        assigned = dispatch.assign(agent.pk)
        if assigned is not None:
            attempt = Attempt.objects.get(pk=assigned.parcel.attempt_id)
            self.voices.append(AgentVoice(agent, attempt))

    @precondition(lambda self: self.voices)
    @rule(data=st.data(), phase=st.sampled_from([p for p in Phase if p is not Phase.FINISHED]), ms=CHARGES)
    def report(self, data: st.DataObject, phase: Phase, ms: int) -> None:
        voice = data.draw(st.sampled_from(self.voices))
        self.say(voice, voice.words(phase, charged_ms=ms, executing_ms=ms))

    @precondition(lambda self: self.voices)
    @rule(data=st.data(), outcome=st.sampled_from(list(Outcome)), ms=CHARGES, stored=st.booleans())
    def finish(self, data: st.DataObject, outcome: Outcome, ms: int, stored: bool) -> None:
        voice = data.draw(st.sampled_from(self.voices))
        refs = voice.stored(1)
        words = voice.words(Phase.FINISHED, outcome=outcome, charged_ms=ms, artifacts=refs)
        if stored:
            self.say(voice, words)
            return
        voice.attempt.artifacts.all().delete()
        try:
            settlement.report(voice.agent, words)
        except settlement.ArtifactMissing:
            assert outcome is Outcome.SUCCEEDED
            assert not Attempt.objects.get(pk=voice.attempt.pk).outcome, "nothing was applied"

    @precondition(lambda self: self.voices)
    @rule(data=st.data(), cause=st.sampled_from(list(Cause)))
    def fail(self, data: st.DataObject, cause: Cause) -> None:
        voice = data.draw(st.sampled_from(self.voices))
        voice.fail(cause)

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def say_again(self, data: st.DataObject) -> None:
        voice, words = data.draw(st.sampled_from(self.said))
        settlement.report(voice.agent, words)

    @precondition(lambda self: self.voices)
    @rule(data=st.data(), ms=CHARGES)
    def beat(self, data: st.DataObject, ms: int) -> None:
        voice = data.draw(st.sampled_from(self.voices))
        dispatch.renew(voice.agent, voice.beat(Phase.RUNNING, charged_ms=ms, remaining_ms=ms))

    @precondition(lambda self: self.voices)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        let_lease_expire(data.draw(st.sampled_from(self.voices)).attempt)
        dispatch.reap()

    @rule(data=st.data(), by_staff=st.booleans())
    def cancel(self, data: st.DataObject, by_staff: bool) -> None:
        jobs = list(Job.objects.filter(workshop=self.workshop).order_by("number"))
        if jobs:
            orders.cancel(data.draw(st.sampled_from(jobs)), by=self.assistant if by_staff else self.student)

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        advance(seconds=seconds)

    @rule()
    def keep_house(self) -> None:
        dispatch.admit_within_caps()
        settlement.sweep_holds()

    @invariant()
    def jobs_and_ledger_agree(self) -> None:
        if not hasattr(self, "workshop"):
            return
        assert (audit.findings(), settlement.job_findings()) == ([], [])
        jobs = list(Job.objects.filter(workshop=self.workshop))
        alive = [job for job in jobs if job.status not in TERMINAL]
        paid_milli = sum((job.captured_milli or 0) + (job.bought_milli or 0) for job in jobs)
        held_milli = sum(job.held_milli for job in alive)
        balance = balance_of(self.student, self.workshop)
        assert balance.held_milli == held_milli
        assert balance.available_milli == CREDITS_MILLI - held_milli - paid_milli
        assert all((job.captured_milli or 0) <= job.ceiling_milli * job.bid for job in jobs)
        assert all((job.clearing_multiplier or 1) <= job.bid for job in jobs if job.status in ON_AGENT)
        failed = [job for job in jobs if job.status == "failed"]
        assert all((job.captured_milli or 0) + (job.bought_milli or 0) <= job.held_milli for job in failed)

    def say(self, voice: AgentVoice, words: Report) -> None:
        self.said.append((voice, words))
        settlement.report(voice.agent, words)

    def everything_ends(self) -> None:
        """Agents go away for good and the student gives up: nothing stays on hold."""
        if not hasattr(self, "workshop"):
            return
        for job in Job.objects.filter(workshop=self.workshop).exclude(status__in=TERMINAL):
            orders.cancel(job, by=self.student)
        for attempt in Attempt.objects.filter(outcome=""):
            let_lease_expire(attempt)
        dispatch.reap()
        assert not Job.objects.filter(workshop=self.workshop, status__in=ON_AGENT).exists()
        assert not Job.objects.filter(workshop=self.workshop).exclude(status__in=TERMINAL).exists()
        assert balance_of(self.student, self.workshop).held_milli == 0
        self.jobs_and_ledger_agree()


ClassRoom.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


class TestClassRoom(ClassRoom.TestCase, TestCase):
    """Run by unittest, inside the database fixture."""
