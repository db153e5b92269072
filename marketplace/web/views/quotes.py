"""The price before the click, and the click."""

import json
import uuid

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST, require_safe

from accounts import clock
from accounts.models import User, Workshop
from jobs import queries
from jobs.job_types.base import Refusal
from jobs.models import Job
from marketplace.market import bidding, eta, orders, resubmission
from marketplace.market.models import Quote
from marketplace.web import bids, drafts, quote_page, template_page
from marketplace.web.context import balance_of
from marketplace.web.guard import Region, SignedInRequest, signed_in
from marketplace.web.numbers import credits_exact
from marketplace.web.views import studio

NOT_ENOUGH = 402
CONFLICT = 409
GONE = 410
TOO_MANY = 429


@require_safe
@signed_in
def quote(request: SignedInRequest, quote_id: uuid.UUID) -> HttpResponse:
    """The price of one's own workflow. One that was ordered leads to its job."""
    found = _find(request.user, quote_id)
    ordered = _job_of(found)
    if ordered is not None:
        return redirect("web:job", job_id=ordered.pk)
    return _page(request, found)


@require_GET
@signed_in
def fragment(request: SignedInRequest, quote_id: uuid.UUID) -> HttpResponse:
    """What changes while one looks at it: the wait, the balance after, whether it still holds."""
    return _run_bar(request, _find(request.user, quote_id)).response(request)


@require_POST
@signed_in
def run(request: SignedInRequest, quote_id: uuid.UUID) -> HttpResponse:
    """Order it. Pressing twice, or coming back to press again, gives the same job."""
    found = _find(request.user, quote_id)
    try:
        job = orders.place(
            request.user,
            found.pk,
            key=request.POST.get("key") or None,
            bid=bids.read(request.POST.get("bid", "")),
            unpaid=bool(request.POST.get("unpaid")),
        )
    except (bidding.BadBid, orders.HasCredits) as refused:
        return _page(request, found, problem=str(refused), status=CONFLICT)
    except orders.InsufficientCredits as short:
        missing = _("You are %(missing)s credits short. Nothing was set aside.")
        return _page(
            request,
            found,
            problem=missing % {"missing": credits_exact(short.shortfall_milli)},
            status=NOT_ENOUGH,
        )
    except orders.QuoteExpired:
        return _price_again(request, found.workshop, found)
    except orders.QuoteUnknown:
        raise Http404 from None
    except orders.QuoteSpent as spent:
        return redirect("web:job", job_id=spent.job.pk)
    except orders.KeyConflict:
        return _page(
            request,
            found,
            problem=_("This page was used for another order. Look at its price again."),
            status=CONFLICT,
        )
    except orders.WaitingLimit as full:
        return _page(request, found, problem=str(full), status=TOO_MANY)
    except (orders.WorkshopClosed, orders.NotAllowed) as closed:
        return _page(request, found, problem=str(closed), status=403)
    return redirect("web:job", job_id=job.pk)


@require_POST
@signed_in
def again(request: SignedInRequest, quote_id: uuid.UUID) -> HttpResponse:
    """A new price for the same workflow."""
    found = _find(request.user, quote_id)
    return _price_again(request, found.workshop, found)


@require_POST
@signed_in
def change(request: SignedInRequest, quote_id: uuid.UUID) -> HttpResponse:
    """A price for the same workflow with a hint's changes applied."""
    found = _find(request.user, quote_id)
    changes = drafts.changes(request.POST.get("apply", ""))
    try:
        body = resubmission.with_changes(found, changes)
    except Refusal as refusal:
        return studio.page(
            request,
            body=resubmission.as_submitted(found),
            title=found.title,
            problems=refusal.problems,
            status=studio.REFUSED,
        )
    origin = resubmission.origin(found, changes)
    renewed = studio.price(request, found.workshop, body, found.title, found.job_type, **origin)
    return redirect("web:quote", quote_id=renewed.pk) if isinstance(renewed, Quote) else renewed


@require_POST
@signed_in
def rerun(request: SignedInRequest, job_id: uuid.UUID) -> HttpResponse:
    """A price for the workflow of a job, for whoever may see it."""
    try:
        job = queries.visible_job(request.user, job_id)
    except Job.DoesNotExist:
        raise Http404 from None
    return _price_again(request, job.workshop, job)


def _price_again(request: SignedInRequest, workshop: Workshop, before: Quote | Job) -> HttpResponse:
    body, origin = resubmission.as_submitted(before), resubmission.origin(before)
    renewed = studio.price(request, workshop, body, before.title, before.job_type, **origin)
    if isinstance(renewed, Quote):
        response = redirect("web:quote", quote_id=renewed.pk)
        if isinstance(before, Quote):
            response["Location"] += f"?instead={before.pk}"
        return response
    return renewed


def _find(user: User, quote_id: uuid.UUID) -> Quote:
    found = Quote.objects.select_related("workshop").filter(pk=quote_id, student=user).first()
    if found is None:
        raise Http404
    return found


def _job_of(found: Quote) -> Job | None:
    return Job.objects.filter(order__quote=found).first()


def _run_bar(request: SignedInRequest, found: Quote, problem: str = "") -> Region:
    balance = balance_of(request) or {"available_milli": 0}
    after_milli = balance["available_milli"] - found.ceiling_milli
    context = {
        "quote": found,
        "problem": problem,
        "expired": found.expires_at <= clock.now(),
        "starts": eta.before_click(found),
        "after_milli": after_milli,
        "short_milli": max(-after_milli, 0),
        **bids.context(found, balance["available_milli"], bids.read(request.POST.get("bid", ""))),
    }
    return Region(request, "web/_quote_run.html", context)


def _page(request: SignedInRequest, found: Quote, problem: str = "", status: int = 200) -> HttpResponse:
    before = _before(request, found)
    context = {
        "section": "studio",
        **quote_page.context(found),
        "hints": template_page.hints(found),
        "run_bar": _run_bar(request, found, problem),
        "before": before,
        "difference_milli": found.ceiling_milli - before.ceiling_milli if before else 0,
        "workflow_text": json.dumps(found.payload, indent=2, ensure_ascii=False),
    }
    return render(request, "web/quote.html", context, status=status)


def _before(request: SignedInRequest, found: Quote) -> Quote | None:
    """The expired price this one stands in for, to say what changed."""
    try:
        asked = uuid.UUID(request.GET.get("instead", ""))
    except ValueError:
        return None
    return Quote.objects.filter(pk=asked, student=request.user).exclude(pk=found.pk).first()
