"""GPUs and jobs of `simulation`, on its virtual clock. PURE."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from marketplace.market import matching
from marketplace.market.matching import Abilities, Candidate, InHand
from marketplace.market.policies.base import JobFacts, Policy, StudentFacts
from marketplace.market.replay import Gpu, Residency, Waiting
from marketplace.market.simulated_class import GIB, Model, Scenario, Student, Wish
from marketplace.market.victims import Held

CEILING = 1.25  # of the quote, as in marketplace.pricing.quote


@dataclass(slots=True)
class Owner:
    """A student's purse and account of use. Seconds are of the reference GPU."""

    number: int
    student: Student | None  # None: the instructor
    available_milli: int = 0
    used_seconds: float = 0.0
    worth: float = 0.0
    jobs_done: int = 0
    open_jobs: int = 0  # of what was sent last
    in_flight: int = 0
    in_flight_unpaid: int = 0
    held_back: "list[SimJob]" = field(default_factory=list)


@dataclass(slots=True)
class SimJob:
    """One job from its sending to its end."""

    id: UUID
    owner: Owner
    wish: Wish
    sent_at: float
    bid: int
    unpaid: bool
    demo: bool
    ceiling_milli: int
    held_milli: int
    gpus: tuple[int, ...]
    loading_seconds: float
    entered_at: float = 0.0
    waiting: Waiting | None = None  # its place in line, kept when it is sent back
    multiplier: float = 1.0
    started_at: float | None = None  # its last try
    ended_at: float | None = None
    tries: int = 0
    replayed_seconds: float | None = None
    told: tuple[float, float] | None = None  # the interval its owner saw

    @property
    def level(self) -> int:
        """As `waits` counts: the bid, or 0."""
        return 0 if self.unpaid else self.bid

    @property
    def wait_seconds(self) -> float:
        return 0.0 if self.started_at is None else self.started_at - self.sent_at

    def enter(self, policy: Policy, student: StudentFacts, now: float) -> Waiting:
        """Its place in line, written once."""
        joined_ms = round(now * 1000)
        facts = JobFacts(joined_ms, self.wish.estimate_seconds, self.bid, self.demo, self.unpaid)
        queue_class, key_ms = policy.key(facts, student, joined_ms)
        model = self.wish.model
        candidate = Candidate(
            self.id, self.owner.number, model.name, queue_class, key_ms, bid=self.bid, unpaid=self.unpaid
        )
        self.entered_at = now
        self.waiting = Waiting(
            candidate, self.wish.estimate_seconds, self.loading_seconds, vram_bytes(model), self.gpus
        )
        return self.waiting


@dataclass(slots=True)
class Try:
    """A job on a GPU. Seconds of this GPU."""

    job: SimJob
    began_at: float
    loading_seconds: float
    run_seconds: float
    quoted_seconds: float  # both, as the line expects them

    @property
    def ends_at(self) -> float:
        return self.began_at + self.loading_seconds + self.run_seconds


class Card:
    """One GPU: what it runs, the job taken ahead, the models it holds."""

    def __init__(self, index: int, gib: int, speed: float) -> None:
        self.index = index
        self.name = f"gpu-{index}"
        self.speed = speed
        self.total_bytes = gib * GIB
        self.up = True
        self.term = 0  # rises when what it runs is taken from it
        self.running: Try | None = None
        self.following: SimJob | None = None
        self.useful_seconds = 0.0
        self.up_since = 0.0
        self.up_seconds = 0.0
        self.forget()

    def forget(self) -> None:
        """A fresh machine: nothing in its memory."""
        self.stock = Residency(self.total_bytes)
        self.seen: set[str] = set()

    def abilities(self) -> Abilities:
        return Abilities(self.total_bytes, any_model=True, resident_models=self.stock.models)

    def has_room(self, now: float) -> bool:
        return self.up and matching.has_room(self._in_hand(now))

    def begin(self, job: SimJob, now: float, scenario: Scenario) -> Try:
        """Load its model where needed, then run it."""
        loading = self.load_seconds(job.wish.model, scenario) / self.speed
        resident = self.stock.holds(job.wish.model.name)
        expected = 0.0 if resident else job.loading_seconds
        self.stock.use(job.wish.model.name, vram_bytes(job.wish.model))
        self.seen.add(job.wish.model.name)
        run = job.wish.actual_seconds / self.speed
        quoted = (expected + job.wish.estimate_seconds) / self.speed
        self.running = Try(job, now, loading, run, quoted)
        job.started_at = now
        return self.running

    def load_seconds(self, model: Model, scenario: Scenario) -> float:
        """Seconds to load a model on the reference machine: none when it is resident."""
        if self.stock.holds(model.name):
            return 0.0
        warm = model.name in self.seen
        return model.weight_gb * (scenario.warm_seconds_per_gb if warm else scenario.cold_seconds_per_gb)

    def as_replayed(self, now: float) -> Gpu:
        """The GPU as the line's replay sees it: by quoted times, not by what will happen."""
        free = 0.0 if self.up else math.inf
        if self.running is not None:
            free += max(0.0, self.running.began_at + self.running.quoted_seconds - now)
        if self.following is not None:
            free += self.following.wish.estimate_seconds / self.speed
        return Gpu(self.name, self.speed, self.abilities(), free, self.stock.sizes())

    def held(self, now: float) -> list[Held]:
        """What it has, as the choice of a demo's victim needs it."""
        hands = []
        if self.running is not None:
            one = self.running
            elapsed, remaining = now - one.began_at, one.ends_at - now
            hands.append(self._hand(one.job, "running", elapsed, remaining, one.loading_seconds))
        if self.following is not None:
            seconds = self.following.wish.estimate_seconds / self.speed
            hands.append(self._hand(self.following, "assigned", 0.0, seconds, 0.0))
        return hands

    def _hand(self, job: SimJob, status: str, elapsed: float, remaining: float, loading: float) -> Held:
        return Held(
            attempt_id=job.id.int,
            token=job.tries,
            agent_id=self.name,
            agent_name=self.name,
            job_id=job.id,
            status=status,
            acknowledged=True,
            leaving=False,
            movable=not job.demo,
            elapsed_seconds=elapsed,
            remaining_seconds=remaining,
            loading_seconds=loading,
        )

    def _in_hand(self, now: float) -> list[InHand]:
        hands = []
        if self.running is not None:
            hands.append(InHand("running", True, (self.running.ends_at - now) * 1000))
        if self.following is not None:
            hands.append(InHand("assigned", True, math.inf))
        return hands


def vram_bytes(model: Model) -> int:
    """What the model takes of a GPU's memory while it runs."""
    return round(model.vram_gib * GIB)


def fitting(cards: Sequence[Card], model: Model) -> tuple[int, ...]:
    """Places of the GPUs whose memory holds it."""
    return tuple(card.index for card in cards if card.total_bytes >= vram_bytes(model))
