"""What a template's page shows: its fields with their texts, and the price of what stands in them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from accounts.ledger import balances
from accounts.models import User, Workshop
from jobs import queries
from jobs.job_types import registry
from jobs.job_types.base import Problem, Refusal
from jobs.job_types.comfyui import form as forms
from jobs.models import Template
from marketplace.fleet import registry as fleet
from marketplace.market import orders, publishing, template_quotes
from marketplace.market.models import Quote
from marketplace.market.template_quotes import Missing
from marketplace.web import drafts
from marketplace.web.drafts import Draft

FIELDS_SHOWN = 9  # the rest waits under "More settings"
LONG_TEXT = 60
PRICE_REFUSALS = (
    Refusal,
    template_quotes.LicenceBarred,
    orders.NoAgentYet,
    orders.NotAllowed,
    orders.WorkshopClosed,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A price, or what stands in its way. `said` is a sentence about the whole, `status` the page's."""

    quote: Quote | None = None
    problems: tuple[Problem, ...] = ()
    missing: tuple[Missing, ...] = ()
    said: str = ""
    status: int = 200


@dataclass(frozen=True, slots=True)
class Hint:
    """ "Cheaper if …": `apply` is what its button sends, "" where nothing can be pressed."""

    words: str
    saved_milli: int
    apply: str


@dataclass(slots=True)
class Shown:
    """A field as its template draws it."""

    name: str
    label: str
    help: str
    kind: str
    value: str
    minimum: str = ""
    maximum: str = ""
    step: str = ""
    options: list[tuple[str, str]] = field(default_factory=list)
    problem: str = ""
    long: bool = False

    @property
    def id(self) -> str:
        return f"{drafts.PREFIX}{self.name}"

    @property
    def marks(self) -> SafeString:
        """What its control tells scripts and screen readers: what is wrong and where its help is."""
        about = [f"{self.id}-problem"] * bool(self.problem) + [f"{self.id}-help"] * self.helped
        wrong = SafeString(' aria-invalid="true"') if self.problem else ""
        told = format_html(' aria-describedby="{}"', " ".join(about)) if about else ""
        return format_html("data-field{}{}", wrong, told)

    @property
    def helped(self) -> bool:
        """Is there a line of help below it?"""
        return bool(self.help or (self.ranged and self.kind != "seed"))

    @property
    def ranged(self) -> bool:
        return bool(self.minimum and self.maximum)


@dataclass(frozen=True, slots=True)
class Card:
    """A template on the studio's page."""

    template: Template
    from_milli: int | None
    size_bytes: int
    licences: tuple[str, ...]


def price(viewer: User, template: Template, draft: Draft) -> Answer:
    """The price of the draft, not stored; or all that is wrong with it."""
    try:
        values = draft.values(template)
        quote = template_quotes.prepare(viewer, template, values, changes=draft.changes, title=draft.title)
    except PRICE_REFUSALS as error:
        return refused(template, draft, error)
    return Answer(quote)


def refused(template: Template, draft: Draft, error: Exception) -> Answer:
    """What a page says of one of PRICE_REFUSALS."""
    if isinstance(error, Refusal):
        return Answer(problems=error.problems, missing=_missing(template, draft, error), status=400)
    return Answer(said=str(error), status=503 if isinstance(error, orders.NoAgentYet) else 403)


def shown_fields(
    viewer: User, template: Template, draft: Draft, problems: Sequence[Problem] = ()
) -> list[Shown]:
    """The form's fields with the draft's texts and, under each, what is wrong with it."""
    said: dict[str, str] = {}
    for problem in problems:
        name = problem.field if not problem.node_type else ""
        name = name or forms.field_at(template.form, problem.node, problem.field)
        said.setdefault(name, problem.message)
    sent = draft.sent if draft.sent is not None else drafts.defaults(template)
    uploads = [row.name for row in queries.own_uploads(viewer, template.workshop_id)]
    here = _present(template)
    return [_shown(one, sent, uploads, here, said.get(one.name, "")) for one in forms.fields(template.form)]


