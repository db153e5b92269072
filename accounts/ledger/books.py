"""An account under its lock, with what is left of each lot: how every write that touches lots works."""

import uuid
from datetime import datetime
from typing import Any

from accounts.ledger import lots, statements
from accounts.ledger.models import LedgerAccount, Lot


class NoSuchAccount(LookupError):
    """No account of a member, pool or purse has that id."""


class Book:
    """A locked account. `portions` are its lots in burn order, tightened to what is left of them."""

    def __init__(self, account: LedgerAccount) -> None:
        self.account = account
        self.course_end: datetime | None = None
        if account.kind == LedgerAccount.Kind.MEMBER and account.workshop is not None:
            self.course_end = account.workshop.ends_at
        self._stored = {lot.pk: lot for lot in Lot.objects.filter(account=account)}
        self.portions = [
            lots.Portion(
                id=lot.pk,
                origin=lot.origin_id,
                rank=lot.rank,
                expires_at=lot.expires_at,
                in_grace=lot.in_grace,
                left=lot.cap,
                created_at=lot.created_at,
            )
            for lot in self._stored.values()
        ]
        self._gone: list[int] = []
        self.reckon()

    @classmethod
    def open(cls, account_id: int) -> "Book":
        """Lock one account and read its lots. NoSuchAccount."""
        return cls.open_all([account_id])[account_id]

    @classmethod
    def open_all(cls, account_ids: list[int]) -> dict[int, "Book"]:
        """Lock several in the one order that keeps transfers from deadlocking. NoSuchAccount."""
        rows = LedgerAccount.objects.filter(pk__in=account_ids, workshop__isnull=False).order_by("pk")
        locked = list(rows.select_for_update(no_key=True, of=("self",)).select_related("workshop"))
        if len(locked) != len(set(account_ids)):
            raise NoSuchAccount(f"no such ledger account among {sorted(set(account_ids))}")
        return {account.pk: cls(account) for account in locked}

    @property
    def total(self) -> int:
        return self.account.available + self.account.held

    def reckon(self) -> None:
        """Work out anew what is left of each lot."""
        self.portions = lots.burn(self.portions, self.total, self.account.held)

    def post(self, *, change: int, kind: str, key: uuid.UUID, **extra: Any) -> statements.After | None:
        """Post on this account; None if it was refused. Lots are the caller's next step."""
        after = statements.post(account=self.account.pk, change=change, kind=kind, key=key, **extra)
        if after is not None:
            self.account.available, self.account.held = after.available_milli, after.held_milli
            self.account.seq = after.seq
        return after

    def add(
        self, amount: int, *, origin: uuid.UUID, rank: int, expires_at: datetime | None, at: datetime
    ) -> None:
        """A new lot of `amount`; the account is due when it ends."""
        portion = lots.Portion(None, origin, rank, expires_at, False, amount, at)
        self.portions.append(portion)
        self._due_by(portion.ends_at(self.course_end))

    def add_allowance(self, amount: int, at: datetime) -> None:
        """Allowance is one lot that grows."""
        for portion in self.portions:
            if portion.origin is None and not portion.in_grace:
                portion.left += amount
                return
        self.portions.append(lots.Portion(None, None, lots.ALLOWANCE_RANK, None, False, amount, at))

    def drop(self, portion: lots.Portion) -> None:
        """A lot of which nothing is left."""
        self.portions.remove(portion)
        if portion.id is not None:
            self._gone.append(portion.id)

    def save_lots(self) -> None:
        """Write what differs: lots that are used up go, the others are tightened."""
        for portion in [portion for portion in self.portions if not portion.left]:
            self.drop(portion)
        for portion in self.portions:
            if portion.id is None:
                self._insert(portion)
            else:
                self._tighten(self._stored[portion.id], portion)
        if self._gone:
            Lot.objects.filter(pk__in=self._gone).delete()
            self._gone = []

    def _due_by(self, moment: datetime) -> None:
        if moment < self.account.due_at:
            self.account.due_at = moment
            LedgerAccount.objects.filter(pk=self.account.pk).update(due_at=moment)

    def _insert(self, portion: lots.Portion) -> None:
        lot = Lot.objects.create(
            account=self.account,
            origin_id=portion.origin,
            rank=portion.rank,
            expires_at=portion.expires_at,
            in_grace=portion.in_grace,
            cap=portion.left,
            created_at=portion.created_at,
        )
        portion.id, self._stored[lot.pk] = lot.pk, lot

    def _tighten(self, stored: Lot, portion: lots.Portion) -> None:
        now = (portion.left, portion.expires_at, portion.in_grace)
        if (stored.cap, stored.expires_at, stored.in_grace) != now:
            stored.cap, stored.expires_at, stored.in_grace = now
            stored.save(update_fields=["cap", "expires_at", "in_grace"])
