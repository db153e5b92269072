"""A template's page: a form, its price while one fills it in, and the click."""

import uuid

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs import queries
from jobs.job_types.base import Problem
from jobs.job_types.comfyui import form as forms
from jobs.models import Template
from marketplace.market import bidding, eta, orders, template_quotes
from marketplace.web import bids, drafts, quote_page, template_page
from marketplace.web.drafts import Draft
from marketplace.web.guard import Region, SignedInRequest, signed_in
from marketplace.web.numbers import credits_exact
from marketplace.web.template_page import Answer

NOT_ENOUGH, CONFLICT, TOO_MANY = 402, 409, 429
ORDER_REFUSALS = (
    bidding.BadBid,
    orders.HasCredits,
    orders.InsufficientCredits,
    orders.KeyConflict,
    orders.QuoteSpent,
    orders.QuoteExpired,
    orders.WaitingLimit,
)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def template(request: SignedInRequest, template_id: int) -> HttpResponse:
    """The form and its price. What is sent here is kept as the draft and shown again."""
    newer = _newer(request, template_id)
    if newer is not None:
        return newer
    found = find(request, template_id)
    if request.method == "POST":
        drafts.keep(request, found, _taken(request, found) or drafts.posted(request, found))
        return redirect(f"{reverse('web:template', args=[found.pk])}#price-h")
    return page(request, found, drafts.read(request, found))


@require_http_methods(["GET", "POST"])
@signed_in
def fragment(request: SignedInRequest, template_id: int) -> HttpResponse:
    """The price alone: of the draft, or of what is sent and kept as the draft."""
    found = find(request, template_id)
    if request.method == "POST":
        drafts.keep(request, found, drafts.posted(request, found))
    draft = drafts.read(request, found)
    return price_region(request, found, draft, template_page.price(request.user, found, draft)).response(
        request
    )


@require_POST
@signed_in
def run(request: SignedInRequest, template_id: int) -> HttpResponse:
    """Order what stands in the form. Pressing twice gives the same job."""
    newer = _newer(request, template_id)
    if newer is not None:
        return newer
    found = find(request, template_id)
    draft = drafts.posted(request, found)
    drafts.keep(request, found, draft)
    shown = request.POST.get("shown", "")
    try:
        job = template_quotes.order(
            request.user,
            found,
            draft.values(found),
            key=request.POST.get("key") or str(uuid.uuid4()),
            shown_ceiling_milli=int(shown) if shown.isdecimal() and len(shown) < 19 else None,
            changes=draft.changes,
            title=draft.title,
            bid=bids.read(request.POST.get("bid", "")),
            unpaid=bool(request.POST.get("unpaid")),
        )
    except template_quotes.PriceMoved as moved:
        said = _("The price changed: it is now never above %(most)s. Nothing was set aside yet.")
        words = said % {"most": credits_exact(moved.quote.ceiling_milli)}
        return page(request, found, draft, Answer(moved.quote, said=words, status=CONFLICT))
    except template_page.PRICE_REFUSALS as error:
        return page(request, found, draft, template_page.refused(found, draft, error))
    except ORDER_REFUSALS as error:
        told, priced = order_refused(error), template_page.price(request.user, found, draft)
        answer = Answer(priced.quote, priced.problems, priced.missing, told.said, told.status)
        return page(request, found, draft, answer)
    return redirect("web:job", job_id=job.pk)


@require_POST
@signed_in
def defaults(request: SignedInRequest, template_id: int) -> HttpResponse:
    """Back to the template's own values."""
    found = find(request, template_id)
    drafts.forget(request, found)
    messages.info(request, _("All fields are as the template has them."))
    return redirect("web:template", template_id=found.pk)


@require_safe
@signed_in
def workflow(request: SignedInRequest, template_id: int) -> HttpResponse:
    """The template's workflow in API format."""
    found = find(request, template_id)
    return quote_page.workflow_file(found.payload, f"{found.name} v{found.version}")


def find(request: SignedInRequest, template_id: int) -> Template:
    """The template, if this person may open it: another's is answered as none."""
    try:
        return queries.visible_template(request.user, template_id)
    except Template.DoesNotExist:
        raise Http404 from None