def hints(quote: Quote) -> list[Hint]:
    """The quote's hints, with what a press on each sends."""
    return [
        Hint(str(one["words"]), int(one["saved_milli"]), json.dumps(one.get("changes") or []))
        for one in quote.hints
    ]


def cards(viewer: User, workshop: Workshop | None) -> list[Card]:
    """Templates offered in the workshop, with their models and a price to expect."""
    if workshop is None:
        return []
    return [
        Card(
            row,
            publishing.price_from_milli(row),
            sum(one.get("size_bytes") or 0 for one in row.model_files),
            tuple(dict.fromkeys(one["licence"] for one in row.model_files if one.get("licence"))),
        )
        for row in queries.templates_for(viewer, workshop)
    ]


def available_milli(viewer: User, workshop: Workshop) -> int:
    """What the person can spend where the template is, which need not be the workshop they look at."""
    account_id = balances.find_account(viewer.pk, workshop.pk)
    return balances.balance(account_id).available_milli if account_id is not None else 0


def sweepable(template: Template, draft: Draft) -> list[dict[str, Any]]:
    """Fields a sweep may vary, with what was typed: [{name, label, kind, value, now, options}]."""
    sent = draft.sent if draft.sent is not None else drafts.defaults(template)
    return [
        {
            "name": one.name,
            "label": one.label,
            "kind": one.kind,
            "value": draft.grid.get(one.name, ""),
            "now": sent.get(one.name, drafts.text(one.default)),
            "options": [str(each) for each in one.choices[:12]],
            "lines": one.kind in ("text", "choice", "image"),
        }
        for one in forms.fields(template.form)
        if one.kind != "boolean"
    ]


def _shown(
    one: forms.Field,
    sent: Mapping[str, str],
    uploads: Sequence[str],
    here: Mapping[str, frozenset[str]],
    problem: str,
) -> Shown:
    value = sent.get(one.name, "")
    made = Shown(one.name, one.label, one.help, one.kind, value, problem=problem)
    made.minimum, made.maximum = drafts.text(one.minimum), drafts.text(one.maximum)
    made.step = drafts.text(one.step) or ("1" if one.kind == "integer" else "any")
    if one.kind == "choice":
        made.options = [(str(each), _option_words(one.name, str(each), here)) for each in one.choices]
    elif one.kind == "image":
        named = [value] if value and value not in uploads else []
        made.options = [(name, name) for name in [*uploads, *named]]
    elif one.kind == "text":
        default = str(one.default or "")
        made.long = one.name.startswith(("prompt", "negative")) or len(default) > LONG_TEXT
    return made


def _option_words(name: str, value: str, here: Mapping[str, frozenset[str]]) -> str:
    if name in here and value not in here[name]:
        return _("%(name)s (not here)") % {"name": value}
    return value


def _present(template: Template) -> dict[str, frozenset[str]]:
    """Field → models that are here, for fields that choose a model; empty where any model is."""
    chosen = [one for one in forms.fields(template.form) if one.kind == "choice"]
    around = fleet.surroundings(template.workshop) if chosen else None
    if around is None or around.any_model or not around.node_definitions:
        return {}
    kind = registry.get(template.job_type)
    found = {}
    for one in chosen:
        place = kind.place(template.payload, *one.places[0], around)
        if place.folder:
            found[one.name] = frozenset(around.models.get(place.folder, ()))
    return found


def _missing(template: Template, draft: Draft, refusal: Refusal) -> tuple[Missing, ...]:
    if not any(problem.code == "missing_model" for problem in refusal.problems):
        return ()
    body = template_quotes.filled(template, draft.values(template), draft.changes)
    found = template_quotes.missing_models(template.workshop, template.job_type, body, refusal.problems)
    return tuple(found)
