"""The life of a job: which states follow which, and the only writer of status and queue columns.

Every door is one statement: an UPDATE filtered on the states it may leave (and, where an attempt reports, on
the newest attempt's fencing token) that also writes the event row. It returns what moved, or None when no row
did: then somebody else won, or the step doesn't follow from where the job stands.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, LiteralString

from django.db import connection, transaction
from django.db.models import F, Q
from psycopg import sql

from accounts.clock import MarketNow
from gpu_agent.protocol.phases import Outcome, Phase
from jobs.models import ON_AGENT, TERMINAL, WAITING, Attempt, FailureCause, Job, JobEvent, Status

LOST = "lost"  # outcome the site writes when a lease expired; agents report those of `Outcome`
INFRASTRUCTURE_TRIES = 3
LONGEST_REASON = 300
LONGEST_MESSAGE = 1000


@dataclass(frozen=True, slots=True)
class Transition:
    """One kind of step: from any of `sources` to `target`; None leaves the status as it is."""

    kind: str
    sources: tuple[Status, ...]
    target: Status | None


TRANSITIONS: Mapping[str, Transition] = {
    step.kind: step
    for step in (
        Transition("admitted", (Status.HELD_BACK,), Status.QUEUED),
        Transition("assigned", (Status.QUEUED,), Status.ASSIGNED),
        Transition("loading", (Status.ASSIGNED,), Status.LOADING),
        Transition("running", (Status.ASSIGNED, Status.LOADING), Status.RUNNING),
        Transition("storing", (Status.ASSIGNED, Status.LOADING, Status.RUNNING), Status.STORING),
        Transition("requeued", ON_AGENT, Status.QUEUED),
        Transition("rejoined", (Status.QUEUED,), Status.ASSIGNED),
        Transition("cancel_requested", ON_AGENT, None),
        Transition("moved", WAITING, None),
        Transition("rebid", WAITING, None),
        Transition("preempt_requested", ON_AGENT, None),
        Transition("made_room", (Status.QUEUED,), None),
        Transition("succeeded", ON_AGENT, Status.SUCCEEDED),
        Transition("failed", ON_AGENT, Status.FAILED),
        Transition("cancelled", (*WAITING, *ON_AGENT), Status.CANCELLED),
        Transition("bought", (Status.FAILED,), None),
    )
}

# What the agent calls a phase, as a step of the job. Before ComfyUI starts it, a job is just assigned.
STEP_OF_PHASE: Mapping[Phase, str] = {
    Phase.LOADING: "loading",
    Phase.RUNNING: "running",
    Phase.STORING: "storing",
}


@dataclass(frozen=True, slots=True)
class Moved:
    """A step that was taken: the event row's content and whom it concerns."""

    job_id: uuid.UUID
    student_id: int
    workshop_id: int
    seq: int
    kind: str
    status: Status
    data: dict[str, Any]
    attempt_count: int = 0


@dataclass(frozen=True, slots=True)
class Fence:
    """The step is only taken while this is the job's newest attempt, under this token."""

    attempt_id: int
    token: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A job that may be assigned, and what it would pay: a multiple of the base price, and why."""

    job_id: uuid.UUID | str
    multiplier: float = 1.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that was assigned, and its new attempt."""

    moved: Moved
    attempt_id: int


@dataclass(frozen=True, slots=True)
class _Change:
    """Columns a step writes besides the status."""

    values: Mapping[str, Any] = field(default_factory=dict)
    raised: tuple[str, ...] = ()  # by one
    lowered: tuple[str, ...] = ()  # by one, not below zero
    stamped: tuple[str, ...] = ()  # market_now() unless set


def create(job: Job, *, held_back: bool = False) -> Moved:
    """Insert an unsaved job with its first event, in the caller's transaction."""
    job.status = Status.HELD_BACK if held_back else Status.QUEUED
    job.event_seq = 1
    data = {"status": str(job.status), "ceiling_milli": job.ceiling_milli, "bid": job.bid}
    with transaction.atomic():
        job.save(force_insert=True)
        JobEvent.objects.create(job=job, seq=1, kind="placed", data=data)
    return Moved(job.pk, job.student_id, job.workshop_id, 1, "placed", Status(job.status), data)


