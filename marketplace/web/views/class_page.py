"""The class page: the clock, the levers, the line with names and the GPUs, for staff of the workshop."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, ValidationError
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST, require_safe

from accounts import access, clock, sessions
from accounts.ledger import balances
from accounts.models import AuditRow, ClassSession, Workshop
from jobs.models import ON_AGENT, Job, Status, Template
from marketplace.fleet import manifest
from marketplace.fleet import registry as fleet
from marketplace.fleet.models import Agent
from marketplace.market import closing, levers, market_view, orders, switching
from marketplace.market.market_view import Gpu
from marketplace.market.models import Quote
from marketplace.web.context import workshop_of
from marketplace.web.guard import Region, SignedInRequest, signed_in
from marketplace.web.numbers import credits_exact
from marketplace.web.views.market import CLOCK_BADGES, clock_context, gpu_rows
from marketplace.web.words import BADGES

LINE_SHOWN = 100
DEMOS_SHOWN = 5
OFFERED = (Workshop.Policy.FAIR_SHARE, Workshop.Policy.MARKET)
AUDIT_SHOWN = 10
TEMPLATES_SHOWN = 50


@require_safe
@signed_in
def class_page(request: SignedInRequest) -> HttpResponse:
    """The page."""
    workshop = _staffed(request)
    agents = fleet.serving(workshop).exclude(state=Agent.State.NEW).order_by("name")
    context = {"section": "class", "live": _live(request, workshop), "agents": agents}
    return render(request, "web/class.html", context)


@require_GET
@signed_in
def fragment(request: SignedInRequest) -> HttpResponse:
    """What of it lives."""
    return _live(request, _staffed(request)).response(request)


@require_POST
@signed_in
def pull(request: SignedInRequest) -> HttpResponse:
    """Pull the lever a button names: `pull` is its name and what it is pulled on, with colons between."""
    workshop = _staffed(request)
    name, *subject = request.POST.get("pull", "").split(":")
    act = _LEVERS.get(name)
    try:
        if act is None:
            raise levers.LeverRefused(_("Press the button of a lever."))
        messages.info(request, act(request, workshop, subject))
    except (levers.LeverRefused, levers.NotStaff, sessions.ClockRefused, switching.NoSuchPolicy) as refused:
        messages.error(request, str(refused))
    except orders.InsufficientCredits as short:
        told = _("The purse is %(missing)s credits short. Move credits to it first.")
        messages.error(request, told % {"missing": credits_exact(short.shortfall_milli)})
    except (orders.QuoteExpired, orders.QuoteUnknown, orders.KeyConflict, orders.WorkshopClosed) as refused:
        messages.error(request, str(refused))
    except (ObjectDoesNotExist, ValidationError, ValueError, IndexError):
        messages.error(request, _("That is not here any more. Look at the page again."))
    return redirect("web:class_page")


# --- levers --------------------------------------------------------------------------------------

_Act = Callable[[SignedInRequest, Workshop, list[str]], str]


def _reason(request: SignedInRequest) -> str:
    return request.POST.get("reason", "")


def _job(workshop: Workshop, subject: list[str]) -> Job:
    return Job.objects.select_related("workshop").get(workshop=workshop, pk=subject[0])


def _agent(workshop: Workshop, agent_id: str) -> Agent:
    return fleet.serving(workshop).select_related("device").get(pk=agent_id)


def _session(workshop: Workshop, subject: list[str]) -> ClassSession:
    return ClassSession.objects.get(workshop=workshop, pk=int(subject[0]))


def _time(request: SignedInRequest, name: str) -> datetime:
    found = parse_datetime(request.POST.get(name, ""))
    if found is None:
        raise levers.LeverRefused(_("Give the time as day and hour."))
    return timezone.make_aware(found) if timezone.is_naive(found) else found


def _turn(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    session = _session(workshop, subject)
    moved = closing.turn(request.user, session.pk, subject[1], reason=_reason(request), seen=subject[2])
    return _("The clock stands at: %(state)s.") % {"state": moved.get_state_display()}


def _set_end(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    session = _session(workshop, subject)
    closing.set_end(request.user, session.pk, _time(request, "closes_at"), reason=_reason(request))
    return _("The end of the class was moved.")


def _plan(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    opens_at, closes_at = _time(request, "opens_at"), _time(request, "closes_at")
    sessions.plan(workshop, opens_at, closes_at, actor=request.user)
    return _("The session is planned. It opens by itself.")


def _pause(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    if not _reason(request).strip():
        raise levers.LeverRefused(_("Say why: students read it."))
    levers.pause_workshop(request.user, workshop, _reason(request))
    return _("Paused. Running jobs finish, nothing new starts.")


def _resume(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    levers.pause_workshop(request.user, workshop, "")
    return _("The line moves again.")


def _freeze(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    frozen = subject[0] == "on"
    levers.freeze_bids(request.user, workshop, frozen, _reason(request))
    return _("Bids are frozen.") if frozen else _("Bids can be changed again.")


def _policy(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    told = request.POST.get("phi", "").strip()
    phi = float(told) if told else None
    switching.switch_policy(workshop, subject[0], request.user, phi)
    return _("Jobs queue by: %(mode)s.") % {"mode": workshop.get_policy_display()}


def _pause_agent(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    agent = _agent(workshop, subject[0])
    on = subject[1] == "on"
    if on and not _reason(request).strip():
        raise levers.LeverRefused(_("Say why: students read it."))
    levers.pause_agent(request.user, workshop, agent, _reason(request) if on else "")
    words = _("%(agent)s takes nothing new.") if on else _("%(agent)s takes jobs again.")
    return words % {"agent": agent.name}


def _drain(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    agent = _agent(workshop, subject[0])
    on = subject[1] == "on"
    levers.drain_agent(request.user, workshop, agent, on, _reason(request))
    words = _("%(agent)s empties itself.") if on else _("%(agent)s takes jobs again.")
    return words % {"agent": agent.name}


def _pause_template(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    template = Template.objects.select_related("workshop").get(workshop=workshop, pk=int(subject[0]))
    on = subject[1] == "on"
    if on and not _reason(request).strip():
        raise levers.LeverRefused(_("Say why: students read it."))
    levers.pause_template(request.user, template, _reason(request) if on else "")
    words = _("Jobs of %(name)s wait.") if on else _("Jobs of %(name)s go on.")
    return words % {"name": template.name}


def _front(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    job = levers.move_to_front(request.user, _job(workshop, subject), _reason(request))
    return _("Job %(number)s is next.") % {"number": job.number}


def _to_agent(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    agent = _agent(workshop, request.POST.get("agent", ""))
    job = levers.move_to_agent(request.user, _job(workshop, subject), agent, _reason(request))
    return _("Job %(number)s goes to %(agent)s.") % {"number": job.number, "agent": agent.name}


def _stop(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    job = _job(workshop, subject)
    levers.stop_job(request.user, job, _reason(request))
    words = _("Job %(number)s is stopped; %(back)s return to its owner.")
    return words % {"number": job.number, "back": credits_exact(job.held_milli)}


def _demo(request: SignedInRequest, workshop: Workshop, subject: list[str]) -> str:
    quote = Quote.objects.get(workshop=workshop, student=request.user, pk=subject[0])
    job = levers.demo_now(request.user, quote.pk, reason=_reason(request))
    return _("Demo %(number)s goes next; the purse set %(held)s aside.") % {
        "number": job.number, "held": credits_exact(job.held_milli),
    }  # fmt: skip


_LEVERS: dict[str, _Act] = {
    "clock": _turn,
    "end": _set_end,
    "plan": _plan,
    "pause": _pause,
    "resume": _resume,
    "bids": _freeze,
    "policy": _policy,
    "agent": _pause_agent,
    "drain": _drain,
    "template": _pause_template,
    "front": _front,
    "to": _to_agent,
    "stop": _stop,
    "demo": _demo,
}


# --- what the page shows -------------------------------------------------------------------------


def _staffed(request: SignedInRequest) -> Workshop:
    """The current workshop, for its staff; nobody else comes here."""
    workshop = workshop_of(request)
    if workshop is None or not access.is_staff_of(request.user, workshop.pk):
        raise PermissionDenied
    return workshop


def _live(request: SignedInRequest, workshop: Workshop) -> Region:
    market = market_view.view(request.user, workshop)
    session = sessions.current(workshop.pk)
    jobs = Job.objects.filter(workshop=workshop).select_related("student")
    jobs = jobs.defer("payload", "nodes", "inputs")
    line = jobs.filter(status=Status.QUEUED).order_by("queue_class", "queue_key_ms", "pk")
    held_back = jobs.filter(status=Status.HELD_BACK).order_by("queue_key_ms", "pk")
    running = jobs.filter(status__in=ON_AGENT).order_by("agent_name", "number")
    steps = sessions.FOLLOWS[session.state] if session is not None else ()
    context: dict[str, Any] = {
        "market": market,
        "session": session,
        "offered": [mode for mode in Workshop.Policy if mode in OFFERED],
        "advanced": [mode for mode in Workshop.Policy if mode not in OFFERED],
        "phi": f"{workshop.fairness_phi:g}",
        "steps": [{"to": to, "badge": CLOCK_BADGES[to]} for to in steps],
        "line": [(place, job) for place, job in enumerate(line[:LINE_SHOWN], start=1)],
        "held_back": list(held_back[:LINE_SHOWN]),
        "running": [{"job": job, "badge": BADGES[Status(job.status)]} for job in running[:LINE_SHOWN]],
        "gpus": _gpus(request, workshop, market.gpus),
        "templates": _templates(workshop),
        "demos": _demos(request, workshop),
        "purse_milli": next((p.available_milli for p in balances.pools(workshop) if p.purse), 0),
        "audit": _audit(workshop),
        **clock_context(market.clock),
    }
    return Region(request, "web/_class.html", context)


def _gpus(request: SignedInRequest, workshop: Workshop, gpus: list[Gpu]) -> list[dict[str, Any]]:
    """GPUs with badges, their agents, their model files, and whether this person may hold them."""
    agents = {agent.name: agent for agent in fleet.serving(workshop)}
    files = manifest.standings(agents.values())
    rows = [{**row, "agent": agents[row["gpu"].name]} for row in gpu_rows(gpus) if row["gpu"].name in agents]
    return [
        {
            **row,
            "files": files.get(row["agent"].pk),
            "mine": levers.may_hold(request.user, workshop, row["agent"]),
        }
        for row in rows
    ]


def _templates(workshop: Workshop) -> list[Template]:
    """What can be paused: the newest published version of each, and whatever is paused."""
    published = Template.objects.filter(workshop=workshop, published_at__isnull=False, withdrawn_at=None)
    newest: dict[str, Template] = {}
    for template in published.defer("payload", "form").order_by("name", "version"):
        newest[template.slug] = template
    return list(newest.values())[:TEMPLATES_SHOWN]


def _audit(workshop: Workshop) -> list[AuditRow]:
    """What was done with clock, levers and GPUs, newest first."""
    kinds = Q()
    for kind in ("lever.", "session.", "agent.", "policy."):
        kinds |= Q(action__startswith=kind)
    return list(AuditRow.objects.filter(kinds, workshop=workshop).select_related("actor")[:AUDIT_SHOWN])


def _demos(request: SignedInRequest, workshop: Workshop) -> list[Quote]:
    """One's own prices that still hold and were not ordered: what may be run as a demo."""
    mine = Quote.objects.filter(workshop=workshop, student=request.user, order=None, sweep=None)
    return list(mine.filter(expires_at__gt=clock.now()).defer("payload", "nodes", "lines")[:DEMOS_SHOWN])
