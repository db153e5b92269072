"""When a job will start, in numbers and in a sentence: the line replayed over the fleet, corrected by how far
such jobs really started from what the replay said.

Off the dispatch path; read by pages and the API. Where nothing online could run the job, or it is paused,
there is no number: None.
"""

from dataclasses import dataclass

from django.db import connection
from django.utils.translation import gettext, ngettext

from accounts import sessions
from accounts.models import Workshop
from accounts.sessions import State
from jobs.models import WAITING, Job, Status
from marketplace.fleet import registry as fleet
from marketplace.fleet.models import Agent
from marketplace.market import board, matching, places, waits
from marketplace.market.board import Board
from marketplace.market.models import Quote
from marketplace.market.picks import Standing
from marketplace.market.policies.base import BIDS
from marketplace.market.waits import LEAST_HIGH_SECONDS

__all__ = [
    "LEAST_HIGH_SECONDS",
    "before_click",
    "before_click_by_bid",
    "interval",
    "level_of",
    "p50_start_seconds",
    "position",
    "why_waiting",
]

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Line:
    """What stands before a place in the line."""

    jobs_ahead: int
    jobs_waiting: int


# Held-back jobs stand behind the line.
_PLACE = """
SELECT count(*) FILTER (WHERE status = 'queued' AND (
         %(held)s OR (queue_class, queue_key_ms, id) < (%(class)s, %(key)s, %(id)s::uuid)))
     + count(*) FILTER (WHERE status = 'held_back' AND %(held)s
         AND (queue_class, queue_key_ms, id) < (%(class)s, %(key)s, %(id)s::uuid)),
       count(*)
FROM jobs_job WHERE workshop_id = %(workshop)s AND status IN ('queued', 'held_back')
"""


def position(job: Job) -> tuple[int, int]:
    """(n, m): the job is the n-th of m waiting in its workshop; (0, m) when it doesn't wait."""
    line = _line(job)
    return (line.jobs_ahead + 1 if job.status in WAITING else 0), line.jobs_waiting


def interval(job: Job) -> Interval | None:
    """Seconds until the job starts, from and to, which eight in ten such jobs keep; (0, 0) when it started or
    ended, None while nobody can say."""
    if job.status not in WAITING:
        return 0.0, 0.0
    if _paused(job):
        return None
    found = board.of(job.workshop)
    if job.status == Status.HELD_BACK:
        seconds = found.start_of(board.as_if_admitted(found, job))
    else:
        if str(job.pk) not in found.names:  # it joined since
            found = board.of(job.workshop, fresh=True)
        start = found.starts.get(str(job.pk))
        if start is None:
            return None if str(job.pk) in found.names else _behind(job, found)
        seconds = start.seconds
    return None if seconds is None else _rounded(found, level_of(job), seconds)


def before_click(quote: Quote, bid: int = 1, *, unpaid: bool = False) -> Interval | None:
    """Seconds until a job of this quote would start if it were ordered now with this bid; None while nobody
    can say."""
    if _quote_paused(quote):
        return None
    found = board.of(quote.workshop)
    seconds = found.start_of(board.wish_of(found, quote, bid, unpaid=unpaid))
    return None if seconds is None else _rounded(found, waits.UNPAID if unpaid else bid, seconds)


def before_click_by_bid(quote: Quote) -> dict[int, Interval | None]:
    """The same for each bid that counts in the workshop: 1, 2 and 4 in the market, else 1. A higher bid is
    never told a later start: it delays no job, whatever little was learned of it says."""
    bids = BIDS if places.policy_of(quote.workshop).uses_bids else BIDS[:1]
    told: dict[int, Interval | None] = {}
    below: Interval | None = None
    for bid in bids:
        found = before_click(quote, bid)
        if found is not None and below is not None:
            found = min(found[0], below[0]), min(found[1], below[1])
        told[bid] = below = found
    return told


def p50_start_seconds(quote: Quote, bid: int = 1, *, unpaid: bool = False) -> float | None:
    """Seconds until a job of this quote would as likely as not have started, ordered now with this bid; None
    while no GPU that could run it is online, so that nobody can say."""
    found = board.of(quote.workshop)
    seconds = found.start_of(board.wish_of(found, quote, bid, unpaid=unpaid))
    if seconds is None:
        return None
    return waits.middle(found.learned(waits.UNPAID if unpaid else bid), seconds)


def only_simulated(workshop: Workshop) -> bool:
    """Whether nothing but simulated GPUs serves the workshop now."""
    return {one.agent.simulated for one in board.of(workshop).serving()} == {True}


def level_of(job: Job) -> int:
    """The level its wait is learned at: its bid, 0 without credits, the highest for a demo."""
    if job.demo:
        return board.HIGHEST_BID
    return waits.UNPAID if job.unpaid else job.bid


