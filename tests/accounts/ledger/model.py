"""What the ledger should do, told again in the plainest way: every lot keeps its own remainder, and time is
worked off at once. Slow, without a database, and written apart from the code it checks."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta

HOUR = timedelta(hours=1)


@dataclass(eq=False)
class ModelLot:
    left: int
    origin: uuid.UUID | None
    expires_at: datetime | None
    born_at: datetime
    grace: bool = False


@dataclass(eq=False)
class ModelAccount:
    """A member's account if it has `joined_at`, else a pool."""

    joined_at: datetime | None = None
    cap: int | None = None
    lots: list[ModelLot] = field(default_factory=list)
    holds: dict[uuid.UUID, int] = field(default_factory=dict)
    hours_given: set[tuple[int, int]] = field(default_factory=set)

    @property
    def total(self) -> int:
        return sum(lot.left for lot in self.lots)

    @property
    def held(self) -> int:
        return sum(self.holds.values())

    @property
    def available(self) -> int:
        return self.total - self.held

    def front_first(self) -> list[ModelLot]:
        """In grace, then by own date, then the allowance, then what lasts; the older first."""

        def place(lot: ModelLot) -> tuple[int, float, int, int]:
            dated = lot.expires_at.timestamp() if lot.expires_at else float("inf")
            return (0 if lot.grace else 1, dated, 0 if lot.origin is None else 1, self.lots.index(lot))

        return sorted(self.lots, key=place)

    def free_parts(self) -> list[tuple[ModelLot, int]]:
        """What of each lot is not on hold, front first: holds sit on the front."""
        parts, on_hold = [], self.held
        for lot in self.front_first():
            covered = min(lot.left, on_hold)
            on_hold -= covered
            parts.append((lot, lot.left - covered))
        return parts

    def spend(self, amount: int) -> None:
        """Credits that leave for good, from the front."""
        for lot in self.front_first():
            part = min(lot.left, amount)
            lot.left -= part
            amount -= part
        assert amount == 0

    def take_free(self, amount: int) -> list[tuple[int, datetime | None]]:
        """Free credits that move elsewhere, with their dates."""
        moved = []
        for lot, free in self.free_parts():
            part = min(free, amount)
            if part:
                lot.left -= part
                amount -= part
                moved.append((part, lot.expires_at))
        assert amount == 0
        return moved


@dataclass
class ModelClass:
    """The workshop: its terms, its sessions, its end."""

    terms: list[tuple[datetime, int, int | None]]
    ends_at: datetime | None
    sessions: dict[int, tuple[datetime, datetime]] = field(default_factory=dict)

    def settle(self, account: ModelAccount, now: datetime) -> None:
        """Everything due up to now, in time order; at the same moment credits end before an hour gives."""
        while True:
            events = [(self._end(account, lot), 0, lot) for lot in account.lots]
            events += [(at, 1, number) for number, at in self._hours(account)]
            due = [event for event in events if event[0] is not None and event[0] <= now]
            if not due:
                return
            at, _order, what = min(due, key=lambda event: event[:2])
            if isinstance(what, ModelLot):
                self._expire(account, what, at)
            else:
                self._give(account, what, at)

    def _end(self, account: ModelAccount, lot: ModelLot) -> datetime | None:
        ends = [] if lot.expires_at is None else [lot.expires_at]
        ends_with_course = account.joined_at is not None and not lot.grace
        if ends_with_course and self.ends_at is not None and lot.born_at < self.ends_at:
            ends.append(self.ends_at)
        return min(ends, default=None)

    def _hours(self, account: ModelAccount) -> list[tuple[tuple[int, int], datetime]]:
        hours = []
        for session, (opens_at, closes_at) in self.sessions.items() if account.joined_at else ():
            number = 0
            while opens_at + number * HOUR < closes_at:
                begins = opens_at + number * HOUR
                at = max(begins, account.joined_at)
                if begins + HOUR > account.joined_at and closes_at > account.joined_at:
                    open_then = self.ends_at is None or at < self.ends_at
                    if open_then and (session, number) not in account.hours_given:
                        hours.append(((session, number), at))
                number += 1
        return hours

    def _expire(self, account: ModelAccount, lot: ModelLot, at: datetime) -> None:
        free = dict(account.free_parts())[lot]
        lot.left -= free
        if lot.left:
            lot.grace, lot.expires_at = True, at + HOUR
        else:
            account.lots.remove(lot)

    def _give(self, account: ModelAccount, hour: tuple[int, int], at: datetime) -> None:
        account.hours_given.add(hour)
        before = [term for term in self.terms if term[0] < at] or self.terms[:1]
        _since, rate, cap = before[-1]
        amount = rate if cap is None else min(rate, max(0, cap - account.total))
        if amount:
            pot = next(
                (lot for lot in account.lots if lot.origin is None and not lot.grace and lot.left), None
            )
            if pot is not None:
                pot.left += amount
            else:
                account.lots.append(ModelLot(amount, None, None, at))