def admit(
    job_id: uuid.UUID, *, place: tuple[int, int] | None = None, joined_at: datetime | None = None
) -> Moved | None:
    """A job held back by its owner's cap enters the line: at `place` (queue class, key in ms), having joined
    at `joined_at`; left out, it keeps what it was placed with."""
    values: dict[str, Any] = {"wait_reason": ""}
    if place is not None:
        values["queue_class"], values["queue_key_ms"] = place
    if joined_at is not None:
        values["joined_at"] = joined_at
    return _step("admitted", job_id, _Change(values))


def assign(
    choices: Sequence[Choice],
    *,
    agent_id: str,
    agent_name: str,
    token: int,
    simulated: bool,
    function: LiteralString = "jobs_assign",
    more: Sequence[Any] = (),
) -> Begun | None:
    """Begin an attempt of the first choice that still waits and that nobody else is taking; its first
    delivery is counted as sent now. One statement; None when no choice was left.

    `function`: one of the room above that calls jobs_assign and writes more with it, given `more` arguments.
    """
    told = {"agent": agent_name, "status": str(Status.ASSIGNED)}
    values: dict[str, Any] = {
        # As PostgreSQL writes arrays: quicker than the driver does, and there is nothing to quote in them.
        "ids": "{" + ",".join(str(choice.job_id) for choice in choices) + "}",
        "multipliers": "{" + ",".join(str(choice.multiplier) for choice in choices) + "}",
        "reasons": [choice.reason[:LONGEST_REASON] for choice in choices],
        "sources": [str(status) for status in TRANSITIONS["assigned"].sources],
        "data": json.dumps(told),
        "agent_id": agent_id,
        "agent_name": agent_name,
        "token": token,
        "simulated": simulated,
        **{f"more{number}": one for number, one in enumerate(more)},
    }
    with connection.cursor() as cursor:
        cursor.execute(_assign_query(function, len(more)), values)
        row = cursor.fetchone()
    if row is None:
        return None
    job_id, student_id, workshop_id, seq, attempt_count, attempt_id = row
    moved = Moved(
        job_id, student_id, workshop_id, seq, "assigned", Status.ASSIGNED, told, attempt_count=attempt_count
    )
    return Begun(moved, attempt_id)


def reach(job_id: uuid.UUID, fence: Fence, phase: Phase, charged_ms: int = 0) -> Moved | None:
    """The agent got to `phase`. Phases already passed, and those before ComfyUI starts, move nothing."""
    kind = STEP_OF_PHASE.get(phase)
    if kind is None:
        return None
    return _step(kind, job_id, _Change({"charged_ms": charged_ms}, stamped=("started_at",)), fence=fence)


def requeue(
    job_id: uuid.UUID,
    fence: Fence,
    *,
    reason: str,
    counted: bool = False,
    bounced: tuple[str, int] | None = None,
) -> Moved | None:
    """Back into the line, at its old place. `counted`: one of its infrastructure tries is gone. `bounced`:
    (agent, free bytes of its device) that it didn't fit, not to be offered there until more is free."""
    change = _Change(
        {"wait_reason": reason[:LONGEST_REASON], "agent_name": "", "charged_ms": 0, "started_at": None},
        raised=("infrastructure_tries",) if counted else (),
    )
    with transaction.atomic():
        if bounced is not None:
            _remember_bounce(job_id, *bounced)
        return _step("requeued", job_id, change, fence=fence, data={"reason": reason[:LONGEST_REASON]})


