"""The policies this installation has, by the name a workshop chooses."""

from marketplace.market.policies.base import Policy
from marketplace.market.policies.fair_share import FairShare
from marketplace.market.policies.fifo import Fifo
from marketplace.market.policies.market import Market
from marketplace.market.policies.priority import Priority
from marketplace.market.policies.round_robin import RoundRobin

POLICIES: dict[str, Policy] = {
    policy.name: policy for policy in (FairShare(), Market(), Fifo(), RoundRobin(), Priority())
}
DEFAULT = "fair_share"
OFFERED = ("fair_share", "market")  # the rest stands under Advanced


def named(name: str, phi: float = 0.0) -> Policy:
    """The policy of that name with the fairness slider at `phi` seconds a GPU-second; 0 leaves the mode at
    its own setting: 30 for fair turns, none for the market. Raises KeyError for a name there is none of."""
    if phi > 0 and name == FairShare.name:
        return FairShare(phi)
    if phi > 0 and name == Market.name:
        return Market(phi)
    return POLICIES[name]
