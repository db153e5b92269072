"""What the market page and its API show: the line, what it costs, the GPUs and the class's clock.

Students see each other under aliases and nothing of what the others make. Reads only; live views and a fresh
page ask the same function, so they show the same.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import clock, sessions
from accounts.aliases import aliases_of
from accounts.models import AuditRow, ClassSession, User, Workshop
from accounts.sessions import State
from jobs.models import Attempt, Job, Status
from marketplace.fleet import registry as fleet
from marketplace.fleet.models import Agent
from marketplace.market import eta
from marketplace.market.models import Lease
from marketplace.market.policies import registry as policies

ROWS_SHOWN = 100
OWN_WITH_TIMES = 5
HISTORY = timedelta(hours=1)
BUCKET_SECONDS = 300
MOST_STARTS = 2000
NOTICES_FOR = timedelta(hours=12)
NOTICES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Row:
    """A job in line. `title`, `number` and `job_id` only for its owner; `who` is "" then."""

    place: int | None  # None: held back by its owner's cap
    who: str
    mine: bool
    gpu_seconds: float
    bid: int
    unpaid: bool
    demo: bool
    title: str = ""
    number: int | None = None
    job_id: UUID | None = None
    starts_in: tuple[float, float] | None = None  # seconds, from and to


@dataclass(frozen=True, slots=True)
class Clearing:
    """The mean multiple of the base price paid by jobs that started within five minutes from `at` on."""

    at: datetime
    multiple: float


@dataclass(frozen=True, slots=True)
class Gpu:
    """An agent with its GPU. `state`: running, ready, warming, paused, draining, lost."""

    name: str
    device: str
    vram_used_bytes: int
    vram_total_bytes: int
    models: tuple[str, ...]
    state: str
    reason: str
    who: str  # alias of whose job runs; "" for none
    mine: bool
    demo: bool
    simulated: bool


@dataclass(frozen=True, slots=True)
class Clock:
    """The class's clock, for a picture: shares of the opening, 0 to 1."""

    title: str
    state: State
    since: datetime
    opens_at: datetime
    last_call_at: datetime
    closes_at: datetime
    now: datetime  # to the minute
    now_share: float
    last_call_share: float
    grace_ends_at: datetime


@dataclass(frozen=True, slots=True)
class Notice:
    """What staff or the clock did lately, in a sentence."""

    at: datetime
    words: str


@dataclass(frozen=True, slots=True)
class Market:
    """All of it. Prices in milli-credits a reference second."""

    policy: str
    policy_label: str
    rule: str
    bids_count: bool
    bids_frozen: bool
    paused_reason: str
    alias: str
    clock: Clock | None
    in_line: int
    held_back: int
    mine_in_line: int
    rows: list[Row]
    rows_left_out: int
    base_milli_per_gpu_second: int
    multiple_now: float
    multiple_last_hour: float
    clearing: list[Clearing]
    gpus: list[Gpu]
    gpus_running: int
    vram_total_bytes: int
    notices: list[Notice] = field(default_factory=list)

    @property
    def seconds_for_a_credit(self) -> float:
        """Reference GPU-seconds that one credit buys at what is being paid now."""
        return 1000 / (self.base_milli_per_gpu_second * self.multiple_now)