def move(
    job_id: uuid.UUID, *, by: str, reason: str, place: tuple[int, int] | None = None, agent_id: str = ""
) -> Moved | None:
    """Staff move a waiting job: to `place` (queue class, key in ms), or to one agent, which alone takes it
    then. `reason` is told to its owner as `by` gave it."""
    values: dict[str, Any] = {"wait_reason": reason[:LONGEST_REASON], "pinned_agent_id": agent_id}
    if place is not None:
        values["queue_class"], values["queue_key_ms"] = place
    return _step("moved", job_id, _Change(values), data={"by": by, "reason": reason[:LONGEST_REASON]})


def rebid(
    job_id: uuid.UUID,
    *,
    bid: int,
    place: tuple[int, int],
    hold_key: uuid.UUID | None,
    held_milli: int,
    by: str,
    reason: str = "",
) -> Moved | None:
    """A waiting job's bid changes, with its place and the hold that the caller has adjusted. `by`: owner, or
    policy when the class changed its mode; `reason` is told to its owner."""
    values: dict[str, Any] = {"bid": bid, "hold_key": hold_key, "held_milli": held_milli}
    values["queue_class"], values["queue_key_ms"] = place
    data = {"bid": bid, "held_milli": held_milli, "by": by, "reason": reason[:LONGEST_REASON]}
    return _step("rebid", job_id, _Change(values), data=data)


