"""The line and the fleet read from rows, as `replay` wants them; kept for a second.

One statement for the GPUs, one for the line, one for what was learned of waits. Off the dispatch path: a page
that shows a second's old line is as right as one that took a second to load.
"""

import json
import threading
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from accounts import clock
from accounts.models import Workshop
from jobs.models import Job
from marketplace.market import matching, picks, places, replay
from marketplace.market.matching import Candidate
from marketplace.market.models import Quote, WaitQuantile
from marketplace.market.picks import Standing
from marketplace.market.policies.base import StudentFacts
from marketplace.market.replay import Gpu, Line, Start, Waiting
from marketplace.market.waits import FIRST_GUESS, Quantiles

MOST_ROWS = 1000  # of the line, from its head; behind them starts are reckoned from the work ahead
HIGHEST_BID = 4
LAST = UUID(int=2**128 - 1)  # who orders now stands behind all that joined in the same millisecond


@dataclass(frozen=True)
class Board:
    """What one workshop's jobs wait for. `line` holds other workshops' jobs too, where they share GPUs."""

    workshop: Workshop
    read_at: datetime  # the market's time
    read_monotonic: float
    standings: tuple[Standing, ...]  # of all agents; a job's `gpus` count in these
    gpus: tuple[Gpu, ...]
    line: Line
    known: Mapping[int, Quantiles]  # by bid, 0 without credits
    truncated: bool  # more stands behind the rows that were read

    @property
    def workshop_id(self) -> int:
        return self.workshop.pk

    @property
    def now(self) -> datetime:
        """The market's time, without asking for it again."""
        return self.read_at + timedelta(seconds=time.monotonic() - self.read_monotonic)

    @cached_property
    def class_facts(self) -> Mapping[int, StudentFacts]:
        """What a policy may know of everybody who has sent a job, by user id."""
        return places.class_facts(self.workshop)

    @cached_property
    def names(self) -> frozenset[Hashable]:
        """Ids, as text, of the jobs in `line`."""
        return frozenset(job.candidate.job_id for job in self.line)

    @cached_property
    def starts(self) -> dict[Hashable, Start]:
        """Job's id, as text → its start."""
        return replay.starts(self.gpus, self.line)

    @cached_property
    def behind_seconds(self) -> float:
        """GPU work of the workshop's line behind the rows that were read."""
        if not self.truncated:
            return 0.0
        with connection.cursor() as cursor:
            cursor.execute(_WHOLE, [self.workshop_id])
            (whole,) = cursor.fetchone()
        mine = (job for job in self.line if job.candidate.workshop_id == self.workshop_id)
        return max(0.0, float(whole) - sum(job.gpu_seconds for job in mine))

    @cached_property
    def last_place(self) -> tuple[int, int, str]:
        """Of the rows that were read."""
        return max((job.place for job in self.line), default=(0, 0, ""))

    def learned(self, level: int) -> Quantiles:
        """What is known of waits at this bid."""
        return self.known.get(level, FIRST_GUESS)

    def serving(self) -> list[Standing]:
        """Agents that serve the workshop."""
        return [one for one in self.standings if one.agent.workshop_id in (None, self.workshop_id)]

    def start_of(self, extra: Waiting) -> float | None:
        """When this job would start if it stood in line too; None when no GPU could run it."""
        if not extra.gpus:
            return None
        line = self.line.copy()
        line.add(extra)
        name = extra.candidate.job_id
        found = replay.starts(self.gpus, line, until=name).get(name)
        if found is None:
            return None
        if self.truncated and extra.place > self.last_place:
            return found.seconds + self.behind_seconds / sum(gpu.speed for gpu in self.gpus)
        return found.seconds


_kept: dict[int, tuple[float, Board]] = {}
_keeping = threading.Lock()


def of(workshop: Workshop, *, fresh: bool = False) -> Board:
    """The workshop's board, at most `ETA_CACHE_SECONDS` old unless `fresh`."""
    until, found = _kept.get(workshop.pk, (0.0, None))
    if found is not None and not fresh and time.monotonic() < until:
        return found
    made = _read(workshop)
    with _keeping:
        _kept[workshop.pk] = (time.monotonic() + settings.ETA_CACHE_SECONDS, made)
    return made


def wish_of(board: Board, quote: Quote, bid: int, *, unpaid: bool = False) -> Waiting:
    """A job of this quote as it would stand in line if it were ordered now."""
    job = Job(
        id=LAST,
        workshop=quote.workshop,
        student=quote.student,
        job_type=quote.job_type,
        model_key=quote.model_key,
        vram_bytes=quote.vram_bytes,
        gpu_seconds=quote.gpu_seconds,
        loading_seconds=quote.loading_seconds,
        bid=bid,
        unpaid=unpaid,
    )
    return _joining(board, job, quote)


def as_if_admitted(board: Board, job: Job) -> Waiting:
    """A held-back job as it would stand in line if it were let in now."""
    return _joining(board, job, Quote.objects.filter(order__job=job).first())


