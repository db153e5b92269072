"""Random histories over all doors, against the plain model, on real PostgreSQL.

LEDGER_STEPS sets how many steps are taken (3,000; with SOAK, as in make soak, 10,000); LEDGER_SEED replays a
failure, and LEDGER_SHRINK=1 makes its history short, which takes minutes.
"""

import itertools
import os
import random
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from accounts import clock as market_clock
from accounts.ledger import allowance, audit, balances, posting
from accounts.ledger.models import LedgerAccount
from accounts.models import Workshop
from tests.accounts.ledger.model import ModelAccount, ModelClass, ModelLot
from tests.factories import clock, people

STEPS = int(os.environ.get("LEDGER_STEPS") or ("10000" if os.environ.get("SOAK") else "3000"))
SEED = int(os.environ.get("LEDGER_SEED") or random.SystemRandom().randrange(2**32))
HISTORY_STEPS = 50
ROUND_HISTORIES = 20
TEAM_CAP = 30_000

amounts = st.integers(1, 3_000).map(lambda steps: steps * 10)
parts = st.sampled_from([0.0, 0.1, 0.5, 1.0])
members = st.integers(0, 2)
anyone = st.integers(0, 4)
minutes = st.sampled_from([1, 10, 29, 30, 31, 59, 60, 61, 90, 240])
choices = st.integers(0, 10**6)


