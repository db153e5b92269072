"""When a job will start, in numbers and in a sentence. Simple and honest: work ahead over the GPUs there are.

Off the dispatch path; read by pages and the API.
"""

from dataclasses import dataclass

from django.db import connection
from django.utils.translation import gettext, ngettext

from jobs.models import WAITING, Job, Status
from marketplace.market import matching
from marketplace.market.models import Quote
from marketplace.market.picks import SILENT_SECONDS

# Measured against expected run times, jobs run from about 0.6 to 1.6 times what their quotes say.
LOW, HIGH = 0.6, 1.6
LEAST_HIGH_SECONDS = 5.0
_END = (32767, 2**63 - 1, "ffffffff-ffff-ffff-ffff-ffffffffffff")


@dataclass(frozen=True, slots=True)
class _Line:
    """What stands before a place in the line, in expected reference seconds."""

    jobs_ahead: int
    seconds_ahead: float
    jobs_waiting: int


@dataclass(frozen=True, slots=True)
class _Fleet:
    """GPUs online for a workshop that hold so much memory, and what they have in hand."""

    online: int
    fitting: int
    busy: int
    speed: float
    seconds_in_hand: float


_PLACE = """
SELECT count(*) FILTER (WHERE (queue_class, queue_key_ms, id) < (%(class)s, %(key)s, %(id)s::uuid)),
       coalesce(sum(gpu_seconds + loading_seconds)
                FILTER (WHERE (queue_class, queue_key_ms, id) < (%(class)s, %(key)s, %(id)s::uuid)), 0),
       count(*)
FROM jobs_job WHERE workshop_id = %(workshop)s AND status = ANY(%(statuses)s)
"""

_FLEET = """
WITH online AS (
  SELECT a.id, a.speed_factor, d.vram_total_bytes >= %(vram)s AS fits
  FROM fleet_agent a JOIN fleet_device d ON d.agent_id = a.id
  WHERE a.state = 'ready' AND a.comfyui_ready AND NOT a.drain_requested AND a.pause_reason = '' AND NOT d.lost
    AND a.last_seen_at > market_now() - %(silent)s * interval '1 second'
    AND (a.workshop_id IS NULL OR a.workshop_id = %(workshop)s)
), hand AS (
  SELECT l.agent_id, greatest(0, j.gpu_seconds + j.loading_seconds - a.speed_factor
         * extract(epoch FROM market_now() - coalesce(t.execution_started_at, market_now()))) AS seconds
  FROM market_lease l JOIN jobs_attempt t ON t.id = l.attempt_id JOIN jobs_job j ON j.id = t.job_id
  JOIN online a ON a.id = l.agent_id AND a.fits WHERE l.ended_at IS NULL
)
SELECT count(*), count(*) FILTER (WHERE fits), (SELECT count(DISTINCT agent_id) FROM hand),
       coalesce(sum(speed_factor) FILTER (WHERE fits), 0), (SELECT coalesce(sum(seconds), 0) FROM hand)
FROM online
"""


def position(job: Job) -> tuple[int, int]:
    """(n, m): the job is the n-th of m waiting in its workshop; (0, m) when it doesn't wait."""
    line = _line(job)
    return (line.jobs_ahead + 1 if job.status in WAITING else 0), line.jobs_waiting


def interval(job: Job) -> tuple[float, float]:
    """Seconds until the job starts, from and to; (0, 0) when it started or ended."""
    if job.status not in WAITING:
        return 0.0, 0.0
    return _interval(_line(job), _fleet(job.workshop_id, job.vram_bytes))


def before_click(quote: Quote) -> tuple[float, float]:
    """Seconds until a job of this quote would start if it were ordered now."""
    return _interval(_end_of_line(quote.workshop_id), _fleet(quote.workshop_id, quote.vram_bytes))