def rekey(places: Mapping[uuid.UUID, tuple[int, int]]) -> int:
    """Write new places (queue class, key in ms) of waiting jobs, as when the class changes its mode; how many
    there were. Of so many at once no events are written: pages read the line anew."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_job j SET queue_class = p.class, queue_key_ms = p.key"
            " FROM unnest(%s::uuid[], %s::smallint[], %s::bigint[]) AS p (id, class, key)"
            " WHERE j.id = p.id AND j.status = ANY(%s)",
            [
                list(places),
                [queue_class for queue_class, _key in places.values()],
                [key_ms for _class, key_ms in places.values()],
                [str(status) for status in WAITING],
            ],
        )
        return int(cursor.rowcount)


def request_preempt(job_id: uuid.UUID, fence: Fence, *, reason: str) -> Moved | None:
    """The agent is asked to give the job back; it requeues when the agent did."""
    data = {"reason": reason[:LONGEST_REASON]}
    return _step("preempt_requested", job_id, _Change(), fence=fence, data=data)


def made_room(job_id: uuid.UUID, *, attempt_id: int, stopped: bool) -> Moved | None:
    """For this waiting job another's attempt was asked to go: `stopped` while it ran, else before it had
    begun."""
    return _step("made_room", job_id, _Change(), data={"attempt": attempt_id, "stopped": stopped})


def rejoin(job_id: uuid.UUID, fence: Fence, *, agent_name: str, counted: bool) -> Moved | None:
    """An agent given up for lost comes back with its attempt before another took the job; `counted`: the
    loss had cost an infrastructure try, which is given back."""
    change = _Change(
        {"agent_name": agent_name, "wait_reason": ""},
        lowered=("infrastructure_tries",) if counted else (),
    )
    with transaction.atomic():
        # The job first: its fence refuses an older attempt, which must not live beside a newer one.
        moved = _step("rejoined", job_id, change, fence=fence, data={"agent": agent_name})
        lost = Attempt.objects.filter(pk=fence.attempt_id, token=fence.token, outcome=LOST)
        if moved is not None and not lost.update(outcome="", ended_at=None):
            transaction.set_rollback(True)
            return None
        return moved


def request_cancel(
    job_id: uuid.UUID, *, capture_milli: int | None, by: str, reason: str = ""
) -> Moved | None:
    """Ask the agent to stop; the status moves when it did. `capture_milli`: most that may be captured."""
    values = {"cancel_capture_milli": capture_milli, "message": reason[:LONGEST_MESSAGE]}
    change = _Change(values, stamped=("cancel_requested_at",))
    data = {"by": by, "reason": reason[:LONGEST_MESSAGE]}
    return _step("cancel_requested", job_id, change, data=data, only_if="cancel_requested_at IS NULL")


def succeed(
    job_id: uuid.UUID, fence: Fence, *, captured_milli: int, charged_ms: int, simulated: bool
) -> Moved | None:
    """Done: its artifacts are stored and its capture is posted in the same transaction."""
    change = _Change(
        {"captured_milli": captured_milli, "charged_ms": charged_ms, "simulated": simulated},
        stamped=("started_at", "finished_at"),
    )
    return _step("succeeded", job_id, change, fence=fence, data={"captured_milli": captured_milli})


def fail(
    job_id: uuid.UUID,
    fence: Fence,
    *,
    cause: FailureCause,
    message: str,
    node: str = "",
    charged_ms: int = 0,
    captured_milli: int = 0,
) -> Moved | None:
    """Ended for good without a result; nothing is captured but for a graph that keeps failing."""
    change = _Change(
        {
            "cause": str(cause),
            "message": message[:LONGEST_MESSAGE],
            "fault_node": node[:120],
            "captured_milli": captured_milli,
            "charged_ms": charged_ms,
        },
        stamped=("finished_at",),
    )
    data: dict[str, Any] = {"cause": str(cause), "message": message[:LONGEST_MESSAGE], "node": node[:120]}
    if captured_milli:
        data["captured_milli"] = captured_milli
    return _step("failed", job_id, change, fence=fence, data=data)


def buy(job_id: uuid.UUID, *, bought_milli: int) -> Moved | None:
    """What a failed job did produce was paid for afterwards, in the same transaction; at most once."""
    change = _Change({"bought_milli": bought_milli})
    data = {"bought_milli": bought_milli}
    return _step("bought", job_id, change, data=data, only_if="bought_milli IS NULL")


def cancel(
    job_id: uuid.UUID,
    *,
    captured_milli: int,
    charged_ms: int = 0,
    fence: Fence | None = None,
    by: str = "",
    reason: str = "",
) -> Moved | None:
    """Stopped on request. Without a fence: while it waits, or before its agent took it. `reason`: what its
    owner is told, unless that was said with the request."""
    values: dict[str, Any] = {"captured_milli": captured_milli, "charged_ms": charged_ms, "wait_reason": ""}
    if reason:
        values["message"] = reason[:LONGEST_MESSAGE]
    change = _Change(values, stamped=("cancel_requested_at", "finished_at"))
    data = {"captured_milli": captured_milli, "by": by, "reason": reason[:LONGEST_MESSAGE]}
    return _step("cancelled", job_id, change, fence=fence, data=data)


# --- attempts ------------------------------------------------------------------------------------


def end_attempt(
    fence: Fence, outcome: Outcome | str, *, cause: str = "", message: str = "", **columns: object
) -> bool:
    """Write a living attempt's end; False when it had ended, or the token isn't its."""
    columns.setdefault("ended_at", MarketNow())
    changed = Attempt.objects.filter(pk=fence.attempt_id, token=fence.token, outcome="").update(
        outcome=str(outcome), cause=cause, message=message[:LONGEST_MESSAGE], **columns
    )
    return changed == 1


def newest_attempt(job_id: uuid.UUID) -> Attempt | None:
    """The job's latest attempt, living or not."""
    return Attempt.objects.filter(job_id=job_id).order_by("-number").first()


def count_redeliveries(attempt_ids: Iterable[int]) -> None:
    """The attempts are about to be delivered once more."""
    Attempt.objects.filter(Q(pk__in=list(attempt_ids)), outcome="", acknowledged_at=None).update(
        deliveries=F("deliveries") + 1, delivered_at=MarketNow()
    )


# --- the statements -------------------------------------------------------------------------------

# The statements themselves are in the function `jobs_assign` (migration 0004), so that they are planned once.
_ASSIGN: LiteralString = """
SELECT job_id, student_id, workshop_id, seq, attempt_count, attempt_id FROM {function}(
  %(ids)s::uuid[], %(multipliers)s::float8[], %(reasons)s::text[], %(sources)s::text[], %(agent_id)s,
  %(agent_name)s, %(token)s, %(simulated)s, %(data)s::jsonb{more})
"""


