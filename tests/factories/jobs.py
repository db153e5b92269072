"""Workshops, students with credits, agents, quotes, jobs; and an agent's side of the talk, as messages."""

import itertools
import json
import uuid
from collections.abc import Sequence
from typing import Any

from django.db import connection

from accounts.clock import MarketNow
from accounts.ledger import balances, posting
from accounts.models import Enrolment, User, Workshop
from gpu_agent.protocol.messages import (
    PROTOCOL_VERSION,
    ArtifactRef,
    AttemptBeat,
    DeviceState,
    Fault,
    Heartbeat,
    Report,
    ReportAnswer,
)
from gpu_agent.protocol.phases import Cause, Outcome, Phase
from jobs.job_types import registry
from jobs.models import Artifact, Attempt, Job
from marketplace.fleet.models import Agent, Device, Inventory, NodeDefinitions
from marketplace.fleet.registry import timeline
from marketplace.market import dispatch, orders, settlement
from marketplace.market.models import Lease, Quote
from tests.factories.clock import advance

registry.register(["tests.fakes.timed_job.TimedJob"])
GIB = 1024**3
NODES = {"Sampler": {}, "Upscaler": {}}
_count = itertools.count(1)


def a_workshop(**columns: Any) -> Workshop:
    """A workshop in which a reference second costs 100 milli-credits."""
    number = next(_count)
    values = {"milli_per_gpu_second": 100, "max_in_flight": 50, **columns}
    return Workshop.objects.create(
        slug=f"workshop-{number}-{uuid.uuid4().hex[:6]}", name="Workshop", **values
    )


def a_member(workshop: Workshop, role: str = "student", credits_milli: int = 0) -> User:
    """A person enrolled in the workshop, with so many milli-credits."""
    user = User.objects.create_user(f"person-{next(_count)}-{uuid.uuid4().hex[:6]}")
    Enrolment.objects.create(user=user, workshop=workshop, role=role)
    if credits_milli:
        posting.grant(
            account_id=posting.member_account(user, workshop),
            amount_milli=credits_milli,
            key=uuid.uuid4(),
            reference="gift",
        )
    return user


def a_student(workshop: Workshop, credits_milli: int = 100_000) -> User:
    """A student with credits."""
    return a_member(workshop, credits_milli=credits_milli)


def an_agent(
    *,
    gib: float = 24,
    workshop: Workshop | None = None,
    models: Sequence[str] = (),
    nodes: Sequence[str] = tuple(NODES),
    any_model: bool = True,
    speed_factor: float = 1.0,
    **columns: Any,
) -> Agent:
    """An agent that is ready and has told what it can run."""
    token = uuid.uuid4().hex
    agent = Agent.objects.create(
        name=f"agent-{next(_count)}-{token[:6]}",
        workshop=workshop,
        token_prefix=token[:8],
        token_sha256=token * 2,
        speed_factor=speed_factor,
        **{"state": "ready", "comfyui_ready": True, "last_seen_at": MarketNow(), **columns},
    )
    size = int(gib * GIB)
    Device.objects.create(agent=agent, uuid=token, name="GPU", vram_total_bytes=size, vram_free_bytes=size)
    definitions, _ = NodeDefinitions.objects.get_or_create(
        pk=("-".join(sorted(nodes)) or "none")[:64], defaults={"body": {node: {} for node in nodes}}
    )
    Inventory.objects.create(
        agent=agent,
        node_definitions=definitions,
        model_files={"checkpoints": list(models)},
        any_model=any_model,
        job_types=["timed", "comfyui"],
    )
    return Agent.objects.select_related("device").get(pk=agent.pk)


def a_quote(student: User, workshop: Workshop, **work: Any) -> Quote:
    """A quote for `seconds`, `gib`, `model`, `node` (see tests.fakes.timed_job); needs an agent."""
    return orders.quote(student, workshop, json.dumps(work).encode(), job_type="timed")