def _joining(board: Board, job: Job, quote: Quote | None) -> Waiting:
    asks = places.policy_of(job.workshop).needs_student
    student = places.of_student(board.class_facts, job.student_id) if asks else places.NOBODY
    queue_class, key_ms = places.place(job, board.now, student)
    row = {
        "id": str(job.pk),
        "student": job.student_id,
        "workshop": job.workshop_id,
        "model": job.model_key,
        "class": queue_class,
        "key": key_ms,
        "bid": job.bid,
        "unpaid": job.unpaid,
        "seconds": job.gpu_seconds,
        "loading": job.loading_seconds,
        "vram": job.vram_bytes,
        "type": job.job_type,
        "pinned": job.pinned_agent_id,
        "refused": job.refused_agents,
        "files": quote.model_files if quote else [],
        "nodes": quote.node_types if quote else [],
    }
    return _waiting(row, board.standings)


# --- reading -------------------------------------------------------------------------------------

# By size of job, so that the index of the pick gives the heads of a long line without sorting it. Jobs of
# other workshops count where they could take a GPU that serves this one too.
_LINE = """
WITH heads AS MATERIALIZED (
  SELECT h.id FROM accounts_workshop w CROSS JOIN unnest(%(sizes)s::smallint[]) AS c (vram_class)
  CROSS JOIN LATERAL (
    SELECT j.id, j.queue_class, j.queue_key_ms FROM jobs_job j
    WHERE j.status = 'queued' AND j.workshop_id = w.id AND j.vram_class = c.vram_class
      AND (j.template_id IS NULL
           OR j.template_id NOT IN (SELECT id FROM jobs_template WHERE paused_reason <> ''))
    ORDER BY j.queue_class, j.queue_key_ms, j.id LIMIT %(most)s) h
  WHERE w.paused_reason = '' AND (w.id = %(workshop)s OR %(shared)s)
  ORDER BY h.queue_class, h.queue_key_ms, h.id LIMIT %(most)s
)
SELECT json_build_object(
  'id', j.id, 'student', j.student_id, 'workshop', j.workshop_id, 'model', j.model_key,
  'class', j.queue_class, 'key', j.queue_key_ms, 'bid', j.bid, 'unpaid', j.unpaid,
  'seconds', j.gpu_seconds, 'loading', j.loading_seconds, 'vram', j.vram_bytes, 'type', j.job_type,
  'pinned', j.pinned_agent_id, 'refused', j.refused_agents,
  'files', coalesce(q.model_files, '[]'), 'nodes', coalesce(q.node_types, '[]'))
FROM heads h JOIN jobs_job j ON j.id = h.id
LEFT JOIN market_order o ON o.job_id = j.id LEFT JOIN market_quote q ON q.id = o.quote_id
"""

_WHOLE = "SELECT coalesce(sum(gpu_seconds), 0) FROM jobs_job WHERE workshop_id = %s AND status = 'queued'"


def _read(workshop: Workshop) -> Board:
    standings = tuple(picks.standings())
    shared = any(one.agent.workshop_id is None for one in standings)
    with connection.cursor() as cursor:
        classes = [0, *matching.VRAM_CLASSES]
        cursor.execute(
            _LINE, {"workshop": workshop.pk, "shared": shared, "most": MOST_ROWS, "sizes": classes}
        )
        rows = [json.loads(row) if isinstance(row, str) else row for (row,) in cursor.fetchall()]
    jobs = [_waiting(row, standings) for row in rows]
    sizes = {job.candidate.model_key: job.model_bytes for job in jobs}
    known = WaitQuantile.objects.filter(workshop=workshop, policy=workshop.policy)
    return Board(
        workshop=workshop,
        read_at=clock.now(),
        read_monotonic=time.monotonic(),
        standings=standings,
        gpus=tuple(_gpu(one, sizes) for one in standings),
        line=Line(jobs),
        known={row.level: Quantiles(row.low, row.middle, row.high, row.count) for row in known},
        truncated=len(rows) == MOST_ROWS,
    )


def _gpu(one: Standing, sizes: Mapping[str, int]) -> Gpu:
    # Outputs being stored keep no GPU.
    busy_ms = sum(max(0.0, hand.remaining_ms) for hand in one.in_hand if hand.status != "storing")
    resident = {model: sizes.get(model, 0) for model in one.abilities.resident_models}
    return Gpu(one.agent.name, _speed(one), one.abilities, busy_ms / 1000, resident)


def _speed(one: Standing) -> float:
    return one.agent.speed_factor if one.agent.speed_factor > 0 else 1.0


def _waiting(row: Mapping[str, Any], standings: tuple[Standing, ...]) -> Waiting:
    candidate = Candidate(
        row["id"],
        row["student"],
        row["model"],
        row["class"],
        row["key"],
        row["files"],
        row["nodes"],
        row["workshop"],
        row["bid"],
        row["unpaid"],
    )
    gpus = tuple(index for index, one in enumerate(standings) if _may_take(one, row, candidate))
    return Waiting(candidate, row["seconds"], row["loading"], row["vram"], gpus)


def _may_take(one: Standing, row: Mapping[str, Any], candidate: Candidate) -> bool:
    """As the dispatcher's query and `matching.lacks` decide it."""
    bounced = row["refused"].get(one.agent.pk)
    return (
        one.agent.workshop_id in (None, row["workshop"])
        and row["vram"] <= one.abilities.vram_total_bytes
        and row["type"] in one.job_types
        and row["pinned"] in ("", one.agent.pk)
        and (bounced is None or bounced + matching.BOUNCE_MARGIN_BYTES <= one.vram_free_bytes)
        and not matching.lacks(candidate, one.abilities)
    )
