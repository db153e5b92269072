"""The studio: bring a workflow, see what is going on."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from accounts import access
from accounts.models import Workshop
from jobs import queries
from jobs.job_types.base import Problem, Refusal
from jobs.models import ON_AGENT, WAITING, Upload
from marketplace.market import orders, template_quotes
from marketplace.market.models import Quote
from marketplace.market.template_quotes import Missing
from marketplace.web import drafts, job_page, template_page
from marketplace.web.context import workshop_of
from marketplace.web.guard import Region, SignedInRequest, signed_in

STRIP_JOBS = 8
UPLOADS_SHOWN = 12
REFUSED = 400


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def studio(request: SignedInRequest) -> HttpResponse:
    """The page, and where a workflow is sent to be priced."""
    if request.method == "POST":
        return _price_submitted(request)
    return page(request)


@require_GET
@signed_in
def fragment(request: SignedInRequest) -> HttpResponse:
    """My jobs."""
    return _strip(request).response(request)


@require_GET
@signed_in
def uploads_fragment(request: SignedInRequest) -> HttpResponse:
    """My files, after one was added."""
    return _uploads(request).response(request)


def price(
    request: SignedInRequest,
    workshop: Workshop,
    body: bytes,
    title: str,
    job_type: str = "comfyui",
    **origin: Any,
) -> Quote | HttpResponse:
    """A quote for the workflow; or the studio, saying beside the kept text why there is none. `origin`: the
    `template` and `form_values` it comes from."""
    try:
        return orders.quote(request.user, workshop, body, title=title, job_type=job_type, **origin)
    except Refusal as refusal:
        missing = template_quotes.missing_models(workshop, job_type, body, refusal.problems)
        # A picture's bytes can't stay in the field, but the workflow in it can.
        kept = template_quotes.changed(workshop, job_type, body, ()) if missing and b"\0" in body else body
        return page(
            request, body=kept, title=title, problems=refusal.problems, missing=missing, status=REFUSED
        )
    except orders.NoAgentYet as error:
        return page(request, body=body, title=title, problems=[Problem("no_agent", str(error))], status=503)
    except (orders.NotAllowed, orders.WorkshopClosed) as error:
        return page(
            request, body=body, title=title, problems=[Problem("not_allowed", str(error))], status=403
        )


def _price_submitted(request: SignedInRequest) -> HttpResponse:
    workshop = workshop_of(request)
    if workshop is None:
        return page(request, status=403)
    title, body = request.POST.get("title", "").strip(), _submitted(request)
    swaps = drafts.swaps(request.POST)
    if swaps:
        try:
            body = template_quotes.changed(workshop, "comfyui", body, swaps)
        except Refusal as refusal:
            return page(request, body=body, title=title, problems=refusal.problems, status=REFUSED)
    priced = price(request, workshop, body, title)
    return redirect("web:quote", quote_id=priced.pk) if isinstance(priced, Quote) else priced


def _submitted(request: HttpRequest) -> bytes:
    """The workflow: a chosen file, else the text field (browsers send CRLF; JSON doesn't mind)."""
    file = request.FILES.get("workflow_file")
    if file is not None and file.size:
        # Beyond the parser's own limit, which it names; a picture may weigh more than the workflow in it.
        return bytes(file.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE))
    return request.POST.get("workflow", "").encode("utf-8", "surrogatepass")


def _readable(body: bytes) -> str:
    """The text to keep in the field; nothing of a picture's bytes."""
    text = body.decode("utf-8", "replace")
    return "" if "\0" in text else text


def _strip(request: SignedInRequest) -> Region:
    workshop = workshop_of(request)
    mine = list(queries.own_jobs(request.user).filter(workshop=workshop)[:STRIP_JOBS]) if workshop else []
    tiles = job_page.tiles(mine)
    context = {
        "tiles": tiles,
        "in_flight": sum(job.status in ON_AGENT for job in mine),
        "waiting": sum(job.status in WAITING for job in mine),
    }
    return Region(request, "web/_studio_jobs.html", context)


def _uploads(request: SignedInRequest) -> Region:
    workshop = workshop_of(request)
    mine = queries.own_uploads(request.user, workshop.pk) if workshop else Upload.objects.none()
    return Region(request, "web/_uploads.html", {"uploads": list(mine[:UPLOADS_SHOWN])})


def _swap_of(problem: Problem, missing: Sequence[Missing]) -> Missing | None:
    return next((one for one in missing if one.problem == problem), None)


def page(
    request: SignedInRequest,
    *,
    body: bytes = b"",
    title: str = "",
    problems: Sequence[Problem] = (),
    missing: Sequence[Missing] = (),
    status: int = 200,
) -> HttpResponse:
    workshop = workshop_of(request)
    context: dict[str, Any] = {
        "section": "studio",
        "strip": _strip(request),
        "cards": template_page.cards(request.user, workshop),
        "workflow_text": _readable(body),
        "workflow_title": title,
        "problems": [(problem, _swap_of(problem, missing)) for problem in problems],
        "swappable": any(one.choices for one in missing),
        "may_submit": workshop is not None and access.may_submit(request.user, workshop),
        "uploads": _uploads(request),
        "workshops": list(access.workshops_of(request.user)[:50]),
        "max_workflow_bytes": settings.MAX_WORKFLOW_BYTES,
        "max_upload_bytes": settings.MAX_UPLOAD_BYTES,
    }
    return render(request, "web/studio.html", context, status=status)
