"""Versions of the rates: proposed from what measured runs taught, approved within bounds or by staff.

Real and simulated GPUs have versions of their own. Number 1, the estimates as the code has them, has no row.
Lock order: Calibration, then RateVersion.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache

import structlog
from django.db import transaction
from django.db.models import Max

from accounts import audit
from accounts.clock import MarketNow
from accounts.models import User
from jobs import chores
from marketplace.market.models import Calibration, MeasuredRun, RateVersion
from marketplace.pricing.calibration import Run
from marketplace.pricing.learned import Learned, changes

log = structlog.get_logger(__name__)
CHORE = "propose_rates"
FIRST_NUMBER = 1
NEW_RUNS = 20  # since the last version or proposal, before the next is made
MOST_RUNS = 500  # the newest of them that errors are measured on
LARGEST_CHANGE = 0.25  # of any model class on any GPU that needs nobody's approval
_GROUNDS = {"real": False, "simulated": True}
Status = RateVersion.Status


class NotProposed(ValueError):
    """The version was decided on meanwhile, or a newer proposal took its place."""


def in_use(simulated: bool) -> tuple[int, Learned]:
    """The number quotes name now, and what it knows. Not to be changed: it is shared."""
    active = RateVersion.objects.filter(simulated=simulated, status=Status.ACTIVE)
    return of(active.values_list("pk", "number").first())


def of(row: Sequence[int] | None) -> tuple[int, Learned]:
    """The number and knowledge of a version given by its (row id, number); None: the first."""
    return (FIRST_NUMBER, _NOTHING) if row is None else (row[1], _learned(row[0]))


def want_proposals() -> int:
    """Ask for a new version of each ground on which enough was learned; how many were asked for."""
    wanted = 0
    for name, simulated in _GROUNDS.items():
        runs = Calibration.objects.filter(simulated=simulated).values_list("runs", flat=True).first() or 0
        if runs - _runs_of_last(simulated) >= NEW_RUNS:
            chores.want(CHORE, f"{name}:{_next_number()}:{runs}")
            wanted += 1
    return wanted


def propose(subject: str) -> RateVersion | None:
    """Make a version of what was learned by now; None when there is too little new. An older proposal that
    still waits gives way. Approved at once when its errors are no larger and its changes within bounds."""
    simulated = _GROUNDS[subject.partition(":")[0]]
    with transaction.atomic():
        state = Calibration.objects.select_for_update(no_key=True).filter(simulated=simulated).first()
        if state is None or state.runs - _runs_of_last(simulated) < NEW_RUNS:
            return None
        old_number, old = in_use(simulated)
        rows = list(
            MeasuredRun.objects.filter(simulated=simulated, warm=True)[
                : min(MOST_RUNS, state.runs - old.runs)
            ]
        )
        if not rows:
            return None
        new = Learned.from_json(state.learned)
        moved = changes(old, new, [_run(row) for row in rows])
        proposed = RateVersion.objects.filter(simulated=simulated, status=Status.PROPOSED)
        proposed.update(status=Status.RETIRED, decided_at=MarketNow())
        version = RateVersion.objects.create(
            number=_next_number(),
            simulated=simulated,
            learned=state.learned,
            runs=state.runs - old.runs,
            error_before=old.calibration.error(_run(row) for row in rows),
            error_after=math.fsum(abs(row.predicted_seconds / row.actual_seconds - 1) for row in rows)
            / len(rows),
            largest_change=moved[0].change,
            changes=[asdict(change) for change in moved],
        )
        log.info("rates.proposed", number=version.number, simulated=simulated, runs=version.runs)
        if version.error_after <= version.error_before and version.largest_change <= LARGEST_CHANGE:
            _activate(version, old_number, actor=None)
    version.refresh_from_db()
    return version


def approve(version_id: int, actor: User) -> RateVersion:
    """Quotes use the version from now on. Raises `NotProposed`."""
    with transaction.atomic():
        version = _locked(version_id)
        _activate(version, in_use(version.simulated)[0], actor=actor)
    version.refresh_from_db()
    return version


def reject(version_id: int, actor: User, reason: str = "") -> RateVersion:
    """Quotes never use the version, and what it had learned is forgotten: learning goes on from the version
    in use. Raises `NotProposed`."""
    with transaction.atomic():
        version = _locked(version_id)
        number, kept = in_use(version.simulated)
        RateVersion.objects.filter(pk=version.pk).update(
            status=Status.REJECTED, decided_by=actor, decided_at=MarketNow()
        )
        Calibration.objects.filter(simulated=version.simulated).update(
            learned=kept.to_json(), runs=kept.runs, changed_at=MarketNow()
        )
        _record("rates.rejected", version, number, actor, reason)
    version.refresh_from_db()
    return version


def _activate(version: RateVersion, old_number: int, *, actor: User | None) -> None:
    RateVersion.objects.filter(simulated=version.simulated, status=Status.ACTIVE).update(
        status=Status.RETIRED
    )
    RateVersion.objects.filter(pk=version.pk).update(
        status=Status.ACTIVE, automatic=actor is None, decided_by=actor, decided_at=MarketNow()
    )
    _record("rates.approved", version, old_number, actor, "" if actor else "within bounds")


def _record(action: str, version: RateVersion, in_use_number: int, actor: User | None, reason: str) -> None:
    audit.record(
        action,
        f"rates:{version.number}",
        actor=actor,
        before={"in_use": in_use_number, "error": version.error_before},
        after={
            "number": version.number,
            "error": version.error_after,
            "largest_change": version.largest_change,
        },
        reason=reason,
    )


def _locked(version_id: int) -> RateVersion:
    """The proposal, under its ground's lock."""
    simulated = RateVersion.objects.values_list("simulated", flat=True).get(pk=version_id)
    list(Calibration.objects.select_for_update(no_key=True).filter(simulated=simulated))
    version = RateVersion.objects.select_for_update(no_key=True).get(pk=version_id)
    if version.status != Status.PROPOSED:
        raise NotProposed(f"Rates {version.number} are not waiting for a decision any more.")
    return version


def _runs_of_last(simulated: bool) -> int:
    """Runs known to the newest version that is in use or waits."""
    living = RateVersion.objects.filter(simulated=simulated, status__in=[Status.ACTIVE, Status.PROPOSED])
    return living.order_by("-number").values_list("learned__runs", flat=True).first() or 0


def _next_number() -> int:
    return (RateVersion.objects.aggregate(most=Max("number"))["most"] or FIRST_NUMBER) + 1


def _run(row: MeasuredRun) -> Run:
    return Run(row.model_class, row.gpu, row.template, row.estimate_seconds, row.actual_seconds)


@lru_cache(maxsize=8)
def _learned(version_pk: int) -> Learned:
    # A version never changes, and is too big to fetch and decode for every quote.
    return Learned.from_json(RateVersion.objects.values_list("learned", flat=True).get(pk=version_pk))


_NOTHING = Learned()