def why_waiting(job: Job) -> str:
    """One sentence on why the job isn't running; "" when it doesn't wait."""
    if job.status not in WAITING:
        return ""
    kept = _why_nothing_starts(job)
    if kept:
        return kept
    found = board.of(job.workshop)
    fitting = [one for one in found.serving() if one.abilities.vram_total_bytes >= job.vram_bytes]
    return _why_no_gpu(job, found, fitting) or job.wait_reason or _why_its_place(job, fitting)


# --- numbers -------------------------------------------------------------------------------------


def _rounded(found: Board, level: int, seconds: float) -> Interval:
    low, high = waits.interval(found.learned(level), seconds)
    return round(low, 1), round(high, 1)


def _behind(job: Job, found: Board) -> Interval | None:
    """Behind the rows that a board reads: after all of them and, likely, half of the work behind them."""
    serving = [one for one in found.serving() if one.abilities.vram_total_bytes >= job.vram_bytes]
    if not serving or not found.truncated or not found.starts:
        return None
    at = max(start.seconds for start in found.starts.values())
    at += found.behind_seconds / 2 / sum(one.agent.speed_factor or 1.0 for one in serving)
    return _rounded(found, level_of(job), at)


def _paused(job: Job) -> bool:
    return bool(job.workshop.paused_reason or (job.template is not None and job.template.paused_reason))


def _quote_paused(quote: Quote) -> bool:
    return bool(quote.workshop.paused_reason or (quote.template is not None and quote.template.paused_reason))


def _line(job: Job) -> _Line:
    parameters: dict[str, int | str | bool] = {
        "workshop": job.workshop_id,
        "held": job.status == Status.HELD_BACK,
        "class": job.queue_class,
        "key": job.queue_key_ms,
        "id": str(job.pk),
    }
    with connection.cursor() as cursor:
        cursor.execute(_PLACE, parameters)
        return _Line(*cursor.fetchone())


# --- sentences -----------------------------------------------------------------------------------


def _why_nothing_starts(job: Job) -> str:
    """The workshop, its class or the template keeps it."""
    if job.workshop.paused_reason:
        return gettext("The queue is paused: %(reason)s") % {"reason": job.workshop.paused_reason}
    if job.template is not None and job.template.paused_reason:
        return gettext("This template is paused: %(reason)s") % {"reason": job.template.paused_reason}
    session = sessions.current(job.workshop_id)
    if session is not None and session.state == State.CLOSING:
        return gettext("The class is closing: nothing new starts.")
    return ""


def _why_no_gpu(job: Job, found: Board, fitting: list[Standing]) -> str:
    """No GPU that is online could run it."""
    if fitting and str(job.pk) in found.starts:
        return ""
    paused = _paused_agent(job)
    if not fitting:
        if paused is not None:
            return _paused_words(paused)
        if not found.serving():
            return gettext("No GPU is online.")
        size = matching.vram_class(job.vram_bytes)
        return gettext("No GPU with %(size)d GB is online.") % {"size": size}
    if job.pinned_agent_id and all(one.agent.pk != job.pinned_agent_id for one in fitting):
        return _paused_words(paused) if paused is not None else ""
    quote = Quote.objects.filter(order__job=job).only("model_files", "node_types").first()
    if quote is None:
        return ""
    wanted = matching.Candidate(job.pk, 0, "", 0, 0, quote.model_files, quote.node_types)
    lacking = [matching.lacks(wanted, one.abilities) for one in fitting]
    if all(lacking):
        return gettext("No GPU that is online has %(what)s.") % {"what": lacking[0]}
    return ""


def _paused_agent(job: Job) -> Agent | None:
    """An agent staff keep from work that could run the job otherwise."""
    kept = fleet.serving(job.workshop).filter(device__vram_total_bytes__gte=job.vram_bytes)
    kept = kept.filter(state__in=(Agent.State.READY, Agent.State.DRAINING))
    if job.pinned_agent_id:
        kept = kept.filter(pk=job.pinned_agent_id)
    return next((one for one in kept if one.pause_reason or one.drain_requested), None)


def _paused_words(agent: Agent) -> str:
    if agent.pause_reason:
        told = {"agent": agent.name, "reason": agent.pause_reason}
        return gettext("%(agent)s is paused: %(reason)s") % told
    return gettext("%(agent)s takes nothing new for now.") % {"agent": agent.name}


def _why_its_place(job: Job, fitting: list[Standing]) -> str:
    if job.status == Status.HELD_BACK:
        if job.unpaid:
            return gettext("Without credits your jobs run one at a time; it joins the line after the last.")
        return gettext("It joins the line when one of your other jobs ends, or a GPU would stand idle.")
    ahead = _line(job).jobs_ahead
    if ahead:
        words = ngettext("%(count)d job is ahead of it.", "%(count)d jobs are ahead of it.", ahead)
        told = words % {"count": ahead}
        if job.unpaid:
            return gettext("Without credits it stands further back: %(told)s") % {"told": told}
        return told
    if all(one.in_hand for one in fitting):
        return gettext("It is next: it starts when a GPU is free.")
    return gettext("It is next: it starts in a moment.")
