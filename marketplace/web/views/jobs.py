"""Jobs: the list, and the page where one is followed to its receipt."""

import json
import uuid

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST, require_safe

from jobs import queries
from jobs.artifacts import content_disposition
from jobs.models import Job, Status
from marketplace.market import bidding, failures, orders
from marketplace.web import bids, job_page
from marketplace.web.guard import Region, SignedInRequest, signed_in
from marketplace.web.numbers import credits_exact

PAGE_JOBS = 30


@require_safe
@signed_in
def jobs(request: SignedInRequest) -> HttpResponse:
    """Every job one may see, newest first, by key: `?before=<number>`."""
    visible = queries.visible_jobs(request.user)
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) < 19:
        visible = visible.filter(number__lt=int(before))
    found = list(visible.order_by("-number")[: PAGE_JOBS + 1])
    context = {
        "section": "jobs",
        "tiles": job_page.tiles(found[:PAGE_JOBS]),
        "older": found[PAGE_JOBS - 1].number if len(found) > PAGE_JOBS else None,
        "newest": not before,
    }
    return render(request, "web/jobs.html", context)


@require_safe
@signed_in
def job(request: SignedInRequest, job_id: uuid.UUID) -> HttpResponse:
    """The page of one job."""
    found = find(request, job_id)
    return render(request, "web/job.html", {"section": "jobs", "job": found, "live": _live(request, found)})


@require_GET
@signed_in
def fragment(request: SignedInRequest, job_id: uuid.UUID) -> HttpResponse:
    """What of it lives."""
    return _live(request, find(request, job_id)).response(request)


@require_POST
@signed_in
def cancel(request: SignedInRequest, job_id: uuid.UUID) -> HttpResponse:
    """Stop it: what the button said is paid, the rest returns."""
    found = find(request, job_id)
    result = orders.cancel(found, by=request.user)
    amounts = {"paid": credits_exact(result.captured_milli), "back": credits_exact(result.returned_milli)}
    if result.pending:
        said = _("Stopping. At most %(paid)s paid, at least %(back)s returned.") % amounts
    elif result.status == Status.CANCELLED:
        said = _("Cancelled. %(paid)s paid, %(back)s returned.") % amounts
    else:
        said = _("It had ended before you cancelled. %(paid)s paid, %(back)s returned.") % amounts
    messages.info(request, said)
    return redirect("web:job", job_id=found.pk)


@require_POST
@signed_in
def bid(request: SignedInRequest, job_id: uuid.UUID) -> HttpResponse:
    """Raise, lower or withdraw the bid of one's own waiting job."""
    found = find(request, job_id)
    try:
        changed = bidding.rebid(found, request.user, bids.read(request.POST.get("multiple", "0")))
    except orders.InsufficientCredits as short:
        told = _("You are %(missing)s credits short of that bid. Your bid stands as it was.")
        messages.error(request, told % {"missing": credits_exact(short.shortfall_milli)})
    except (bidding.BadBid, bidding.BidsFrozen, bidding.BidTooLate, orders.NotAllowed) as refused:
        messages.error(request, str(refused))
    else:
        told = _("Your bid is ×%(bid)s now; at most %(most)s credits are set aside.")
        messages.info(request, told % {"bid": changed.bid, "most": credits_exact(changed.held_milli)})
    return redirect("web:job", job_id=found.pk)


@require_POST
@signed_in
def buy(request: SignedInRequest, job_id: uuid.UUID) -> HttpResponse:
    """Pay for what one's own failed job did produce."""
    found = find(request, job_id)
    try:
        bought = failures.buy_failed(found, request.user)
    except orders.InsufficientCredits as short:
        told = _("You are %(missing)s credits short. Nothing was paid.")
        messages.error(request, told % {"missing": credits_exact(short.shortfall_milli)})
    except (failures.NothingToBuy, orders.NotAllowed) as refused:
        messages.error(request, str(refused))
    else:
        paid = credits_exact(bought.bought_milli or 0)
        messages.info(request, _("Bought for %(paid)s credits.") % {"paid": paid})
    return redirect("web:job", job_id=found.pk)


@require_safe
@signed_in
def workflow(request: SignedInRequest, job_id: uuid.UUID) -> HttpResponse:
    """The workflow as it ran, in API format."""
    found = find(request, job_id)
    body = json.dumps(found.payload, indent=2, ensure_ascii=False)
    name = content_disposition(f"{found.title} ({found.number}).json", shown=False)
    return HttpResponse(body, content_type="application/json", headers={"Content-Disposition": name})


def find(request: SignedInRequest, job_id: uuid.UUID) -> Job:
    """The job, if this person may see it: another's is answered as none."""
    try:
        return queries.visible_job(request.user, job_id)
    except Job.DoesNotExist:
        raise Http404 from None


def _live(request: SignedInRequest, found: Job) -> Region:
    return Region(request, "web/_job.html", job_page.context(request.user, found))
