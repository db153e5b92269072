"""How one may run a job: at which bid, or without credits; and what its button must say of failures."""

from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.ledger import balances
from jobs.models import WAITING, Job
from marketplace.market import eta, failures, places
from marketplace.market.models import Quote
from marketplace.market.policies.base import BIDS

NAMES: dict[int, Promise] = {1: _("Standard"), 2: _("Fast"), 4: _("Express")}
SOON_SECONDS = 60  # who starts within a minute has nothing to gain from a bid


@dataclass(frozen=True, slots=True)
class Choice:
    """One bid: milli-credits it sets aside at most, and how many one is short of (0: none). `starts`: a range
    of seconds to wait, None: nobody can say."""

    multiple: int
    name: Promise
    ceiling_milli: int
    starts: tuple[float, float] | None
    short_milli: int


def read(text: str) -> int:
    """A bid as a form sends it; nothing is the base price. What is no number is refused with the ladder."""
    if not text:
        return 1
    return int(text) if text.isdecimal() and len(text) < 4 else 0


def context(quote: Quote, available_milli: int, chosen: int = 1) -> dict[str, Any]:
    """`bids` to choose from (none where nothing is to be gained), the `chosen` one, whether the job may run
    `unpaid` and when, and the `terms` of a failure."""
    short = available_milli < quote.ceiling_milli
    return {
        "bids": _choices(quote, available_milli),
        "chosen": chosen if chosen in BIDS else 1,
        "unpaid_starts": eta.before_click(quote, unpaid=True) if short else None,
        "may_run_unpaid": short,
        "terms": failures.failure_terms(quote),
    }


def of_job(job: Job) -> dict[str, Any] | None:
    """What its owner may do with a waiting job's bid; None when there is nothing to do."""
    counts = job.status in WAITING and not (job.unpaid or job.demo)
    if not counts or not places.policy_of(job.workshop).uses_bids:
        return None
    account_id = balances.find_account(job.student_id, job.workshop_id)
    available_milli = balances.balance(account_id).available_milli if account_id is not None else 0
    return {
        "frozen": job.workshop.bids_frozen,
        "name": NAMES.get(job.bid, f"{job.bid}×"),
        "others": [
            Choice(
                bid,
                NAMES[bid],
                job.ceiling_milli * bid,
                None,
                max(0, job.ceiling_milli * bid - job.held_milli - available_milli),
            )
            for bid in BIDS
            if bid != job.bid
        ],
    }


def _choices(quote: Quote, available_milli: int) -> list[Choice]:
    if not places.policy_of(quote.workshop).uses_bids or quote.workshop.bids_frozen:
        return []
    soon = eta.p50_start_seconds(quote)
    if soon is not None and soon <= SOON_SECONDS:
        return []
    waits = eta.before_click_by_bid(quote)
    return [
        Choice(
            bid,
            NAMES[bid],
            quote.ceiling_milli * bid,
            waits.get(bid),
            max(0, quote.ceiling_milli * bid - available_milli),
        )
        for bid in BIDS
    ]
