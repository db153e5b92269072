"""A class for `simulation`: who sends what, when, and what it is worth to them. PURE.

Loads S1 and S2 have the shape that part 2 of the market's research note gives: closed loops of 1 to 4 jobs
and about 3 minutes of thought, half-hour blocks that begin with 10 minutes of lecture, images of 5 to 30 and
videos of 60 to 600 reference seconds (6 % of jobs), weights of 8 to 42 GB, three urgencies, spot losses.

Where the note gives a range or a sum only, its own figures for S2 fix the rest: an image of 0.9 and a video
of 12 credits at 0.11 a second are 8.2 and 109 seconds, the middle of their kinds; that price also gives the
sum of the four GPUs' speeds; a demand of 2.6 times what they can do gives how often 1, 2, 3 or 4 jobs are
sent; the share of useful time that first come, first served leaves (0.82 without affinity, 0.81 here) gives
the number of models. With that its row (wait p50 548 s, p95 885 s, 583 jobs an hour) comes out at 541 s,
954 s and 568. That a picture or clip is worth 1, and an urgency counts for all that is sent together, is
assumed.
"""

import math
import random
from dataclasses import dataclass, replace
from enum import StrEnum

GIB = 2**30
HALF_LIFE_SECONDS = {1: 600.0, 2: 180.0, 4: 60.0}  # of a job's worth, by the bid that says so honestly
URGENT = 4
BATCH = 8  # pictures in a giant batch: what an hour's allowance just covers
SPAM = 20


@dataclass(frozen=True, slots=True)
class Model:
    """A model file. `share`: of its kind of jobs."""

    name: str
    weight_gb: float
    vram_gib: float
    share: float
    video: bool = False