class Ledger(RuleBasedStateMachine):
    """Three members (0–2), the class's pool (3) and a team's with a cap (4)."""

    taken: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.undone_at_end = transaction.atomic()
        self.undone_at_end.__enter__()
        clock.set_offset(timedelta(0))
        self.place = people.workshop()
        self.now = market_clock.now()
        accounts = [people.member(self.place) for _ in range(3)]
        accounts += [posting.pool_account(self.place), posting.pool_account(self.place, "Red")]
        LedgerAccount.objects.filter(pk=accounts[4]).update(cap=TEAM_CAP)
        self.ids = accounts
        self.rules_of_class = ModelClass([(self.now, 10_000, None)], None)
        self.model = [ModelAccount(joined_at=self.now) for _ in range(3)]
        self.model += [ModelAccount(), ModelAccount(cap=TEAM_CAP)]
        self.holds: dict[uuid.UUID, int] = {}
        self.resolved: list[uuid.UUID] = []
        self.captures: dict[uuid.UUID, tuple[int, int]] = {}
        self.grants: dict[uuid.UUID, tuple[int, int | None]] = {}
        self.said: list[tuple[Callable[..., Any], dict[str, Any], posting.Posted]] = []
        self.touched: set[int] = set(range(5))
        self.past: list[tuple[datetime, list[tuple[int, int]]]] = []

    # --- time and terms ---------------------------------------------------------------------

    @rule(by=minutes)
    def time_passes(self, by: int) -> None:
        self.past.append((self.now, [(account.available, account.held) for account in self.model]))
        clock.advance(minutes=by)
        self.now = market_clock.now()
        self.touched = set(range(5))
        for account in self.model:
            self.rules_of_class.settle(account, self.now)

    @rule(in_minutes=st.sampled_from([0, 1, 30, 60]), hours=st.sampled_from([0.5, 1.0, 2.5, 6.0]))
    def a_session_is_announced(self, in_minutes: int, hours: float) -> None:
        opens_at = self.now + timedelta(minutes=in_minutes)
        session = people.session(self.place, opens_at=opens_at, hours=hours)
        self.rules_of_class.sessions[session.pk] = (session.opens_at, session.closes_at)
        self._time_for_all()

    @rule(rate=st.sampled_from([0, 10, 5_000, 10_000]), cap=st.sampled_from([None, 15_000, 40_000]))
    def the_terms_change(self, rate: int, cap: int | None) -> None:
        Workshop.objects.filter(pk=self.place.pk).update(
            allowance_milli_per_hour=rate, allowance_cap_milli=cap
        )
        if (rate, cap) != self.rules_of_class.terms[-1][1:]:
            self.rules_of_class.terms.append((self.now, rate, cap))

    @precondition(lambda self: self.rules_of_class.ends_at is None)
    @rule(in_minutes=st.sampled_from([30, 60, 600]))
    def an_end_is_set(self, in_minutes: int) -> None:
        self.place.ends_at = self.now + timedelta(minutes=in_minutes)
        self.place.save(update_fields=["ends_at"])
        self.rules_of_class.ends_at = self.place.ends_at

    @rule(limit=st.sampled_from([1, 50]))
    def the_loop_sweeps(self, limit: int) -> None:
        allowance.sweep(limit)

    # --- credits ----------------------------------------------------------------------------

    @rule(who=anyone, amount=amounts, lasts=st.sampled_from([None, None, 15, 30, 60, 200]))
    def credits_are_granted(self, who: int, amount: int, lasts: int | None) -> None:
        key, expires_at = uuid.uuid4(), self.now + timedelta(minutes=lasts) if lasts else None
        self._post(
            posting.grant,
            who,
            account_id=self.ids[who],
            amount_milli=amount,
            key=key,
            reference="gift",
            expires_at=expires_at,
        )
        self.model[who].lots.append(ModelLot(amount, key, expires_at, self.now))
        self.grants[key] = (who, None)

    @rule(who=anyone, amount=amounts)
    def credits_are_held(self, who: int, amount: int) -> None:
        account, key = self.model[who], uuid.uuid4()
        request = {"account_id": self.ids[who], "amount_milli": amount, "key": key, "subject": "job:1"}
        if amount > account.available:
            self._refused(posting.InsufficientCredits, posting.hold, who, **request)
            return
        self._post(posting.hold, who, **request)
        account.holds[key] = amount
        self.holds[key] = who

    @rule(who=members, share=parts)
    def all_credits_but_some_are_held(self, who: int, share: float) -> None:
        amount = int(self.model[who].available * share) // 10 * 10
        if amount:
            self.credits_are_held(who, amount)

    @precondition(lambda self: self.holds)
    @rule(which=choices, amount=amounts)
    def a_hold_is_adjusted(self, which: int, amount: int) -> None:
        old = list(self.holds)[which % len(self.holds)]
        who, key = self.holds[old], uuid.uuid4()
        account = self.model[who]
        request = {"hold_key": old, "amount_milli": amount, "key": key}
        if amount > account.available + account.holds[old]:
            self._refused(posting.InsufficientCredits, posting.adjust, who, **request)
            return
        self._post(posting.adjust, who, **request)
        del account.holds[old], self.holds[old]
        account.holds[key], self.holds[key] = amount, who
        self.resolved.append(old)

    @precondition(lambda self: self.holds)
    @rule(which=choices, share=parts)
    def a_hold_is_captured(self, which: int, share: float) -> None:
        hold = list(self.holds)[which % len(self.holds)]
        who, key = self.holds.pop(hold), uuid.uuid4()
        amount = int(self.model[who].holds[hold] * share) // 10 * 10
        self._post(posting.capture, who, hold_key=hold, amount_milli=amount, key=key)
        del self.model[who].holds[hold]
        self.model[who].spend(amount)
        self.resolved.append(hold)
        if amount:
            self.captures[key] = (who, amount)

    @precondition(lambda self: self.holds)
    @rule(which=choices)
    def a_hold_is_released(self, which: int) -> None:
        hold = list(self.holds)[which % len(self.holds)]
        who = self.holds.pop(hold)
        self._post(posting.release, who, hold_key=hold, key=uuid.uuid4(), reason="cancelled")
        del self.model[who].holds[hold]
        self.resolved.append(hold)

    @precondition(lambda self: self.holds)
    @rule(which=choices, more=amounts)
    def a_capture_above_its_hold_is_refused(self, which: int, more: int) -> None:
        hold = list(self.holds)[which % len(self.holds)]
        amount = self.model[self.holds[hold]].holds[hold] + more
        self._refused(
            posting.InvalidAmount,
            posting.capture,
            self.holds[hold],
            hold_key=hold,
            amount_milli=amount,
            key=uuid.uuid4(),
        )

    @precondition(lambda self: self.resolved)
    @rule(which=choices, amount=st.sampled_from([0, 10]))
    def a_resolved_hold_stays_so(self, which: int, amount: int) -> None:
        hold = self.resolved[which % len(self.resolved)]
        self._refused(
            posting.HoldNotOpen, posting.capture, 0, hold_key=hold, amount_milli=amount, key=uuid.uuid4()
        )

    @precondition(lambda self: self.captures)
    @rule(which=choices, amount=amounts)
    def a_capture_is_refunded(self, which: int, amount: int) -> None:
        taken = list(self.captures)[which % len(self.captures)]
        (who, left), key = self.captures[taken], uuid.uuid4()
        request = {
            "capture_key": taken,
            "amount_milli": amount,
            "key": key,
            "reason": "sorry",
            "actor_id": None,
        }
        if amount > left:
            self._refused(posting.NotRefundable, posting.refund, who, **request)
            return
        self._post(posting.refund, who, **request)
        self.captures[taken] = (who, left - amount)
        self.model[who].lots.append(ModelLot(amount, key, None, self.now))

    @rule(giver=st.sampled_from([3, 4]), taker=anyone, amount=amounts)
    def a_pool_gives(self, giver: int, taker: int, amount: int) -> None:
        source, target, key = self.model[giver], self.model[taker], uuid.uuid4()
        request = {
            "from_id": self.ids[giver],
            "to_id": self.ids[taker],
            "amount_milli": amount,
            "key": key,
            "reason": "",
            "actor_id": None,
        }
        if giver == taker:
            self._refused(posting.NotTransferable, posting.transfer, giver, **request)
        elif target.cap is not None and target.total + amount > target.cap:
            self._refused(posting.CapExceeded, posting.transfer, giver, **request)
        elif amount > source.available:
            self._refused(posting.InsufficientCredits, posting.transfer, giver, **request)
        else:
            self._post(posting.transfer, giver, **request)
            self.touched.add(taker)
            inside = posting.key_for(key, "in")
            for part, expires_at in source.take_free(amount):
                target.lots.append(ModelLot(part, inside, expires_at, self.now))
            self.grants[inside] = (taker, giver)

    @precondition(lambda self: self.grants)
    @rule(which=choices)
    def a_grant_is_undone(self, which: int) -> None:
        grant = list(self.grants)[which % len(self.grants)]
        who, pool = self.grants[grant]
        key, account = uuid.uuid4(), self.model[who]
        unspent = [(lot, free) for lot, free in account.free_parts() if lot.origin == grant and free]
        self.touched |= {who, pool if pool is not None else who}
        _posted, back = posting.undo(grant_key=grant, key=key, reason="", actor_id=None)
        assert back == sum(free for _lot, free in unspent)
        for lot, free in unspent:
            lot.left -= free
            if pool is not None:
                lot_back = ModelLot(free, posting.key_for(key, "in"), lot.expires_at, self.now)
                self.model[pool].lots.append(lot_back)
        if back:
            del self.grants[grant]
            if pool is not None:
                self.grants[posting.key_for(key, "in")] = (pool, who)
                del self.grants[posting.key_for(key, "in")]

    # --- the same again ---------------------------------------------------------------------

    @precondition(lambda self: self.said)
    @rule(which=choices)
    def a_request_comes_twice(self, which: int) -> None:
        door, request, answer = self.said[which % len(self.said)]
        again = door(**request)
        assert again.replayed
        assert (again.seq, again.available_milli, again.held_milli) == (
            answer.seq,
            answer.available_milli,
            answer.held_milli,
        )

    @precondition(lambda self: self.said)
    @rule(which=choices, more=amounts)
    def a_key_is_used_for_something_else(self, which: int, more: int) -> None:
        door, request, _answer = self.said[which % len(self.said)]
        changed = (
            {"amount_milli": request["amount_milli"] + more} if "amount_milli" in request else {"reason": "?"}
        )
        with pytest.raises(posting.KeyConflict):
            door(**{**request, **changed})

    # --- checks -----------------------------------------------------------------------------

    @invariant()
    def touched_accounts_are_right(self) -> None:
        Ledger.taken += 1
        here = transaction.savepoint()
        for number in self.touched:
            allowance.settle(self.ids[number])
            there = balances.balance(self.ids[number])
            account = self.model[number]
            assert (there.available_milli, there.held_milli) == (account.available, account.held), number
        assert audit.findings([self.ids[number] for number in self.touched]) == []
        transaction.savepoint_rollback(here)
        self.touched = set()

    def teardown(self) -> None:
        try:
            allowance.settle_workshop(self.place.pk)
            assert audit.findings() == []
            for number, account_id in enumerate(self.ids):
                self._replays(account_id)
                for moment, told in self.past:
                    there = balances.balance(account_id, as_of=moment)
                    assert (there.available_milli, there.held_milli) == told[number], (number, moment)
        finally:
            transaction.set_rollback(True)
            self.undone_at_end.__exit__(None, None, None)

    def _replays(self, account_id: int) -> None:
        lines = balances.statement(account_id, limit=10_000)
        available = sum(line.available_change_milli for line in lines)
        held = sum(line.held_change_milli for line in lines)
        assert balances.balance(account_id) == balances.Balance(available, held)
        assert [line.seq for line in lines] == list(range(len(lines), 0, -1))

    def _time_for_all(self) -> None:
        self.touched = set(range(5))
        for account in self.model:
            self.rules_of_class.settle(account, self.now)

    def _post(self, door: Callable[..., posting.Posted], who: int, **request: Any) -> None:
        answer = door(**request)
        assert not answer.replayed
        self.touched.add(who)
        self.said.append((door, request, answer))

    def _refused(self, why: type[Exception], door: Callable[..., Any], who: int, **request: Any) -> None:
        with pytest.raises(why):
            door(**request)
        self.touched.add(who)


@pytest.mark.django_db
def test_random_histories_agree_with_the_model() -> None:
    Ledger.taken = 0
    chosen = settings(
        max_examples=ROUND_HISTORIES,
        stateful_step_count=HISTORY_STEPS,
        deadline=None,
        database=None,
        print_blob=True,
        report_multiple_bugs=False,
        phases=[Phase.generate] + ([Phase.shrink] if os.environ.get("LEDGER_SHRINK") else []),
        suppress_health_check=list(HealthCheck),
    )
    # Histories end early now and then: rounds go on until enough steps were taken.
    for round_seed in itertools.count(SEED):
        try:
            run_state_machine_as_test(seed(round_seed)(Ledger), settings=chosen)
        except BaseException as fault:
            fault.add_note(f"replay with LEDGER_SEED={round_seed}")
            raise
        if Ledger.taken >= STEPS:
            break
