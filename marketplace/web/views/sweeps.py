"""Sweeps: a template's form with several values in some fields, priced as a whole, ordered with one click."""

import uuid
from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe

from accounts import access
from jobs import queries
from jobs.job_types.base import Refusal
from jobs.models import ON_AGENT, WAITING, Template
from marketplace.market import eta, sweeps, template_quotes
from marketplace.market.models import Sweep
from marketplace.market.sweeps import PreparedSweep
from marketplace.web import drafts, job_page, template_page
from marketplace.web.drafts import Draft
from marketplace.web.guard import Region, SignedInRequest, signed_in
from marketplace.web.numbers import credits_exact
from marketplace.web.template_page import Answer
from marketplace.web.views import templates


@dataclass(frozen=True, slots=True)
class _Told:
    """A prepared sweep, or what stands in its way; the sentence and status of a refused order."""

    sweep: PreparedSweep | None
    answer: Answer


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def builder(request: SignedInRequest, template_id: int) -> HttpResponse:
    """Choose what changes. What is sent here is kept as the draft and shown again."""
    found = templates.find(request, template_id)
    if request.method == "POST":
        drafts.keep(request, found, drafts.posted(request, found))
        return redirect(f"{reverse('web:sweep_builder', args=[found.pk])}")
    return _page(request, found, drafts.read(request, found))


@require_http_methods(["GET", "POST"])
@signed_in
def price_fragment(request: SignedInRequest, template_id: int) -> HttpResponse:
    """Its price: of the draft, or of what is sent and kept as the draft."""
    found = templates.find(request, template_id)
    if request.method == "POST":
        drafts.keep(request, found, drafts.posted(request, found))
    draft = drafts.read(request, found)
    return _price_region(request, found, draft, _prepared(request, found, draft)).response(request)


@require_POST
@signed_in
def run(request: SignedInRequest, template_id: int) -> HttpResponse:
    """Order all of it, or nothing. Pressing twice gives the same sweep."""
    found = templates.find(request, template_id)
    draft = drafts.posted(request, found)
    drafts.keep(request, found, draft)
    shown = request.POST.get("shown", "")
    try:
        sweep = sweeps.place_sweep(
            request.user,
            found,
            draft.values(found),
            draft.grid_values(found),
            key=request.POST.get("key") or str(uuid.uuid4()),
            shown_ceiling_milli=int(shown) if shown.isdecimal() and len(shown) < 19 else None,
            changes=draft.changes,
            title=draft.title,
        )
    except template_page.PRICE_REFUSALS as error:
        return _page(request, found, draft, _Told(None, template_page.refused(found, draft, error)))
    except template_quotes.PriceMoved:
        now = _prepared(request, found, draft)
        said = _("The price changed. Look at it again; nothing was set aside yet.")
        return _page(request, found, draft, _Told(now.sweep, Answer(said=said, status=templates.CONFLICT)))
    except templates.ORDER_REFUSALS as error:
        now = _prepared(request, found, draft)
        return _page(request, found, draft, _Told(now.sweep, templates.order_refused(error)))
    return redirect("web:sweep", sweep_id=sweep.pk)


@require_safe
@signed_in
def sweep(request: SignedInRequest, sweep_id: uuid.UUID) -> HttpResponse:
    """The jobs of one sweep, together."""
    found = _find(request, sweep_id)
    labels = {str(one["name"]): str(one.get("label") or one["name"]) for one in found.template.form}
    context = {
        "section": "jobs",
        "sweep": found,
        "grid": [(labels.get(name, name), ", ".join(map(str, each))) for name, each in found.grid.items()],
        "live": _jobs_region(request, found),
    }
    return render(request, "web/sweep.html", context)


@require_GET
@signed_in
def fragment(request: SignedInRequest, sweep_id: uuid.UUID) -> HttpResponse:
    """What of it lives."""
    return _jobs_region(request, _find(request, sweep_id)).response(request)


def _find(request: SignedInRequest, sweep_id: uuid.UUID) -> Sweep:
    found = Sweep.objects.select_related("template", "workshop").filter(pk=sweep_id).first()
    if found is None or not (
        found.student_id == request.user.pk or access.is_staff_of(request.user, found.workshop_id)
    ):
        raise Http404
    return found


def _jobs_region(request: SignedInRequest, found: Sweep) -> Region:
    visible = queries.visible_jobs(request.user).filter(order__quote__sweep=found)
    jobs = list(visible.order_by("number"))
    context = {
        "sweep": found,
        "tiles": job_page.tiles(jobs),
        "in_flight": sum(job.status in ON_AGENT for job in jobs),
        "waiting": sum(job.status in WAITING for job in jobs),
        "held_milli": sum(job.held_milli for job in jobs if job.status in (*ON_AGENT, *WAITING)),
        "paid_milli": sum(job.captured_milli or 0 for job in jobs),
    }
    return Region(request, "web/_sweep_jobs.html", context)


def _prepared(request: SignedInRequest, found: Template, draft: Draft) -> _Told:
    grid = draft.grid_values(found)
    if not grid:
        return _Told(None, Answer())  # nothing chosen yet is nothing wrong
    try:
        made = sweeps.prepare_sweep(
            request.user, found, draft.values(found), grid, changes=draft.changes, title=draft.title
        )
    except template_page.PRICE_REFUSALS as error:
        return _Told(None, _refused(found, draft, error))
    return _Told(made, Answer())


def _refused(found: Template, draft: Draft, error: Exception) -> Answer:
    if isinstance(error, Refusal) and any(one.code == "missing_model" for one in error.problems):
        # Swapped on the template's own page, where the field stands.
        return Answer(problems=error.problems, status=400)
    return template_page.refused(found, draft, error)


def _page(request: SignedInRequest, found: Template, draft: Draft, told: _Told | None = None) -> HttpResponse:
    context: dict[str, Any] = {
        "section": "studio",
        "template": found,
        "fields": template_page.sweepable(found, draft),
        "price": _price_region(request, found, draft, told or _prepared(request, found, draft)),
        "key": uuid.uuid4(),
        "most_fields": sweeps.MAX_FIELDS,
        "most_jobs": sweeps.MAX_JOBS,
    }
    return render(request, "web/sweep_builder.html", context, status=told.answer.status if told else 200)


def _price_region(request: SignedInRequest, found: Template, draft: Draft, told: _Told) -> Region:
    context: dict[str, Any] = {"template": found, "answer": told.answer, "sweep": told.sweep}
    if told.sweep is not None:
        available_milli = template_page.available_milli(request.user, found.workshop)
        after_milli = available_milli - told.sweep.ceiling_milli
        rows = zip(told.sweep.points, told.sweep.quotes, strict=True)
        context |= {
            "rows": [(sweeps.words(found, point), quote) for point, quote in rows],
            "starts": eta.before_click(told.sweep.quotes[0]),
            "after_milli": after_milli,
            "short_milli": max(-after_milli, 0),
            "most": credits_exact(told.sweep.ceiling_milli),
        }
    return Region(request, "web/_sweep_price.html", context)