def a_job(student: User, workshop: Workshop, **work: Any) -> Job:
    """A job placed in the line, after all before it."""
    if connection.in_atomic_block:
        advance(milliseconds=1)  # the market's clock stands still within a transaction
    return orders.place(student, a_quote(student, workshop, **work).pk)


def assigned_attempt(agent: Agent) -> Attempt:
    """The attempt the dispatcher gives the agent now."""
    assigned = dispatch.assign(agent.pk)
    assert assigned is not None, "the agent got nothing"
    return Attempt.objects.get(pk=assigned.parcel.attempt_id)


class AgentVoice:
    """Says what an agent would say of one attempt, numbering its reports."""

    def __init__(self, agent: Agent, attempt: Attempt) -> None:
        self.agent, self.attempt, self.sequence = agent, attempt, 0

    def words(self, phase: Phase, **rest: Any) -> Report:
        self.sequence += 1
        return Report(
            protocol=PROTOCOL_VERSION,
            timeline=timeline(),
            attempt=self.attempt.pk,
            token=self.attempt.token,
            sequence=self.sequence,
            phase=phase,
            **rest,
        )

    def say(self, phase: Phase, **rest: Any) -> ReportAnswer:
        return settlement.report(self.agent, self.words(phase, **rest))

    def take(self) -> ReportAnswer:
        return self.say(Phase.TAKEN)

    def run(self, charged_ms: int = 0) -> ReportAnswer:
        return self.say(Phase.RUNNING, charged_ms=charged_ms, executing_ms=charged_ms)

    def finish(self, outcome: Outcome, **rest: Any) -> ReportAnswer:
        return self.say(Phase.FINISHED, outcome=outcome, **rest)

    def succeed(self, charged_ms: int = 2000, artifacts: int = 1) -> ReportAnswer:
        refs = self.stored(artifacts)
        return self.finish(Outcome.SUCCEEDED, charged_ms=charged_ms, executing_ms=charged_ms, artifacts=refs)

    def fail(self, cause: Cause, **rest: Any) -> ReportAnswer:
        return self.finish(Outcome.FAILED, fault=Fault(cause, "It did not work."), **rest)

    def stored(self, count: int = 1) -> tuple[ArtifactRef, ...]:
        """References to outputs whose rows the upload door has written."""
        refs = tuple(
            ArtifactRef(uuid.uuid4().hex * 2, f"picture_{n}.png", "image/png", 10, "image", "1")
            for n in range(count)
        )
        Artifact.objects.bulk_create(
            Artifact(
                job_id=self.attempt.job_id,
                attempt=self.attempt,
                sha256=ref.sha256,
                name=ref.name,
                media_type=ref.media_type,
                kind=ref.kind,
                node=ref.node,
                size_bytes=ref.size_bytes,
            )
            for ref in refs
        )
        return refs

    def beat(self, phase: Phase = Phase.RUNNING, **rest: Any) -> Heartbeat:
        listed = AttemptBeat(self.attempt.pk, self.attempt.token, phase, **rest)
        return heartbeat(self.agent, listed)


def heartbeat(agent: Agent, *attempts: AttemptBeat, **rest: Any) -> Heartbeat:
    """A heartbeat of an agent whose ComfyUI is well."""
    size = agent.device.vram_total_bytes
    device = DeviceState("GPU-1", "GPU", size, size)
    return Heartbeat(
        protocol=PROTOCOL_VERSION,
        timeline=timeline(),
        attempts=attempts,
        devices=(device,),
        comfyui_ready=True,
        **rest,
    )


def taken(agent: Agent) -> AgentVoice:
    """The next attempt of the agent, acknowledged."""
    voice = AgentVoice(agent, assigned_attempt(agent))
    voice.take()
    return voice


def let_lease_expire(attempt: Attempt) -> None:
    """As if no heartbeat had come for a lease's length."""
    Lease.objects.filter(attempt=attempt).update(expires_at=MarketNow() - dispatch.LEASE)


def balance_of(student: User, workshop: Workshop) -> balances.Balance:
    """What the student has."""
    return balances.balance(posting.member_account(student, workshop))
