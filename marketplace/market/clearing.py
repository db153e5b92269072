"""What a job pays when it is assigned: the clearing price, and in words why. Touches no row.

The stored key says where a job stands with everything that moved it: its bid, the fairness slider, a move by
staff. So the price is asked of a job of no length that would stand at the same place with the same bid.
"""

from collections.abc import Mapping, Sequence

from django.utils.translation import gettext

from jobs.lifecycle import Choice
from marketplace.market import matching
from marketplace.market.matching import Candidate
from marketplace.market.policies import registry
from marketplace.market.policies.base import JobFacts, StudentFacts

_NOBODY = StudentFacts()


def choice(
    ordered: Sequence[Candidate],
    winner: Candidate,
    resident_models: Sequence[str],
    modes: Mapping[int, str],
) -> Choice:
    """The winner with the multiple of the base price that it pays. `ordered`: those its GPU could take, best
    first; `modes`: the policy of each workshop."""
    policy = registry.named(modes[winner.workshop_id])
    if not policy.uses_bids or winner.bid == 1:
        return Choice(str(winner.job_id))
    key_ms = matching.runner_up_key_ms(ordered, winner, resident_models)
    _class, ahead_ms = policy.key(JobFacts(0, 0.0, winner.bid), _NOBODY, 0)
    standing = JobFacts(winner.queue_key_ms - ahead_ms, 0.0, winner.bid)
    # In hundredths, so that the receipt can be followed by hand; bids are whole, so it stays within.
    multiplier = round(policy.price(standing, key_ms), 2)
    return Choice(str(winner.job_id), multiplier, words(winner.bid, multiplier, alone=key_ms is None))


def is_settled(ordered: Sequence[Candidate], modes: Mapping[int, str]) -> bool:
    """Whether looking deeper into the line can't change what its first job pays."""
    first = ordered[0]
    bids = first.bid > 1 and registry.named(modes[first.workshop_id]).uses_bids
    return not bids or matching.runner_up(ordered, first) is not None


def words(bid: int, multiplier: float, *, alone: bool) -> str:
    """Why a job pays that multiple, for its receipt."""
    said = {"bid": bid, "multiple": f"{multiplier:g}"}
    if alone:
        return gettext("You bid %(bid)s×; nobody else’s job was waiting for this GPU: you pay 1×.") % said
    if multiplier == 1:
        return gettext("You bid %(bid)s×; you were ahead of the next in line without it: you pay 1×.") % said
    if multiplier == bid:
        return gettext("You bid %(bid)s×; it took all of it to stay ahead: you pay %(multiple)s×.") % said
    return (
        gettext(
            "You bid %(bid)s×; with %(multiple)s× you would have stood beside the next in line:"
            " you pay %(multiple)s×."
        )
        % said
    )
