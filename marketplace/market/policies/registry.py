"""The policies this installation has, by the name a workshop chooses."""

from marketplace.market.policies.base import Policy
from marketplace.market.policies.fifo import Fifo

POLICIES: dict[str, Policy] = {policy.name: policy for policy in (Fifo(),)}
DEFAULT = "fifo"


def named(name: str) -> Policy:
    """The policy of that name; a mode without a file of its own queues as first come, first served."""
    return POLICIES.get(name, POLICIES[DEFAULT])
