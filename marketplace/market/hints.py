"""Cheaper if …: small changes to a checked submission, each priced by the code that priced the whole."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from accounts.models import Workshop
from jobs.job_types.base import Checked, JobType, Surroundings, Variant
from jobs.models import Template
from marketplace.market.price_list import PriceList

MOST = 3
LEAST_SHARE = 0.1  # of the price
LEAST_MILLI = 10


def of(
    kind: JobType,
    checked: Checked,
    around: Surroundings,
    *,
    prices: PriceList,
    price_milli: int,
    workshop: Workshop,
    template: Template | None,
) -> list[dict[str, Any]]:
    """`Quote.hints`, the largest saving first: [{words, saved_milli, changes: [{node, input, value}]}]."""
    found: list[dict[str, Any]] = []
    for variant in kind.cheaper(checked, around):
        if workshop.commercial_licences_only and _barred(kind, checked, variant):
            continue
        demand = replace(kind.demand(kind.changed(checked, variant)), lines=())
        told = prices.price(demand, job_type=kind.name, template=template).quote
        saved_milli = price_milli - told.quote_milli
        if saved_milli >= max(LEAST_MILLI, LEAST_SHARE * price_milli):
            changes = [asdict(change) for change in variant.changes]
            found.append({"words": variant.words, "saved_milli": saved_milli, "changes": changes})
    return sorted(found, key=lambda hint: -hint["saved_milli"])[:MOST]


def requirements(kind: JobType, checked: Checked, template: Template | None) -> list[dict[str, Any]]:
    """`Quote.requirements`: what its template tells of the models it loads, else what the job type knows."""
    told: Mapping[str, Mapping[str, Any]] = (
        {str(one.get("name")): one for one in template.model_files} if template is not None else {}
    )
    rows = kind.requirements(checked)
    return [
        {**row, **{part: told.get(row["name"], row).get(part, row[part]) for part in row}} for row in rows
    ]


def barred(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those known not to allow commercial use; a model nobody knows anything of is not among them."""
    return [row for row in rows if row["licence"] and not row["commercial"]]


def _barred(kind: JobType, checked: Checked, variant: Variant) -> bool:
    named = tuple(("", change.value) for change in variant.changes if isinstance(change.value, str))
    if not named:
        return False
    swapped = Checked(checked.payload, (), {}, named, ())
    return bool(barred(kind.requirements(swapped)))
