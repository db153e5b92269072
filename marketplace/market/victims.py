"""Whom a demo may displace. PURE: no clock, no rows.

A job that an agent took ahead but has not begun is recalled; when no fitting GPU would free within twenty
seconds the one student's job that loses least is stopped, never one past 80 %.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marketplace.market import matching

FREE_WITHIN_SECONDS = 20.0
NEVER_PAST = 0.8  # of its run
ON_GPU = ("loading", "running")


@dataclass(frozen=True, slots=True)
class Held:
    """One attempt an agent holds, as the choice needs it. Times are seconds of this agent."""

    attempt_id: int
    token: int
    agent_id: str
    agent_name: str
    job_id: uuid.UUID
    status: str
    acknowledged: bool
    leaving: bool  # asked to stop before, by whomever
    movable: bool  # a student's of the demo's workshop
    elapsed_seconds: float
    remaining_seconds: float
    loading_seconds: float

    @property
    def recallable(self) -> bool:
        return self.movable and not self.leaving and self.status == "assigned"

    @property
    def stoppable(self) -> bool:
        whole = self.elapsed_seconds + self.remaining_seconds
        early = whole <= 0 or self.elapsed_seconds < NEVER_PAST * whole
        return self.movable and not self.leaving and self.status in ON_GPU and early

    @property
    def loss_seconds(self) -> float:
        return self.elapsed_seconds + self.loading_seconds


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for one demo: the agent it will get, whom to recall and whom to stop there."""

    agent_id: str
    recall: Held | None = None
    stop: Held | None = None


def choose(held: Mapping[str, Sequence[Held]], waited_seconds: float, *, may_stop: bool) -> Plan | None:
    """The plan for a demo that has waited so long, from what its fitting agents hold; None without agents.
    Touches no row. `may_stop`: it has stopped nobody yet."""
    if not held:
        return None
    soon = [agent for agent, hands in held.items() if _frees(hands)]
    if soon:
        return Plan(min(soon, key=lambda agent: _free_in(held[agent])))
    best = min(held, key=lambda agent: (_free_in(held[agent]), agent))
    if waited_seconds + _free_in(held[best]) > FREE_WITHIN_SECONDS and may_stop:
        victims = [
            hand for hands in held.values() if _only_movable(hands) for hand in hands if hand.stoppable
        ]
        if victims:
            victim = min(victims, key=lambda hand: (hand.loss_seconds, hand.attempt_id))
            # Or the one behind it would begin in its place.
            behind = next((hand for hand in held[victim.agent_id] if hand.recallable), None)
            return Plan(victim.agent_id, recall=behind, stop=victim)
    return Plan(best, recall=next((hand for hand in held[best] if hand.recallable), None))


def _frees(hands: Sequence[Held]) -> bool:
    """Whether the agent takes the demo without anybody being asked (again)."""
    staying = [hand for hand in hands if not hand.leaving and hand.status != "storing"]
    if len(staying) == 1 and staying[0].status in ON_GPU:
        return staying[0].remaining_seconds * 1000 <= matching.PREFETCH_MS
    return not staying


def _free_in(hands: Sequence[Held]) -> float:
    """Seconds until the demo could begin once those are recalled that can be."""
    return sum(
        max(0.0, hand.remaining_seconds)
        for hand in hands
        if not hand.leaving and not hand.recallable and hand.status != "storing"
    )


def _only_movable(hands: Sequence[Held]) -> bool:
    """Whether stopping one of them would free the GPU: nobody else's job stands behind it."""
    return all(hand.movable or hand.leaving or hand.status == "storing" for hand in hands)
