"""What happens when in one class of `simulation`, from the opening until the line is empty. PURE."""

import heapq
import math
import random
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any
from uuid import UUID

from marketplace.market import matching, replay, victims, waits
from marketplace.market.policies.base import JobFacts, Policy, StudentFacts
from marketplace.market.replay import Line
from marketplace.market.simulated_class import HALF_LIFE_SECONDS, Cheat, Scenario, Student, Wish
from marketplace.market.simulated_fleet import CEILING, Card, Owner, SimJob, Try, fitting
from marketplace.pricing.rates import base_rate

LOOK_SECONDS = 1.0  # how often the loop sees to a waiting demo
MOST_TRIES = 3
NOBODY = StudentFacts()
INSTRUCTOR = -1


class Run:
    """One class as it goes on: a heap of what happens when."""

    def __init__(
        self, scenario: Scenario, policy: Policy, seed: int, cheat: Cheat | None, forecasts: bool
    ) -> None:
        self.scenario, self.policy, self.forecasts = scenario, policy, forecasts
        self.now = 0.0
        self.cards = [Card(index, gib, speed) for index, (gib, speed) in enumerate(scenario.gpus)]
        self.in_order = sorted(self.cards, key=lambda card: -card.speed)
        first = cheaters(scenario)
        self.owners = [
            Owner(number, Student(scenario, number, seed, cheat if number < first else None))
            for number in range(scenario.students)
        ]
        self.instructor = Owner(INSTRUCTOR, None)
        self.jobs: list[SimJob] = []
        self.line = Line()
        self.known: dict[int, waits.Quantiles] = {}
        self.wasted_seconds = 0.0
        self._chance = random.Random(f"{seed} house")
        self._happens: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        speeds = [speed for _gib, speed in scenario.gpus]
        rate = base_rate(1, scenario.students, scenario.allowance_milli, speeds)
        self._milli_per_second = int(rate.milli_per_gpu_second)
        self.loads = {model.name: model.weight_gb * scenario.warm_seconds_per_gb for model in scenario.models}

    def go(self) -> None:
        """From the opening until the line is empty; after the class nothing new is sent."""
        self._plan()
        while self._happens:
            self._step()
        for card in self.cards:
            self._count_up(card)

    def _step(self) -> None:
        self.now, _count, what, told = heapq.heappop(self._happens)
        what(*told)

    @property
    def over(self) -> bool:
        return self.now >= self.scenario.seconds

    # --- what is known beforehand ----------------------------------------------------------------

    def _plan(self) -> None:
        scenario = self.scenario
        for hour in range(math.ceil(scenario.hours)):
            self._at(hour * 3600.0, self._allow)
        for owner in self.owners:
            assert owner.student is not None
            self._at(owner.student.ready_at(0.0), self._send, owner)
        for block in range(int(scenario.seconds // scenario.block_seconds)):
            for _demo in range(scenario.demos_per_block):
                into = self._chance.uniform(0.1, 0.9) * scenario.lecture_seconds
                self._at(block * scenario.block_seconds + into, self._demo)
        for card in self.cards:
            self._expect_loss(card)

    def _at(self, when: float, what: Callable[..., None], *told: Any) -> None:
        self._count += 1
        heapq.heappush(self._happens, (when, self._count, what, told))

    def _allow(self) -> None:
        for owner in self.owners:
            owner.available_milli += self.scenario.allowance_milli

    # --- sending ---------------------------------------------------------------------------------

    def _send(self, owner: Owner) -> None:
        if self.over or owner.student is None:
            return
        for wish in owner.student.next_wishes()[: self.scenario.max_waiting - owner.open_jobs]:
            job = self._order(owner, wish)
            owner.open_jobs += 1
            owner.held_back.append(job)
        if not owner.student.waits:
            self._at(owner.student.ready_at(self.now), self._send, owner)
        self._admit(owner)
        self._dispatch()

    def _order(self, owner: Owner, wish: Wish) -> SimJob:
        """The highest bid its owner means and can pay for, or none."""
        assert owner.student is not None
        ceiling = round(CEILING * wish.estimate_seconds * self._milli_per_second)
        hours_left = (self.scenario.seconds - self.now) / 3600
        wanted = owner.student.bid(wish, hours_left)
        if not self.policy.uses_bids:
            wanted = min(wanted, 1)
        if not self.scenario.credits:
            return self._new(owner, wish, 1, 0)
        bid = next((bid for bid in (4, 2, 1) if bid <= wanted and bid * ceiling <= owner.available_milli), 0)
        owner.available_milli -= bid * ceiling
        return self._new(owner, wish, max(1, bid), ceiling, unpaid=bid == 0)

    def _new(
        self, owner: Owner, wish: Wish, bid: int, ceiling: int, *, unpaid: bool = False, demo: bool = False
    ) -> SimJob:
        job = SimJob(
            id=UUID(int=len(self.jobs) + 1),
            owner=owner,
            wish=wish,
            sent_at=self.now,
            bid=bid,
            unpaid=unpaid,
            demo=demo,
            ceiling_milli=ceiling,
            held_milli=0 if unpaid or demo else bid * ceiling,
            gpus=fitting(self.cards, wish.model),
            loading_seconds=self.loads[wish.model.name],
        )
        self.jobs.append(job)
        return job

    def _admit(self, owner: Owner) -> None:
        """Those within their owner's caps enter the line."""
        for job in list(owner.held_back):
            if owner.in_flight >= self.scenario.max_in_flight:
                return
            if job.unpaid and owner.in_flight_unpaid >= self.scenario.max_in_flight_unpaid:
                continue
            self._enter(job)

    def _enter(self, job: SimJob) -> None:
        owner = job.owner
        if not job.demo:
            owner.held_back.remove(job)
        owner.in_flight += 1
        owner.in_flight_unpaid += job.unpaid
        waiting = job.enter(self.policy, self._facts(owner), self.now)
        self.line.add(waiting)
        if self.forecasts and not job.demo and job.sent_at == self.now:
            self._forecast(job)

    def _facts(self, owner: Owner) -> StudentFacts:
        if not self.policy.needs_student:
            return NOBODY
        used = [each.used_seconds for each in self.owners if each.used_seconds]
        mean = fmean(used) if used else 0.0
        return StudentFacts(owner.used_seconds, mean, owner.jobs_done, owner.in_flight - 1)

    # --- telling when ----------------------------------------------------------------------------

    def _forecast(self, job: SimJob) -> None:
        gpus = [card.as_replayed(self.now) for card in self.cards]
        start = replay.starts(gpus, self.line, until=job.id).get(job.id)
        if start is None:
            return
        job.replayed_seconds = start.seconds
        known = self.known.get(job.level, waits.FIRST_GUESS)
        job.told = waits.interval(known, start.seconds)

    def _learn(self, job: SimJob) -> None:
        if job.replayed_seconds is not None and job.tries == 1:
            known = self.known.get(job.level, waits.FIRST_GUESS)
            self.known[job.level] = waits.learned(known, job.replayed_seconds, job.wait_seconds)

    # --- the GPUs --------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        for card in self.in_order:
            while card.has_room(self.now) and self._give(card):
                pass

    def _give(self, card: Card) -> bool:
        """The best of the line, or rather than nothing the held-back job of whoever used least."""
        abilities = card.abilities()
        ordered = replay.best(self.line, card.index, abilities, replay.HEADS)
        if ordered:
            winner = self._by_waiting(ordered[0])
            self._price(winner, ordered, abilities.resident_models)
        else:
            held = [job for owner in self.owners for job in owner.held_back if card.index in job.gpus]
            if not held:
                return False
            winner = min(held, key=lambda job: (job.owner.used_seconds, job.sent_at, job.id))
            self._enter(winner)
        assert winner.waiting is not None
        self.line.remove(winner.waiting)
        if card.running is None and card.following is None:
            self._begin(card, winner, self.now + self.scenario.handover_seconds)
        else:
            card.following = winner
        return True

    def _by_waiting(self, waiting: replay.Waiting) -> SimJob:
        number = waiting.candidate.job_id
        assert isinstance(number, UUID)
        return self.jobs[number.int - 1]

    def _price(self, job: SimJob, ordered: Sequence[replay.Waiting], resident: Sequence[str]) -> None:
        """As `clearing` does: asked of a job of no length that would stand at the same place."""
        if not self.policy.uses_bids or job.bid == 1 or job.demo or job.unpaid:
            return
        candidates = [each.candidate for each in ordered]
        key_ms = matching.runner_up_key_ms(candidates, candidates[0], resident)
        _class, ahead_ms = self.policy.key(JobFacts(0, 0.0, job.bid), NOBODY, 0)
        standing = JobFacts(candidates[0].queue_key_ms - ahead_ms, 0.0, job.bid)
        job.multiplier = self.policy.price(standing, key_ms)

    def _begin(self, card: Card, job: SimJob, at: float) -> None:
        job.tries += 1
        attempt = card.begin(job, at, self.scenario)
        self._learn(job)
        term = card.term
        ahead = attempt.ends_at - matching.PREFETCH_MS / 1000
        if ahead > at:
            self._at(ahead, self._look_ahead, card, term, attempt)
        else:
            self._at(at, self._look_ahead, card, term, attempt)
        self._at(attempt.ends_at, self._end, card, term, attempt)

    def _look_ahead(self, card: Card, term: int, attempt: Try) -> None:
        if card.term == term and card.running is attempt:
            self._dispatch()

    def _end(self, card: Card, term: int, attempt: Try) -> None:
        if card.term != term or card.running is not attempt:
            return
        card.running = None
        job = attempt.job
        job.ended_at = self.now
        if not self.over:
            card.useful_seconds += attempt.run_seconds
        if not job.demo:
            self._settle(job)
        following, card.following = card.following, None
        if following is not None:
            self._begin(card, following, self.now)
        self._dispatch()

    def _settle(self, job: SimJob, *, failed: bool = False) -> None:
        owner = job.owner
        owner.in_flight -= 1
        owner.in_flight_unpaid -= job.unpaid
        owner.open_jobs -= 1
        owner.available_milli += job.held_milli
        if not failed:
            cost = min(job.wish.actual_seconds * self._milli_per_second, job.ceiling_milli)
            owner.available_milli -= min(job.held_milli, round(cost * job.multiplier))
            owner.used_seconds += job.wish.actual_seconds
            owner.jobs_done += 1
            half_life = HALF_LIFE_SECONDS[job.wish.urgency]
            owner.worth += job.wish.worth * 2 ** (-job.wait_seconds / half_life)
        if owner.open_jobs == 0 and owner.student is not None and owner.student.waits:
            self._at(owner.student.ready_at(self.now), self._send, owner)
        self._admit(owner)

    # --- losing GPUs, and demos ------------------------------------------------------------------

    def _expect_loss(self, card: Card) -> None:
        if self.scenario.spot_gpu_hours is not None:
            lives = self._chance.expovariate(1 / (3600 * self.scenario.spot_gpu_hours))
            self._at(self.now + lives, self._lose, card)

    def _lose(self, card: Card) -> None:
        if self.over:
            return
        self._count_up(card)
        card.up = False
        card.forget()
        self._take_back(card)
        self._at(self.now + self.scenario.spot_away_seconds, self._return, card)
        self._dispatch()

    def _return(self, card: Card) -> None:
        card.up, card.up_since = True, self.now
        self._expect_loss(card)
        self._dispatch()

    def _count_up(self, card: Card) -> None:
        if card.up:
            card.up_seconds += max(0.0, min(self.now, self.scenario.seconds) - card.up_since)

    def _take_back(self, card: Card) -> None:
        """What it has goes back to its place in line."""
        if card.following is not None:
            self._requeue(card.following)
            card.following = None
        if card.running is not None:
            attempt, card.running = card.running, None
            card.term += 1
            self.wasted_seconds += max(0.0, self.now - attempt.began_at)
            if attempt.job.tries >= MOST_TRIES:
                attempt.job.started_at = None
                self._settle(attempt.job, failed=True)
            else:
                self._requeue(attempt.job)

    def _requeue(self, job: SimJob) -> None:
        assert job.waiting is not None
        self.line.add(job.waiting)
        job.started_at = None

    def _demo(self) -> None:
        if self.over:
            return
        model = self._chance.choice([model for model in self.scenario.models if not model.video])
        seconds = self._chance.uniform(5.0, 30.0)
        job = self._new(self.instructor, Wish(model, seconds, seconds, 1), 1, 0, demo=True)
        self._enter(job)
        self._make_room(job)

    def _make_room(self, demo: SimJob, stopped: bool = False) -> None:
        """As the loop does each second, until a GPU has it."""
        self._dispatch()
        if demo.started_at is not None or any(card.following is demo for card in self.cards):
            return
        held = {card.name: card.held(self.now) for card in self.cards if card.up and card.index in demo.gpus}
        facts = JobFacts(round(demo.entered_at * 1000), demo.wish.estimate_seconds, demo=True)
        if self.policy.preempts(facts):
            plan = victims.choose(held, self.now - demo.sent_at, may_stop=not stopped)
            if plan is not None:
                stopped = self._follow(plan) or stopped
                self._dispatch()
        self._at(self.now + LOOK_SECONDS, self._make_room, demo, stopped)

    def _follow(self, plan: victims.Plan) -> bool:
        """Do what was planned; whether a running job was stopped for it."""
        card = next(card for card in self.cards if card.name == plan.agent_id)
        if plan.recall is not None and card.following is not None:
            self._requeue(card.following)
            card.following = None
        if plan.stop is None or card.running is None:
            return False
        victim = card.running.job
        victim.tries -= 1  # it costs its owner none
        self._take_back(card)
        return True


def cheaters(scenario: Scenario) -> int:
    """How many students cheat where any does."""
    return max(1, round(scenario.cheater_share * scenario.students))
