"""An instructor at the levers of a running house: one JSON command a line in, one JSON answer a line out.

Runs as a process of its own with the environment of the house's market loop, and calls the same doors as the
pages do. `python -m tests.soak.market.instructor`
"""

import contextlib
import json
import os
import sys
import uuid
from collections.abc import Callable
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
django.setup()

from accounts.ledger import audit, posting  # noqa: E402
from accounts.models import User, Workshop  # noqa: E402
from jobs.models import ON_AGENT, TERMINAL, Attempt, Job, Status  # noqa: E402
from marketplace.fleet.models import Agent  # noqa: E402
from marketplace.market import bidding, levers, settlement, switching  # noqa: E402
from marketplace.quickstart.demo_class import WORKSHOP_SLUG  # noqa: E402
from marketplace.quickstart.logins import INSTRUCTOR  # noqa: E402

Words = dict[str, Any]
PURSE_MILLI = 500_000


def main() -> None:
    """Until the input ends."""
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {"done": ACTS[command.pop("act")](**command)}
        except Exception as error:  # told to the class, which counts what was refused
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def _me() -> User:
    return User.objects.get(username=INSTRUCTOR)


def _workshop() -> Workshop:
    return Workshop.objects.get(slug=WORKSHOP_SLUG)


def _agents() -> list[Agent]:
    return list(Agent.objects.order_by("name"))


def switch(policy: str) -> str:
    switching.switch_policy(_workshop(), policy, _me())
    return policy


def pause(reason: str) -> str:
    levers.pause_workshop(_me(), _workshop(), reason)
    return reason


def freeze(frozen: bool) -> bool:
    levers.freeze_bids(_me(), _workshop(), frozen, "A look at the prices together")
    return frozen


def drain(number: int, wanted: bool) -> str:
    agent = _agents()[number]
    levers.drain_agent(_me(), _workshop(), agent, wanted, "Its host is looked after")
    return agent.name


def fund() -> int:
    """Credits for demos into the workshop's purse, in milli-credits."""
    purse = posting.purse_account(_workshop())
    posting.grant(account_id=purse, amount_milli=PURSE_MILLI, key=uuid.uuid4(), reference="gift")
    return PURSE_MILLI


def demo(quote: str) -> str:
    return str(levers.demo_now(_me(), quote, reason="Shown to the class").pk)


def front() -> int | None:
    """Move the last one in line to the front; its number, None when nobody waits."""
    job = Job.objects.filter(status=Status.QUEUED).order_by("-queue_class", "-queue_key_ms").first()
    return None if job is None else levers.move_to_front(_me(), job, "It is due today").number


def stop() -> int | None:
    """Stop somebody's job on an agent; its number, None when none is there."""
    job = Job.objects.filter(status__in=ON_AGENT, demo=False).first()
    if job is None:
        return None
    levers.stop_job(_me(), job, "It was sent twice")
    return job.number


def rebid(multiple: int) -> int | None:
    """The owner of the last paid job in line changes its bid; its number, None when no such job waits."""
    waiting = Job.objects.filter(status=Status.QUEUED, unpaid=False, demo=False).exclude(bid=multiple)
    job = waiting.select_related("student").order_by("-queue_key_ms").first()
    if job is None:
        return None
    with contextlib.suppress(bidding.BidTooLate):  # it was assigned meanwhile
        bidding.rebid(job, job.student, multiple)
    return job.number


def proof() -> Words:
    """What the audit finds, and how the jobs stand."""
    statuses: dict[str, int] = {}
    for status in Job.objects.values_list("status", flat=True):
        statuses[status] = statuses.get(status, 0) + 1
    return {
        "findings": [*map(str, audit.findings()), *map(str, settlement.job_findings())],
        "statuses": statuses,
        "open": Job.objects.exclude(status__in=TERMINAL).count(),
        "agents": sorted(set(Attempt.objects.values_list("agent_name", flat=True))),
        "preempted": Job.objects.filter(events__kind="preempt_requested").distinct().count(),
    }


ACTS: dict[str, Callable[..., Any]] = {
    act.__name__: act for act in (switch, pause, freeze, drain, fund, demo, front, stop, rebid, proof)
}

if __name__ == "__main__":
    main()
