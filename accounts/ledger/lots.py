"""Which credits burn first, and what is left of each lot. Pure.

Credits burn in one fixed order: lots with an expiry date of their own first, the soonest first; then those
that last to the course's end: allowance, credits moved from a pool, gifts and the rest; the older first.
Credits on hold are the ones at the front of that order, since they go first. Credits that expired while on
hold are given an hour of grace and go before all others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

# A far end of time that Python's datetime can hold, unlike the database's infinity.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
ALLOWANCE_RANK, GIVEN_RANK = 10, 50
GRACE = timedelta(hours=1)


@dataclass(slots=True)
class Portion:
    """A lot while it is being reckoned with: what is `left` of it, and how much of that is on hold."""

    id: int | None
    origin: UUID | None
    rank: int
    expires_at: datetime | None
    in_grace: bool
    left: int
    created_at: datetime
    held: int = 0

    @property
    def free(self) -> int:
        return self.left - self.held

    def ends_at(self, course_end: datetime | None) -> datetime:
        """When it expires: by its own date, or with the course if it was there before the course's end."""
        own = self.expires_at or NEVER
        if course_end is None or self.in_grace or self.created_at >= course_end:
            return own
        return min(own, course_end)


def in_burn_order(portions: Iterable[Portion]) -> list[Portion]:
    """Front first. A lot without an id is newer than any with one."""
    return sorted(
        portions, key=lambda p: (not p.in_grace, p.expires_at or NEVER, p.rank, p.id is None, p.id or 0)
    )


def burn(portions: Sequence[Portion], total: int, held: int) -> list[Portion]:
    """Set what is left of each, for `total` = available + held: what is missing has burnt from the front.

    Returns them in burn order. Caps (in `left` before) that cover less than `total` are a broken ledger.
    """
    ordered = in_burn_order(portions)
    still = total
    for portion in reversed(ordered):
        portion.left = min(portion.left, still)
        still -= portion.left
    if still:
        raise LotsTooSmall(f"lots cover {total - still} of {total}")
    ahead = held
    for portion in ordered:
        portion.held = min(portion.left, ahead)
        ahead -= portion.held
    return ordered


def take_free(portions: Sequence[Portion], amount: int) -> list[tuple[Portion, int]]:
    """Take `amount` of free credits from the front; what came from which. The caller knows it is there."""
    taken = []
    for portion in in_burn_order(portions):
        part = min(portion.free, amount)
        if part > 0:
            portion.left -= part
            amount -= part
            taken.append((portion, part))
    return taken


class LotsTooSmall(AssertionError):
    """An account's lots cover less than its balance: the audit's finding, met while posting."""