def view(user: User, workshop: Workshop) -> Market:
    """The market of the workshop as this member sees it."""
    now = clock.now()
    names = aliases_of(workshop.pk)
    session = sessions.current(workshop.pk, now)
    rows, in_line = _rows(user, workshop, names)
    held = Job.objects.filter(workshop=workshop, status=Status.HELD_BACK)
    mine_held = list(held.filter(student=user).order_by("queue_key_ms", "pk")[:ROWS_SHOWN])
    clearing = _clearing(workshop, now)
    gpus = _gpus(user, workshop, names)
    multiples = [one.multiple for one in clearing]
    policy = policies.named(workshop.policy)
    shown = len(rows)
    return Market(
        policy=workshop.policy,
        policy_label=workshop.get_policy_display(),
        rule=_(policy.rule),
        bids_count=policy.uses_bids,
        bids_frozen=workshop.bids_frozen,
        paused_reason=workshop.paused_reason,
        alias=names.get(user.pk, ""),
        clock=_clock(session, now) if session is not None else None,
        in_line=in_line,
        held_back=held.count(),
        mine_in_line=Job.objects.filter(workshop=workshop, status=Status.QUEUED, student=user).count(),
        rows=[*rows, *(_row(job, None, user, names) for job in mine_held)],
        rows_left_out=in_line - shown,
        base_milli_per_gpu_second=base_price(workshop, session),
        multiple_now=multiples[-1] if multiples else 1.0,
        multiple_last_hour=sum(multiples) / len(multiples) if multiples else 1.0,
        clearing=clearing,
        gpus=gpus,
        gpus_running=sum(gpu.state == "running" for gpu in gpus),
        vram_total_bytes=sum(gpu.vram_total_bytes for gpu in gpus if gpu.state not in ("lost", "new")),
        notices=notices(workshop, now),
    )


def base_price(workshop: Workshop, session: ClassSession | None) -> int:
    """What a reference second costs in new quotes, in milli-credits."""
    own = session.base_milli_per_gpu_second if session is not None else None
    return own if own is not None else workshop.milli_per_gpu_second


def notices(workshop: Workshop, now: datetime) -> list[Notice]:
    """What students should know was done lately, newest first."""
    known = AuditRow.objects.filter(
        workshop=workshop, action__in=_NOTICES, at__gt=now - NOTICES_FOR
    ).select_related("actor")
    found = []
    for row in known.order_by("-pk")[:NOTICES_SHOWN]:
        words = str(_NOTICES[row.action])
        if row.actor is not None:
            words = _("%(what)s by %(name)s") % {"what": words, "name": row.actor.name}
        found.append(Notice(row.at, f"{words}: {row.reason}" if row.reason else f"{words}."))
    return found


# --- the line ------------------------------------------------------------------------------------


def _rows(user: User, workshop: Workshop, names: dict[int, str]) -> tuple[list[Row], int]:
    """The head of the line and, behind it, the user's own jobs; and how many stand in line."""
    line = Job.objects.filter(workshop=workshop, status=Status.QUEUED)
    line = line.order_by("queue_class", "queue_key_ms", "pk").defer("payload", "nodes", "inputs")
    head = list(line[:ROWS_SHOWN])
    in_line = len(head) if len(head) < ROWS_SHOWN else line.count()
    placed = list(enumerate(head, start=1))
    if in_line > ROWS_SHOWN:
        shown = {job.pk for job in head}
        behind = [job for job in line.filter(student=user)[:ROWS_SHOWN] if job.pk not in shown]
        placed += [(eta.position(job)[0], job) for job in behind]
    timed = [job.pk for _place, job in placed if job.student_id == user.pk][:OWN_WITH_TIMES]
    return [_row(job, place, user, names, timed=job.pk in timed) for place, job in placed], in_line


def _row(job: Job, place: int | None, user: User, names: dict[int, str], *, timed: bool = False) -> Row:
    mine = job.student_id == user.pk
    return Row(
        place=place,
        who="" if mine else names.get(job.student_id, _("A guest")),
        mine=mine,
        gpu_seconds=job.gpu_seconds,
        bid=job.bid,
        unpaid=job.unpaid,
        demo=job.demo,
        title=job.title if mine else "",
        number=job.number if mine else None,
        job_id=job.pk if mine else None,
        starts_in=eta.interval(job) if timed else None,
    )


