"""From a template's form to a quote and a job, and changes to single inputs: swapped models, applied hints.

The quote itself is made by `quoting`; here a workflow becomes the body that is priced. A change is
`{node, input, value}`: what a hint saves by, or the model somebody chose in a missing one's place.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction

from accounts.ledger.posting import key_for
from accounts.models import User, Workshop
from jobs import templates
from jobs.job_types import registry
from jobs.job_types.base import Problem
from jobs.job_types.comfyui import form as forms
from jobs.models import Job, Template
from marketplace.fleet import registry as fleet
from marketplace.market import orders, quoting, resubmission
from marketplace.market.models import Quote
from marketplace.market.resubmission import Change

LARGEST_SEED = 2**32


class LicenceBarred(PermissionError):
    """The workshop's rule on licences keeps this template back; the text names the models."""


class PriceMoved(Exception):
    """The ceiling is no longer what the page showed; `quote` is the new one, not stored."""

    def __init__(self, quote: Quote) -> None:
        super().__init__("The price changed since you saw it.")
        self.quote = quote


@dataclass(frozen=True, slots=True)
class Missing:
    """A model no GPU here has. `size_bytes` None: nobody knows; `exact`: told by a template, not guessed."""

    problem: Problem
    name: str
    folder: str
    size_bytes: int | None
    exact: bool
    choices: tuple[str, ...]  # present in the same folder


def prepare(
    student: User,
    template: Template,
    values: Mapping[str, Any],
    *,
    changes: Sequence[Change] = (),
    title: str = "",
) -> Quote:
    """The price of the template with these values, not stored. A seed nobody gave is the template's own.

    Raises Refusal (its problems' `field` is a field's name where the form is meant, else a node's input),
    LicenceBarred, NoAgentYet, NotAllowed, WorkshopClosed.
    """
    why = templates.licence_refusal(template, template.workshop)
    if why:
        raise LicenceBarred(why)
    body = filled(template, values, changes)
    return quoting.prepare(
        student,
        template.workshop,
        body,
        title=title or template.name,
        job_type=template.job_type,
        template=template,
        form_values=values,
    )


def store(
    student: User,
    template: Template,
    values: Mapping[str, Any],
    *,
    changes: Sequence[Change] = (),
    title: str = "",
) -> Quote:
    """The same, stored with its expiry; a seed nobody gave is drawn. Raises as `prepare`."""
    given = with_seeds(template, values, uuid.uuid4())
    row = prepare(student, template, given, changes=changes, title=title)
    row.save(force_insert=True)
    return row


def order(
    student: User,
    template: Template,
    values: Mapping[str, Any],
    *,
    key: str,
    shown_ceiling_milli: int | None = None,
    changes: Sequence[Change] = (),
    title: str = "",
    bid: int = 1,
    unpaid: bool = False,
) -> Job:
    """Price and order at once. The same key and form give the same job again, another form a KeyConflict.

    `shown_ceiling_milli`: what the page said; another ceiling raises PriceMoved and sets nothing aside.
    Raises as `prepare` and `orders.place`.
    """
    asked = json.dumps([dict(values), [dict(one) for one in changes]], sort_keys=True, default=str)
    # Another form under the same key makes another quote, which `place` then refuses for that key.
    quote_id = key_for(student.key_namespace, "template-quote", template.pk, key, asked)
    given = with_seeds(template, values, quote_id)
    found = Quote.objects.filter(pk=quote_id).first()
    if found is None:
        row = prepare(student, template, given, changes=changes, title=title)
        if shown_ceiling_milli not in (None, row.ceiling_milli):
            raise PriceMoved(row)
        row.pk = quote_id
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:  # a twin with the same key and form was faster
            row = Quote.objects.get(pk=quote_id)
        found = row
    return orders.place(student, found.pk, key=key, bid=bid, unpaid=unpaid)


def filled(template: Template, values: Mapping[str, Any], changes: Sequence[Change] = ()) -> bytes:
    """The workflow to run, as a body. Raises Refusal."""
    kind = registry.get(template.job_type)
    payload = kind.fill(template.payload, template.form, values)
    return _body(resubmission.changed(template.job_type, payload, changes))


def changed(workshop: Workshop, job_type: str, body: bytes, changes: Sequence[Change]) -> bytes:
    """Any submission with single inputs changed; an editor's file is converted first. Raises Refusal."""
    kind = registry.get(job_type)
    payload = kind.editable(kind.parse(body), fleet.surroundings(workshop))
    return _body(resubmission.changed(job_type, payload, changes))


def with_seeds(template: Template, values: Mapping[str, Any], source: uuid.UUID) -> dict[str, Any]:
    """The values, and a seed for every one left blank: the same source gives the same seeds."""
    drawn = {
        one.name: uuid.uuid5(source, one.name).int % LARGEST_SEED
        for one in forms.fields(template.form)
        if one.kind == "seed" and one.name not in values
    }
    return {**values, **drawn}


def missing_models(
    workshop: Workshop, job_type: str, body: bytes, problems: Iterable[Problem]
) -> list[Missing]:
    """What a page must know to offer a swap for every missing model among the problems."""
    wanted = [problem for problem in problems if problem.code == "missing_model"]
    if not wanted:
        return []
    kind, around = registry.get(job_type), fleet.surroundings(workshop)
    payload = kind.editable(kind.parse(body), around)
    sizes = _known_sizes(workshop)
    found = []
    for problem in wanted:
        place = kind.place(payload, problem.node, problem.field, around)
        present = tuple(name for name in place.choices if _is_here(name, place.folder, around.models))
        told = sizes.get(place.value)
        size_bytes = told if told is not None else place.size_bytes
        exact = told is not None or place.exact
        found.append(Missing(problem, place.value, place.folder, size_bytes, exact, present))
    return found


def _is_here(name: str, folder: str, models: Mapping[str, Any]) -> bool:
    return not folder or name in models.get(folder, ())


def _known_sizes(workshop: Workshop) -> dict[str, int]:
    """Model file → bytes, as this workshop's templates tell."""
    rows = Template.objects.filter(workshop=workshop).values_list("model_files", flat=True)
    return {one["name"]: one["size_bytes"] for files in rows for one in files if one.get("size_bytes")}


def _body(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload, ensure_ascii=False).encode("utf-8", "surrogatepass")