MODELS = (
    Model("small", 8, 11, 0.45),
    Model("middle", 18, 20, 0.30),
    Model("large", 24, 30, 0.25),
    Model("clip", 36, 40, 0.3, video=True),
    Model("film", 42, 44, 0.7, video=True),
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A class on a fleet. `gpus`: (GiB, speed against the reference GPU)."""

    students: int
    gpus: tuple[tuple[int, float], ...]
    hours: float = 3.0
    allowance_milli: int = 10_000
    credits: bool = True  # otherwise nobody pays, and nobody stands in the unpaid lane
    spot_gpu_hours: float | None = None  # a GPU is lost every so many of them; None: never
    spot_away_seconds: float = 120.0
    demos_per_block: int = 2
    max_in_flight: int = 3
    max_in_flight_unpaid: int = 1
    max_waiting: int = 50
    block_seconds: float = 1800.0
    lecture_seconds: float = 600.0
    burst_seconds: float = 60.0  # within which all begin who waited for the lecture's end
    think_seconds: tuple[float, float] = (90.0, 270.0)
    jobs_weights: tuple[float, ...] = (0.70, 0.18, 0.08, 0.04)  # of sending 1, 2, 3, 4
    video_share: float = 0.06  # of jobs
    bid_weights: tuple[tuple[int, float], ...] = ((1, 0.7), (2, 0.2), (4, 0.1))
    error_sigma: float = 0.13  # of the logarithm of actual over estimated seconds
    cold_seconds_per_gb: float = 2.0
    warm_seconds_per_gb: float = 0.35
    handover_seconds: float = 1.0  # from the pick to the GPU, unless it was taken before the last one ended
    cheater_share: float = 0.05
    models: tuple[Model, ...] = MODELS

    @property
    def seconds(self) -> float:
        return self.hours * 3600


S1 = Scenario(students=20, gpus=((141, 1.0),))
S2 = Scenario(students=100, gpus=((24, 0.36), (80, 0.9), (80, 0.9), (141, 1.0)), spot_gpu_hours=2.5)


class Cheat(StrEnum):
    """How a twentieth of the class tries to gain."""

    SPAM = "spam"  # twenty jobs at once
    FLOOD = "flood"  # the same, and again before they are done
    GIANT_BATCH = "giant_batch"  # all pictures in one job
    ALWAYS_4X = "always_4x"
    ALWAYS_1X = "always_1x"
    SHADING = "shading"  # half the premium
    HOARDING = "hoarding"  # spend nothing before the last hour, then all of it
    NEVER_PAY = "never_pay"


@dataclass(frozen=True, slots=True)
class Wish:
    """A job as its owner means it. `worth`: at no wait; halves every half-life of `urgency`."""

    model: Model
    estimate_seconds: float
    actual_seconds: float
    urgency: int
    worth: float = 1.0


class Student:
    """One student's taste and dice, the same whatever the market does."""

    def __init__(self, scenario: Scenario, number: int, seed: int, cheat: Cheat | None) -> None:
        self.number = number
        self.cheat = cheat
        self._scenario = scenario
        self._chance = random.Random(seed * 1_000_003 + number)
        self._images = [model for model in scenario.models if not model.video]
        self._videos = [model for model in scenario.models if model.video]

    def next_wishes(self) -> list[Wish]:
        """What the student sends next: one video, or some pictures of one model."""
        chance, scenario = self._chance, self._scenario
        count = chance.choices(range(1, len(scenario.jobs_weights) + 1), scenario.jobs_weights)[0]
        bids, weights = zip(*scenario.bid_weights, strict=True)
        urgency = chance.choices(bids, weights)[0]
        if chance.random() < self._video_actions():
            return [self._wish(self._videos, urgency, 109.0, 0.6, (60.0, 600.0))]
        if self.cheat in (Cheat.SPAM, Cheat.FLOOD, Cheat.GIANT_BATCH):
            count = BATCH if self.cheat is Cheat.GIANT_BATCH else SPAM
        model = [chance.choices(self._images, [model.share for model in self._images])[0]]
        wishes = [self._wish(model, urgency, 8.2, 0.5, (5.0, 30.0)) for _ in range(count)]
        return [_as_one(wishes)] if self.cheat is Cheat.GIANT_BATCH else wishes

    def bid(self, wish: Wish, hours_left: float) -> int:
        """The most the student says to pay; 0: nothing, though there may be credits."""
        match self.cheat:
            case Cheat.ALWAYS_4X:
                return 4
            case Cheat.ALWAYS_1X:
                return 1
            case Cheat.SHADING:
                return max(1, wish.urgency // 2)
            case Cheat.HOARDING:
                return 0 if hours_left > 1 else 4
            case Cheat.NEVER_PAY:
                return 0
            case _:
                return wish.urgency

    @property
    def waits(self) -> bool:
        """Whether the student sends nothing new before all of the last is done."""
        return self.cheat is not Cheat.FLOOD

    def ready_at(self, now: float) -> float:
        """When the student sends something again, after a thought and not during a lecture."""
        scenario = self._scenario
        at = now + self._chance.uniform(*scenario.think_seconds)
        into_block = at % scenario.block_seconds
        if into_block >= scenario.lecture_seconds:
            return at
        return at - into_block + scenario.lecture_seconds + self._chance.uniform(0, scenario.burst_seconds)

    def _video_actions(self) -> float:
        """The share of turns that send a video, so that it is `video_share` of jobs."""
        weights = self._scenario.jobs_weights
        pictures = sum(count * weight for count, weight in enumerate(weights, 1)) / sum(weights)
        share = self._scenario.video_share
        return share * pictures / (1 - share + share * pictures)

    def _wish(
        self, models: list[Model], urgency: int, middle: float, sigma: float, bounds: tuple[float, float]
    ) -> Wish:
        chance = self._chance
        model = chance.choices(models, [model.share for model in models])[0]
        estimate = middle * math.exp(chance.gauss(0, sigma))
        estimate = max(bounds[0], min(bounds[1], estimate))
        actual = estimate * math.exp(chance.gauss(0, self._scenario.error_sigma))
        return Wish(model, estimate, actual, urgency)


def _as_one(wishes: list[Wish]) -> Wish:
    return replace(
        wishes[0],
        estimate_seconds=sum(wish.estimate_seconds for wish in wishes),
        actual_seconds=sum(wish.actual_seconds for wish in wishes),
        worth=sum(wish.worth for wish in wishes),
    )