def p50_start_seconds(quote: Quote, bid: int = 1, *, unpaid: bool = False) -> float | None:
    """Seconds until a job of this quote would as likely as not have started, ordered now with this bid; None
    while no GPU that fits it is online, so that nobody can say."""
    if _fleet(quote.workshop_id, quote.vram_bytes).fitting == 0:
        return None
    low, high = before_click(quote)
    return (low + high) / 2


def why_waiting(job: Job) -> str:
    """One sentence on why the job isn't running; "" when it doesn't wait."""
    if job.status not in WAITING:
        return ""
    if job.workshop.paused_reason:
        return gettext("The queue is paused: %(reason)s") % {"reason": job.workshop.paused_reason}
    fleet = _fleet(job.workshop_id, job.vram_bytes)
    if fleet.online == 0:
        return gettext("No GPU is online.")
    if fleet.fitting == 0:
        size = matching.vram_class(job.vram_bytes)
        return gettext("No GPU with %(size)d GB is online.") % {"size": size}
    if job.wait_reason:
        return job.wait_reason
    if job.status == Status.HELD_BACK:
        return gettext("It joins the line when one of your other jobs ends, or a GPU would stand idle.")
    ahead = _line(job).jobs_ahead
    if ahead:
        return ngettext("%(count)d job is ahead of it.", "%(count)d jobs are ahead of it.", ahead) % {
            "count": ahead
        }
    if fleet.busy >= fleet.fitting:
        return gettext("It is next: it starts when a GPU is free.")
    return gettext("It is next: it starts in a moment.")


def _interval(line: _Line, fleet: _Fleet) -> tuple[float, float]:
    if line.jobs_ahead == 0 and fleet.fitting > fleet.busy:
        return 0.0, LEAST_HIGH_SECONDS
    # With nothing online one reference GPU is assumed: the sentence beside it says what is missing.
    seconds = (line.seconds_ahead + fleet.seconds_in_hand) / (fleet.speed or 1.0)
    return round(LOW * seconds, 1), round(max(LEAST_HIGH_SECONDS, HIGH * seconds), 1)


def _line(job: Job) -> _Line:
    place = (job.queue_class, job.queue_key_ms, str(job.pk))
    if job.status == Status.HELD_BACK:
        queued = _end_of_line(job.workshop_id)
        held = _read_line(job.workshop_id, place, (Status.HELD_BACK,))
        return _Line(
            queued.jobs_ahead + held.jobs_ahead,
            queued.seconds_ahead + held.seconds_ahead,
            queued.jobs_waiting + held.jobs_waiting,
        )
    queued = _read_line(job.workshop_id, place, (Status.QUEUED,))
    held_back = Job.objects.filter(workshop_id=job.workshop_id, status=Status.HELD_BACK).count()
    return _Line(queued.jobs_ahead, queued.seconds_ahead, queued.jobs_waiting + held_back)


def _end_of_line(workshop_id: int) -> _Line:
    return _read_line(workshop_id, _END, (Status.QUEUED,))


def _read_line(workshop_id: int, place: tuple[int, int, str], statuses: tuple[Status, ...]) -> _Line:
    queue_class, queue_key_ms, job_id = place
    with connection.cursor() as cursor:
        cursor.execute(
            _PLACE,
            {
                "workshop": workshop_id,
                "class": queue_class,
                "key": queue_key_ms,
                "id": job_id,
                "statuses": [str(status) for status in statuses],
            },
        )
        jobs_ahead, seconds_ahead, waiting = cursor.fetchone()
    return _Line(jobs_ahead, float(seconds_ahead), waiting)


def _fleet(workshop_id: int, vram_bytes: int) -> _Fleet:
    with connection.cursor() as cursor:
        cursor.execute(_FLEET, {"workshop": workshop_id, "vram": vram_bytes, "silent": SILENT_SECONDS})
        online, fitting, busy, speed, seconds = cursor.fetchone()
    return _Fleet(online, fitting, busy, float(speed), float(seconds))
