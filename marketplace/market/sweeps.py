"""Sweeps: a small grid over fields of one template, priced as a whole and ordered all or not at all."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import transaction

from accounts.ledger import balances, posting
from accounts.ledger.posting import InsufficientCredits, key_for
from accounts.models import User
from jobs.job_types.base import Problem, Refusal
from jobs.job_types.comfyui import form as forms
from jobs.models import Template
from marketplace.market import orders, template_quotes
from marketplace.market.models import Quote, Sweep
from marketplace.market.resubmission import Change
from marketplace.market.template_quotes import PriceMoved

MAX_FIELDS = 3
MAX_JOBS = 24
LONGEST_KEY = 150

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedSweep:
    """The quotes of a grid, in its order, not stored. `points`: what each sets of the grid's fields."""

    points: tuple[dict[str, Any], ...]
    quotes: tuple[Quote, ...]

    @property
    def quote_milli(self) -> int:
        return sum(quote.quote_milli for quote in self.quotes)

    @property
    def ceiling_milli(self) -> int:
        return sum(quote.ceiling_milli for quote in self.quotes)

    @property
    def gpu_seconds(self) -> float:
        return sum(quote.gpu_seconds for quote in self.quotes)


def prepare_sweep(
    student: User,
    template: Template,
    values: Mapping[str, Any],
    grid: Mapping[str, Sequence[Any]],
    *,
    changes: Sequence[Change] = (),
    title: str = "",
) -> PreparedSweep:
    """Price every point of the grid; `values` are what all of them share.

    Raises Refusal (also for a grid with too many fields or jobs), and what `template_quotes.prepare` raises.
    """
    points = expand(template, grid)
    name = title or template.name
    quotes = tuple(
        template_quotes.prepare(
            student,
            template,
            {**values, **point},
            changes=changes,
            title=f"{name} · {words(template, point)}",
        )
        for point in points
    )
    return PreparedSweep(points, quotes)


def place_sweep(
    student: User,
    template: Template,
    values: Mapping[str, Any],
    grid: Mapping[str, Sequence[Any]],
    *,
    key: str,
    shown_ceiling_milli: int | None = None,
    changes: Sequence[Change] = (),
    title: str = "",
) -> Sweep:
    """Order all jobs of the grid in one transaction, or none. The same key and grid: the same sweep again.

    A seed left blank is drawn once and shared, so that the takes differ by the grid alone. Raises as
    `prepare_sweep` and `orders.place`; InsufficientCredits is about the whole sweep, KeyConflict another
    form.
    """
    asked = json.dumps(
        [dict(values), {name: list(each) for name, each in grid.items()}, [dict(one) for one in changes]],
        sort_keys=True,
        default=str,
    )
    # Another form under the same key makes another sweep, whose orders `place` refuses for that key.
    sweep_id = key_for(student.key_namespace, "sweep", template.pk, key, asked)
    found = Sweep.objects.filter(pk=sweep_id, student=student).first()
    if found is not None:
        return found
    drawn = template_quotes.with_seeds(template, {**values, **grid}, sweep_id)
    shared = {name: value for name, value in drawn.items() if name not in grid}
    prepared = prepare_sweep(student, template, shared, grid, changes=changes, title=title)
    if shown_ceiling_milli not in (None, prepared.ceiling_milli):
        raise PriceMoved(prepared.quotes[0])
    with transaction.atomic():
        # A twin with the same key waits here until the first has committed.
        sweep, made = Sweep.objects.get_or_create(
            pk=sweep_id,
            defaults={
                "workshop": template.workshop,
                "student": student,
                "template": template,
                "grid": {name: list(each) for name, each in grid.items()},
            },
        )
        if made:
            _order_all(student, sweep, prepared, key)
    log.info("market.sweep", sweep=str(sweep.pk), jobs=len(prepared.quotes), student=student.pk)
    return sweep


def expand(template: Template, grid: Mapping[str, Sequence[Any]]) -> tuple[dict[str, Any], ...]:
    """Every combination of the grid's values, the last field changing fastest. Raises Refusal."""
    known = {one.name: one for one in forms.fields(template.form)}
    chosen = {name: _once(each) for name, each in grid.items()}
    if not chosen:
        raise Refusal(Problem("no_grid", "Choose at least one field that changes, and its values."))
    if len(chosen) > MAX_FIELDS:
        raise Refusal(Problem("too_many_fields", f"Choose at most {MAX_FIELDS} fields that change."))
    count = 1
    for name, each in chosen.items():
        if name not in known:
            raise Refusal(Problem("unknown_field", f"There is no field {name[:60]!r}.", field=name[:60]))
        if not each:
            said = f"{known[name].label}: say which values it takes."
            raise Refusal(Problem("no_values", said, field=name))
        count *= len(each)
    if count > MAX_JOBS:
        said = f"This makes {count:,} jobs; {MAX_JOBS} are possible at once. Use fewer values."
        raise Refusal(Problem("too_many_jobs", said))
    return tuple(dict(zip(chosen, each, strict=True)) for each in itertools.product(*chosen.values()))


def words(template: Template, point: Mapping[str, Any]) -> str:
    """What tells a job of a sweep from the others: "Steps 20, Width 512"."""
    labels = {one.name: one.label for one in forms.fields(template.form)}
    return ", ".join(f"{labels.get(name, name)} {str(value)[:40]}" for name, value in point.items())


def _order_all(student: User, sweep: Sweep, prepared: PreparedSweep, key: str) -> None:
    account_id = posting.member_account(student, sweep.workshop)
    available_milli = balances.balance(account_id).available_milli
    if available_milli < prepared.ceiling_milli:
        raise InsufficientCredits(available_milli, prepared.ceiling_milli)
    for number, quote in enumerate(prepared.quotes):
        quote.sweep = sweep
        quote.save(force_insert=True)
        orders.place(student, quote.pk, key=f"{key[:LONGEST_KEY]}:{number}")


def _once(values: Sequence[Any]) -> list[Any]:
    """The values, none twice."""
    return list({json.dumps(value, sort_keys=True, default=str): value for value in values}.values())
