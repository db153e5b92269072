"""Same key and request: same answer. Same key, other request: conflict."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from accounts import clock
from accounts.ledger import audit, balances, posting
from tests.factories import people

pytestmark = pytest.mark.django_db
Door = Callable[..., posting.Posted]


def _request(door: str) -> tuple[Door, dict[str, Any], dict[str, Any]]:
    """A door, a good request to it, and for each of its fields another value."""
    place = people.workshop()
    account, other = people.member(place, 90_000), people.member(place, 90_000)
    held, other_held = people.hold(account, 5_000), people.hold(account, 5_000)
    taken, other_taken = uuid.uuid4(), uuid.uuid4()
    for hold_key, key in ((people.hold(account, 5_000), taken), (people.hold(account, 5_000), other_taken)):
        posting.capture(hold_key=hold_key, amount_milli=5_000, key=key)
    pool, purse = posting.pool_account(place), posting.purse_account(place)
    people.give(pool, 50_000)
    people.give(purse, 50_000)
    actor, later = people.user().pk, clock.now() + timedelta(hours=9)
    amount = (4_000, 4_010)
    fields: dict[str, dict[str, tuple[Any, Any]]] = {
        "hold": {
            "account_id": (account, other),
            "amount_milli": amount,
            "subject": ("job:1", "job:2"),
            "expires_at": (None, later),
        },
        "adjust": {"hold_key": (held, other_held), "amount_milli": amount, "expires_at": (later, None)},
        "capture": {"hold_key": (held, other_held), "amount_milli": amount, "reason": ("", "late")},
        "release": {"hold_key": (held, other_held), "reason": ("", "late")},
        "grant": {
            "account_id": (account, other),
            "amount_milli": amount,
            "reference": ("gift", "correction"),
            "reason": ("prize", ""),
            "actor_id": (actor, None),
            "expires_at": (later, None),
            "subject": ("", "batch:1"),
        },
        "refund": {
            "capture_key": (taken, other_taken),
            "amount_milli": amount,
            "reason": ("a", "b"),
            "actor_id": (actor, None),
        },
        "transfer": {
            "from_id": (pool, purse),
            "to_id": (account, other),
            "amount_milli": amount,
            "reason": ("a", "b"),
            "actor_id": (actor, None),
            "subject": ("", "batch:1"),
        },
    }
    chosen = fields[door]
    return (
        getattr(posting, door),
        {name: values[0] for name, values in chosen.items()},
        {name: values[1] for name, values in chosen.items()},
    )


DOORS = ("hold", "adjust", "capture", "release", "grant", "refund", "transfer")


@pytest.mark.parametrize("door", DOORS)
def test_a_repeated_request_gives_the_same_answer_and_posts_nothing(door: str) -> None:
    post, request, _others = _request(door)
    key = uuid.uuid4()
    first = post(key=key, **request)
    balance, lines = balances.balance(first.account_id), len(balances.statement(first.account_id, limit=999))
    again = post(key=key, **request)
    assert again.replayed
    assert not first.replayed
    assert (again.seq, again.available_milli, again.held_milli) == (
        first.seq,
        first.available_milli,
        first.held_milli,
    )
    assert balances.balance(first.account_id) == balance
    assert len(balances.statement(first.account_id, limit=999)) == lines


@pytest.mark.parametrize("door", DOORS)
def test_a_key_belongs_to_every_field_of_its_request(door: str) -> None:
    post, request, others = _request(door)
    key = uuid.uuid4()
    first = post(key=key, **request)
    balance = balances.balance(first.account_id)
    for name, other in others.items():
        with pytest.raises(posting.KeyConflict):
            post(key=key, **{**request, name: other})
    assert balances.balance(first.account_id) == balance
    assert audit.findings() == []


@pytest.mark.parametrize("door", DOORS)
def test_a_key_of_a_hold_serves_nothing_else(door: str) -> None:
    post, request, _others = _request(door)
    key = people.hold(people.member(credits_milli=10_000), 20)
    with pytest.raises(posting.KeyConflict):
        post(key=key, **request)


@pytest.mark.parametrize("door", DOORS)
def test_a_key_of_a_grant_serves_nothing_else(door: str) -> None:
    post, request, _others = _request(door)
    key = people.give(people.member(), 30)
    with pytest.raises(posting.KeyConflict):
        post(key=key, **request)


def test_a_replay_is_told_from_a_refusal_though_the_money_moved_on() -> None:
    account = people.member(credits_milli=1_000)
    request = {"account_id": account, "amount_milli": 1_000, "key": uuid.uuid4(), "subject": "job:1"}
    posting.hold(**request)
    posting.capture(hold_key=request["key"], amount_milli=1_000, key=uuid.uuid4())
    assert posting.hold(**request).replayed


def test_derived_keys_depend_on_every_part() -> None:
    namespace = uuid.uuid4()
    assert posting.key_for(namespace, "a", 1) == posting.key_for(namespace, "a", 1)
    parts = [("a", 1), ("a", 2), ("a1",), ("a", "1", ""), ("b", 1)]
    assert len({posting.key_for(namespace, *some) for some in parts}) == len(parts)
    assert posting.key_for(uuid.uuid4(), "a", 1) != posting.key_for(namespace, "a", 1)
