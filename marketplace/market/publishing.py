"""What a template costs before anybody fills it in, and publishing with that in view."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.core.cache import cache
from django.utils.translation import gettext as _

from accounts.ledger.credits import format_credits
from accounts.models import User, Workshop
from jobs import templates
from jobs.job_types import registry
from jobs.job_types.base import AssumedUploads, Refusal
from jobs.job_types.comfyui import form as forms
from jobs.models import Template
from marketplace.fleet import registry as fleet
from marketplace.market import price_list, quoting, template_quotes

WARN_HOURS = 2  # of allowance
PRICE_LIFETIME_SECONDS = 120
NO_PRICE_LIFETIME_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Outlook:
    """A template's price at its defaults. `warning` is for its teacher, "" when there is nothing to say."""

    price_milli: int | None
    ceiling_milli: int | None
    warning: str


def outlook(template: Template, teacher: User) -> Outlook:
    """What it would cost, and whether that is more than two hours' allowance; or why there is no price."""
    try:
        price_milli, ceiling_milli = _at_defaults(template, teacher)
    except Refusal as refusal:
        said = _("It cannot be priced here now: %(why)s")
        return Outlook(None, None, said % {"why": str(refusal)[:300]})
    except (
        quoting.NoAgentYet,
        quoting.NotAllowed,
        quoting.WorkshopClosed,
        template_quotes.LicenceBarred,
    ) as error:
        return Outlook(None, None, _("It cannot be priced here now: %(why)s") % {"why": error})
    return Outlook(price_milli, ceiling_milli, _too_dear(ceiling_milli, template.workshop))


def publish(template: Template, by: User | None, *, seen: Outlook | None = None) -> Template:
    """Publish it; what its teacher was warned of is kept in the audit. Raises NotYours."""
    told = seen or (outlook(template, by) if by is not None else None)
    after: Mapping[str, Any] = {"version": template.version}
    if told is not None:
        after = {**after, "ceiling_milli": told.ceiling_milli, "warning": told.warning}
    return templates.publish(template, by, after=after)


def price_from_milli(template: Template) -> int | None:
    """About what it costs at its defaults, for a card: for nobody in particular, so that all may share it for
    two minutes. None where nobody can say now."""
    key = f"template-price:{template.pk}:{template.workshop.milli_per_gpu_second}"
    missing = object()
    found: Any = cache.get(key, missing)
    if found is missing:
        try:
            found, _ceiling_milli = _with_assumed_pictures(template)
        except (Refusal, quoting.NoAgentYet):
            found = None
        cache.set(key, found, PRICE_LIFETIME_SECONDS if found is not None else NO_PRICE_LIFETIME_SECONDS)
    price: int | None = found
    return price


def _at_defaults(template: Template, viewer: User) -> tuple[int, int]:
    """(price, ceiling) in milli-credits at its defaults."""
    if any(one.kind == "image" for one in forms.fields(template.form)):
        quoting.must_be_open(viewer, template.workshop)
        return _with_assumed_pictures(template)
    quote = template_quotes.prepare(viewer, template, {})
    return quote.quote_milli, quote.ceiling_milli


def _with_assumed_pictures(template: Template) -> tuple[int, int]:
    """The same before anybody chose a picture: quotes know only those of whoever asks, so pictures of
    1024×1024 stand in. Raises Refusal, NoAgentYet."""
    kind, around = registry.get(template.job_type), fleet.surroundings(template.workshop)
    if not around.node_definitions:
        raise quoting.NoAgentYet("No GPU has been connected yet, so nothing can be priced.")
    pictures = [one.name for one in forms.fields(template.form) if one.kind == "image"]
    payload = kind.fill(template.payload, template.form, dict.fromkeys(pictures, "picture.png"))
    demand = kind.demand(kind.check(payload, replace(around, uploads=AssumedUploads())))
    prices = price_list.of(template.workshop)
    told = prices.price(demand, job_type=template.job_type, template=template).quote
    return told.quote_milli, told.ceiling_milli


def _too_dear(ceiling_milli: int, workshop: Workshop) -> str:
    allowance_milli = WARN_HOURS * workshop.allowance_milli_per_hour
    if ceiling_milli <= allowance_milli:
        return ""
    said = _("One run may cost up to %(ceiling)s credits. Two hours' allowance is %(allowance)s.")
    return said % {"ceiling": format_credits(ceiling_milli), "allowance": format_credits(allowance_milli)}
