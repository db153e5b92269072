"""The market page: who waits, what it costs, what the GPUs do, how late it is."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_safe

from accounts.models import Workshop
from accounts.sessions import State
from marketplace.market import class_clock, market_view
from marketplace.market.market_view import Clearing, Clock, Gpu, Market
from marketplace.web.context import workshop_of
from marketplace.web.guard import Region, SignedInRequest, signed_in
from marketplace.web.words import Badge

GPU_BADGES = {
    "running": Badge("live", "play", _("Running")),
    "ready": Badge("done", "check", _("Ready")),
    "warming": Badge("go", "clock", _("Warming up")),
    "paused": Badge("hold", "pause", _("Paused")),
    "draining": Badge("hold", "drain", _("Draining")),
    "lost": Badge("bad", "unlink", _("Lost contact")),
}
CLOCK_BADGES = {
    State.REHEARSAL: Badge("", "clock", _("Not open yet")),
    State.OPEN: Badge("go", "clock", _("Open")),
    State.BREAK: Badge("hold", "pause", _("Break")),
    State.LAST_CALL: Badge("hold", "clock", _("Last call")),
    State.CLOSING: Badge("hold", "lock", _("Closing")),
    State.CLOSED: Badge("", "lock", _("Closed")),
}
# The drawing of clearing prices, in units of its view box.
LEFT, RIGHT, TOP, FOOT = 34, 510, 20, 138
HIGHEST = 4.0
HISTORY_BUCKETS = 12


@require_safe
@signed_in
def market(request: SignedInRequest) -> HttpResponse:
    """The page."""
    workshop = _mine(request)
    return render(request, "web/market.html", {"section": "market", "live": _live(request, workshop)})


@require_GET
@signed_in
def fragment(request: SignedInRequest) -> HttpResponse:
    """What of it lives: all but the heading."""
    return _live(request, _mine(request)).response(request)


@require_GET
@signed_in
def notices_fragment(request: SignedInRequest) -> HttpResponse:
    """What stands on top of every page: a pause, and what the clock has to say."""
    _mine(request)
    return Region(request, "web/_notices.html", {}).response(request)


def gpu_rows(gpus: list[Gpu]) -> list[dict[str, Any]]:
    """GPUs with their badges."""
    return [{"gpu": gpu, "badge": GPU_BADGES[gpu.state]} for gpu in gpus]


def clock_context(clock: Clock | None) -> dict[str, Any]:
    """The clock with its badge and its picture's lengths in percent; empty without a session."""
    if clock is None:
        return {}
    last = 100 * clock.last_call_share
    return {
        "clock": clock,
        "clock_badge": CLOCK_BADGES[clock.state],
        "now_at": f"{100 * clock.now_share:.2f}%",
        "last_at": f"{last:.2f}%",
        "last_width": f"{100 - last:.2f}%",
    }


def _mine(request: SignedInRequest) -> Workshop:
    workshop = workshop_of(request)
    if workshop is None:
        raise PermissionDenied
    return workshop


def _live(request: SignedInRequest, workshop: Workshop) -> Region:
    found = market_view.view(request.user, workshop)
    context = {
        "market": found,
        "longest": max((row.gpu_seconds for row in found.rows), default=0.0),
        "gpus": gpu_rows(found.gpus),
        "history": _drawn(found),
        "drafts": class_clock.drafts(request.user, workshop),
        **clock_context(found.clock),
    }
    return Region(request, "web/_market.html", context)


def _drawn(found: Market) -> dict[str, Any]:
    """The clearing prices as a stepped line; empty without any."""
    shown: list[Clearing] = found.clearing[-HISTORY_BUCKETS:]
    if not shown:
        return {}
    first = shown[0].at.timestamp()
    span = max(shown[-1].at.timestamp() + market_view.BUCKET_SECONDS - first, 1.0)
    path = ""
    for one in shown:
        begins = LEFT + (RIGHT - LEFT) * (one.at.timestamp() - first) / span
        ends = begins + (RIGHT - LEFT) * market_view.BUCKET_SECONDS / span
        y = FOOT - (FOOT - TOP) * (min(one.multiple, HIGHEST) - 1) / (HIGHEST - 1)
        path += f"{'L' if path else 'M'}{begins:.1f} {y:.1f}H{ends:.1f}"
    return {"path": path, "steps": shown}
