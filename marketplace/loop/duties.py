"""What the leading loop does, each duty at its own pace."""

from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from rq import Queue
from rq.serializers import JSONSerializer

from accounts.ledger import allowance
from gpu_agent.protocol.messages import HEARTBEAT_SECONDS
from jobs import chores
from marketplace.fleet import registry as fleet
from marketplace.loop import leader
from marketplace.loop.leader import Term
from marketplace.market import (
    class_clock,
    closing,
    dispatch,
    forecasts,
    ledger_check,
    levers,
    preemption,
    rate_versions,
    settlement,
)
from marketplace.market.delivery import quick_client

CHORE_SECONDS = 600
LOST_AFTER_SECONDS = 4 * HEARTBEAT_SECONDS


@dataclass(frozen=True, slots=True)
class Duty:
    """`work(term)` is called when `every_seconds` have passed; those at 0 on every wake."""

    name: str
    every_seconds: float
    work: Callable[[Term], object]


def dispatch_jobs(term: Term) -> int:
    """Give waiting jobs to agents with room."""
    return dispatch.dispatch(term.epoch)


def make_room(_term: Term) -> int:
    """Ask jobs to make room for demos that wait."""
    return preemption.make_room()


def unpin_lost(_term: Term) -> int:
    """Let any agent take jobs whose own is away."""
    return levers.unpin_lost()


def deliver_again(_term: Term) -> int:
    """Deliver what wasn't acknowledged: a lost or flushed Redis loses nothing."""
    return dispatch.redeliver()


def take_back(term: Term) -> int:
    """Requeue what silent agents hold, once their silence can't be ours."""
    return dispatch.reap() if leader.grace_is_over(term) else 0


def mark_lost_agents(_term: Term) -> int:
    """Agents unheard for long are shown as lost and get nothing."""
    return len(fleet.mark_lost(LOST_AFTER_SECONDS))


def rebuild_redis_users(_term: Term) -> int:
    """After Redis lost its memory agents could not sign in there."""
    return 0 if fleet.acl_intact() else fleet.rebuild_acl()


def announce_chores(_term: Term) -> int:
    """Hand due chores to the worker; those not done are due again later."""
    ids = chores.due()
    # Not django_rq's queue, whose client would wait out a Redis that is away.
    url = settings.RQ_QUEUES["default"]["URL"]
    queue = Queue("default", connection=quick_client(url), serializer=JSONSerializer)
    for chore_id in ids:
        queue.enqueue_call(
            chores.RUN_FUNCTION,
            args=[chore_id],
            description=f"chore {chore_id}",
            timeout=CHORE_SECONDS,
            ttl=CHORE_SECONDS,
            result_ttl=0,
            failure_ttl=CHORE_SECONDS,
        )
    return len(ids)


def credit_allowances(_term: Term) -> int:
    """Post the hourly allowances that fell due."""
    return allowance.sweep()


def turn_clocks(_term: Term) -> int:
    """Take the clocks of class sessions on, and wind up those that close."""
    return closing.tick()


def follow_fleet(_term: Term) -> int:
    """Fix base prices anew where the fleet has changed."""
    return class_clock.follow_fleet()


def learn_waits(_term: Term) -> int:
    """Note when new jobs should start, and learn from when they did."""
    return forecasts.tick()


def sweep_holds(_term: Term) -> int:
    """Release holds without a live job: the last guard."""
    return settlement.sweep_holds()


def want_proof(_term: Term) -> None:
    """Ask once a day for the proof of the ledger."""
    ledger_check.want_nightly()


def want_rates(_term: Term) -> int:
    """Ask for new rates once enough runs were learned from."""
    return rate_versions.want_proposals()


DUTIES = (
    Duty("dispatch", 0, dispatch_jobs),
    Duty("make_room", 0, make_room),
    Duty("unpin", 5, unpin_lost),
    Duty("redeliver", 1, deliver_again),
    Duty("reap", 1, take_back),
    Duty("chores", 1, announce_chores),
    Duty("allowance", 1, credit_allowances),
    Duty("lost_agents", 2, mark_lost_agents),
    Duty("redis_users", 2, rebuild_redis_users),
    Duty("clocks", 1, turn_clocks),
    Duty("base_prices", 30, follow_fleet),
    Duty("waits", 2, learn_waits),
    Duty("sweep_holds", 60, sweep_holds),
    Duty("ledger_proof", 600, want_proof),
    Duty("rates", 60, want_rates),
)