def _taken(request: SignedInRequest, found: Template) -> Draft | None:
    """The draft of an earlier take, if the pressed button asks for one."""
    asked = request.POST.get("take", "")
    takes = queries.earlier_takes(request.user, found)
    job = next((take for take in takes if str(take.pk) == asked), None)
    return drafts.of_values(found, job.form_values, job.title) if job is not None else None


def _newer(request: SignedInRequest, template_id: int) -> HttpResponse | None:
    """To the version that took this one's place, with what was typed; None where it is still offered."""
    newer = queries.successor(request.user, template_id)
    if newer is None:
        return None
    if request.method == "POST":
        drafts.keep(request, newer, drafts.posted(request, newer))
    messages.info(request, _("This template has a new version. Look at its price again."))
    return redirect("web:template", template_id=newer.pk)


def order_refused(error: Exception) -> Answer:
    """What a page says of one of ORDER_REFUSALS."""
    if isinstance(error, orders.InsufficientCredits):
        said = _("You are %(missing)s credits short. Nothing was set aside.")
        return Answer(said=said % {"missing": credits_exact(error.shortfall_milli)}, status=NOT_ENOUGH)
    if isinstance(error, orders.KeyConflict | orders.QuoteSpent):
        said = _("This page was used for another order. Look at its price again.")
        return Answer(said=said, status=CONFLICT)
    if isinstance(error, orders.QuoteExpired):
        said = _("The earlier price had expired, this is a new one. Nothing was set aside yet.")
        return Answer(said=said, status=CONFLICT)
    if isinstance(error, bidding.BadBid | orders.HasCredits):
        return Answer(said=str(error), status=CONFLICT)
    return Answer(said=str(error), status=TOO_MANY)


def page(
    request: SignedInRequest, found: Template, draft: Draft, answer: Answer | None = None
) -> HttpResponse:
    """The whole page."""
    told = answer or template_page.price(request.user, found, draft)
    # A form nobody has touched yet is not scolded for what is still to be chosen.
    touched = draft.sent is not None
    fields = template_page.shown_fields(request.user, found, draft, told.problems if touched else ())
    context = {
        "section": "studio",
        "template": found,
        "draft": draft,
        "fields": fields[: template_page.FIELDS_SHOWN],
        "more": fields[template_page.FIELDS_SHOWN :],
        "more_open": any(one.problem for one in fields[template_page.FIELDS_SHOWN :]),
        "price": price_region(request, found, draft, told),
        "key": uuid.uuid4(),
        "takes": queries.earlier_takes(request.user, found),
        "simulated": quote_page.only_simulated(found.workshop),
        "max_upload_bytes": settings.MAX_UPLOAD_BYTES,
        "size_bytes": sum(one.get("size_bytes") or 0 for one in found.model_files),
    }
    return render(request, "web/template.html", context, status=told.status if answer else 200)


def price_region(request: SignedInRequest, found: Template, draft: Draft, answer: Answer) -> Region:
    """The price, the hints, the wait and the button: the same on first load and when fetched again."""
    context: dict[str, object] = {
        "template": found,
        "answer": answer,
        "problems": [_addressed(found, one) for one in answer.problems if one.code != "missing_model"],
        "changes": draft.changes,
    }
    if answer.quote is not None:
        available_milli = template_page.available_milli(request.user, found.workshop)
        after_milli = available_milli - answer.quote.ceiling_milli
        context |= {
            "available_milli": available_milli,
            **quote_page.context(answer.quote),
            "starts": eta.before_click(answer.quote),
            "after_milli": after_milli,
            "short_milli": max(-after_milli, 0),
            **bids.context(answer.quote, available_milli, bids.read(request.POST.get("bid", ""))),
            "hints": template_page.hints(answer.quote),
        }
    return Region(request, "web/_template_quote.html", context)


def _addressed(found: Template, problem: Problem) -> dict[str, str]:
    """A problem with the id of the field that can mend it, "" where none can."""
    names = {str(one["name"]) for one in found.form}
    if problem.node_type or problem.field not in names:
        name = forms.field_at(found.form, problem.node, problem.field)
    else:
        name = problem.field
    return {
        "message": problem.message,
        "field": f"{drafts.PREFIX}{name}" if name else "",
        "node": problem.node,
    }