def _clearing(workshop: Workshop, now: datetime) -> list[Clearing]:
    started = Attempt.objects.filter(
        job__workshop=workshop, job__clearing_multiplier__isnull=False, created_at__gt=now - HISTORY
    )
    sums: dict[datetime, list[float]] = {}
    recent = started.order_by("-created_at").values_list("created_at", "job__clearing_multiplier")
    for at, multiple in recent[:MOST_STARTS]:
        bucket = datetime.fromtimestamp(int(at.timestamp()) // BUCKET_SECONDS * BUCKET_SECONDS, UTC)
        sums.setdefault(bucket, []).append(multiple or 1.0)
    return [Clearing(at, sum(found) / len(found)) for at, found in sorted(sums.items())]


# --- GPUs and the clock --------------------------------------------------------------------------


def _gpus(user: User, workshop: Workshop, names: dict[int, str]) -> list[Gpu]:
    agents = fleet.serving(workshop).exclude(state=Agent.State.NEW).select_related("device")
    running: dict[str, Job] = {}
    leases = Lease.objects.filter(ended_at=None, agent__in=agents).select_related("attempt__job")
    for lease in leases.order_by("attempt_id"):
        job = lease.attempt.job
        if job.status in (Status.LOADING, Status.RUNNING, Status.STORING):
            running.setdefault(lease.agent_id, job)
    return [
        _gpu(agent, running.get(agent.pk), user, workshop, names)
        for agent in agents.order_by("-speed_factor", "-device__vram_total_bytes", "name")
    ]


def _gpu(agent: Agent, job: Job | None, user: User, workshop: Workshop, names: dict[int, str]) -> Gpu:
    device = getattr(agent, "device", None)
    total = device.vram_total_bytes if device else 0
    stranger = job is not None and job.workshop_id != workshop.pk
    return Gpu(
        name=agent.name,
        device=device.name if device else "",
        vram_used_bytes=total - device.vram_free_bytes if device else 0,
        vram_total_bytes=total,
        models=tuple(_plain(name) for name in agent.resident_models),
        state=_gpu_state(agent, device is not None and device.lost, job),
        reason=agent.pause_reason,
        who="" if job is None else _("Another class") if stranger else names.get(job.student_id, ""),
        mine=job is not None and job.student_id == user.pk,
        demo=job is not None and job.demo,
        simulated=agent.simulated,
    )


def _gpu_state(agent: Agent, device_lost: bool, job: Job | None) -> str:
    if agent.state == Agent.State.LOST or device_lost:
        return "lost"
    if job is not None:
        return "running"
    if agent.drain_requested or agent.state == Agent.State.DRAINING:
        return "draining"
    if agent.pause_reason:
        return "paused"
    return "ready" if agent.comfyui_ready else "warming"


def _plain(model: str) -> str:
    """A model's file as people call it: "ltx-2-19b-dev.safetensors" → "ltx-2-19b-dev"."""
    name = model.replace("\\", "/").rpartition("/")[2]
    stem, _dot, kind = name.rpartition(".")
    return stem if stem and kind in ("safetensors", "ckpt", "gguf", "pt", "pth", "sft") else name


def _clock(session: ClassSession, now: datetime) -> Clock:
    whole = session.closes_at - session.opens_at
    minute = now.replace(second=0, microsecond=0)
    return Clock(
        title=session.title or session.workshop.name,
        state=State(session.state),
        since=session.state_since,
        opens_at=session.opens_at,
        last_call_at=sessions.last_call_at(session),
        closes_at=session.closes_at,
        now=minute,
        now_share=max(0.0, min(1.0, (minute - session.opens_at) / whole)),
        last_call_share=(sessions.last_call_at(session) - session.opens_at) / whole,
        grace_ends_at=sessions.grace_ends_at(session),
    )


_NOTICES = {
    "lever.pause": gettext_lazy("Paused"),
    "lever.resume": gettext_lazy("Resumed"),
    "lever.template_pause": gettext_lazy("Template paused"),
    "lever.template_resume": gettext_lazy("Template resumed"),
    "lever.freeze_bids": gettext_lazy("Bids frozen"),
    "lever.thaw_bids": gettext_lazy("Bids free again"),
    "agent.drain": gettext_lazy("GPU drained"),
    "agent.pause": gettext_lazy("GPU paused"),
    "session.open": gettext_lazy("Class opened"),
    "session.break": gettext_lazy("Break begun"),
    "session.last_call": gettext_lazy("Last call"),
    "session.closing": gettext_lazy("Class closing"),
    "session.closed": gettext_lazy("Class closed"),
    "session.end_moved": gettext_lazy("End of class moved"),
    "session.base_price": gettext_lazy("Base price set"),
    "policy.switch": gettext_lazy("The way of queueing changed"),
}