@lru_cache
def _assign_query(function: LiteralString, more: int) -> str:
    """The call of the function with so many arguments more; put together once."""
    others = [part for number in range(more) for part in (sql.SQL(", "), sql.Placeholder(f"more{number}"))]
    query = sql.SQL(_ASSIGN).format(function=sql.Identifier(function), more=sql.Composed(others))
    return query.as_string(None)


def _remember_bounce(job_id: uuid.UUID, agent_id: str, free_bytes: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_job SET refused_agents = refused_agents || jsonb_build_object(%s::text, %s::bigint)"
            " WHERE id = %s",
            [agent_id, free_bytes, job_id],
        )


def _step(
    kind: str,
    job_id: uuid.UUID,
    change: _Change,
    *,
    fence: Fence | None = None,
    data: dict[str, Any] | None = None,
    only_if: LiteralString = "",
) -> Moved | None:
    transition = TRANSITIONS[kind]
    told = dict(data or {})
    if transition.target is not None:
        told["status"] = str(transition.target)
    parts, parameters = _assignments(transition, change)
    where, values = _condition(transition, job_id, fence, only_if)
    query = sql.SQL(
        "WITH moved AS (UPDATE jobs_job SET {set} WHERE {where}"
        " RETURNING id, student_id, workshop_id, event_seq, status, attempt_count),"
        " told AS (INSERT INTO jobs_jobevent (job_id, seq, kind, data, at)"
        " SELECT id, event_seq, %s, %s::jsonb, market_now() FROM moved)"
        " SELECT student_id, workshop_id, event_seq, status, attempt_count FROM moved"
    ).format(set=sql.SQL(", ").join(parts), where=where)
    with connection.cursor() as cursor:
        cursor.execute(query, [*parameters, *values, kind, json.dumps(told)])
        row = cursor.fetchone()
    if row is None:
        return None
    student_id, workshop_id, seq, status, attempt_count = row
    return Moved(job_id, student_id, workshop_id, seq, kind, Status(status), told, attempt_count)


def _assignments(transition: Transition, change: _Change) -> tuple[list[sql.Composable], list[Any]]:
    parts: list[sql.Composable] = [sql.SQL("event_seq = event_seq + 1")]
    parameters: list[Any] = []
    if transition.target is not None:
        parts.append(sql.SQL("status = %s"))
        parameters.append(str(transition.target))
    for column, value in change.values.items():
        parts.append(sql.SQL("{} = %s").format(sql.Identifier(column)))
        parameters.append(value)
    for columns, pattern in (
        (change.raised, "{0} = {0} + 1"),
        (change.lowered, "{0} = greatest({0} - 1, 0)"),
        (change.stamped, "{0} = coalesce({0}, market_now())"),
    ):
        parts += [sql.SQL(pattern).format(sql.Identifier(column)) for column in columns]
    return parts, parameters


def _condition(
    transition: Transition, job_id: uuid.UUID, fence: Fence | None, only_if: LiteralString
) -> tuple[sql.Composable, list[Any]]:
    parts: list[sql.Composable] = [sql.SQL("id = %s AND status = ANY(%s)")]
    values: list[Any] = [job_id, [str(status) for status in transition.sources]]
    if fence is not None:
        # Newest, not living: the same transaction may have ended the attempt just before.
        parts.append(
            sql.SQL(
                "EXISTS (SELECT FROM jobs_attempt a WHERE a.job_id = jobs_job.id AND a.id = %s"
                " AND a.token = %s AND a.number = jobs_job.attempt_count)"
            )
        )
        values += [fence.attempt_id, fence.token]
    if only_if:
        parts.append(sql.SQL(only_if))
    return sql.SQL(" AND ").join(parts), values


def is_terminal(status: str) -> bool:
    """Whether nothing follows."""
    return status in TERMINAL
