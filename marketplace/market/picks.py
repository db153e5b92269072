"""Reading for the dispatcher: which agents have room, and the heads of the line each could take."""

import json
import math
from dataclasses import dataclass
from functools import lru_cache

from django.db import connection

from gpu_agent.protocol.messages import HEARTBEAT_SECONDS
from marketplace.fleet.models import Agent, Inventory
from marketplace.market import matching
from marketplace.market.matching import Abilities, Candidate, InHand

SILENT_SECONDS = 3 * HEARTBEAT_SECONDS  # an agent unheard for so long gets nothing new
HEADS = 8
HEADS_AT_MOST = 4096


@dataclass(frozen=True, slots=True)
class Standing:
    """An agent that may take jobs now."""

    agent: Agent
    abilities: Abilities
    vram_free_bytes: int
    job_types: tuple[str, ...]
    in_hand: tuple[InHand, ...]

    @property
    def has_room(self) -> bool:
        return matching.has_room(self.in_hand)


_READY = """
SELECT a.id FROM fleet_agent a
JOIN fleet_device d ON d.agent_id = a.id JOIN fleet_inventory i ON i.agent_id = a.id
WHERE a.state = 'ready' AND a.comfyui_ready AND NOT a.drain_requested AND a.pause_reason = '' AND NOT d.lost
  AND a.last_seen_at > market_now() - %s * interval '1 second'
ORDER BY a.speed_factor DESC, a.name
"""

_IN_HAND = """
SELECT j.status, t.acknowledged_at IS NOT NULL,
       t.remaining_ms - 1000 * extract(epoch FROM market_now() - t.seen_at),
       j.gpu_seconds, j.loading_seconds,
       1000 * extract(epoch FROM market_now() - coalesce(t.execution_started_at, market_now()))
FROM market_lease l JOIN jobs_attempt t ON t.id = l.attempt_id JOIN jobs_job j ON j.id = t.job_id
WHERE l.agent_id = %s AND l.ended_at IS NULL
"""

_HEADS = """
WITH workshops AS (
  SELECT id FROM accounts_workshop
  WHERE paused_reason = '' AND (%(workshop)s::bigint IS NULL OR id = %(workshop)s)
), heads AS (
  SELECT h.* FROM workshops w CROSS JOIN unnest(%(classes)s::smallint[]) AS c (vram_class)
  CROSS JOIN LATERAL (
    SELECT j.id, j.student_id, j.model_key, j.queue_class, j.queue_key_ms FROM jobs_job j
    WHERE j.status = 'queued' AND j.workshop_id = w.id AND j.vram_class = c.vram_class
      AND j.vram_bytes <= %(total)s AND j.job_type = ANY(%(types)s)
      AND coalesce((j.refused_agents ->> %(agent)s::text)::bigint + %(margin)s, 0) <= %(free)s
    ORDER BY j.queue_class, j.queue_key_ms, j.id LIMIT %(limit)s) h
  UNION
  SELECT h.* FROM workshops w CROSS JOIN unnest(%(resident)s::text[]) AS m (model_key)
  CROSS JOIN LATERAL (
    SELECT j.id, j.student_id, j.model_key, j.queue_class, j.queue_key_ms FROM jobs_job j
    WHERE j.status = 'queued' AND j.workshop_id = w.id AND j.model_key = m.model_key AND j.model_key <> ''
      AND j.vram_bytes <= %(total)s AND j.job_type = ANY(%(types)s)
      AND coalesce((j.refused_agents ->> %(agent)s::text)::bigint + %(margin)s, 0) <= %(free)s
    ORDER BY j.queue_class, j.queue_key_ms, j.id LIMIT %(limit)s) h
)
SELECT h.id, h.student_id, h.model_key, h.queue_class, h.queue_key_ms,
       coalesce(q.model_files, '[]'), coalesce(q.node_types, '[]')
FROM heads h LEFT JOIN market_order o ON o.job_id = h.id LEFT JOIN market_quote q ON q.id = o.quote_id
"""

_HELD_BACK = """
SELECT j.id, j.student_id, j.model_key, j.queue_class, j.queue_key_ms,
       coalesce(q.model_files, '[]'), coalesce(q.node_types, '[]')
FROM jobs_job j JOIN accounts_workshop w ON w.id = j.workshop_id AND w.paused_reason = ''
LEFT JOIN market_order o ON o.job_id = j.id LEFT JOIN market_quote q ON q.id = o.quote_id
WHERE j.status = 'held_back' AND (%(workshop)s::bigint IS NULL OR j.workshop_id = %(workshop)s)
  AND j.vram_bytes <= %(total)s AND j.job_type = ANY(%(types)s)
  AND coalesce((j.refused_agents ->> %(agent)s::text)::bigint + %(margin)s, 0) <= %(free)s
ORDER BY (SELECT coalesce(sum(u.charged_ms), 0) FROM jobs_job u
          WHERE u.student_id = j.student_id AND u.workshop_id = j.workshop_id), j.queue_key_ms, j.id
LIMIT %(limit)s
"""


def ready_agents() -> list[str]:
    """Ids of agents that may get work, fastest first."""
    with connection.cursor() as cursor:
        cursor.execute(_READY, [SILENT_SECONDS])
        return [agent_id for (agent_id,) in cursor.fetchall()]


def standing(agent_id: str) -> Standing | None:
    """The agent with what it holds and can run; None when it has no device or never told what it can."""
    agent = Agent.objects.select_related("device", "inventory").filter(pk=agent_id).first()
    if agent is None or not hasattr(agent, "device") or not hasattr(agent, "inventory"):
        return None
    inventory: Inventory = agent.inventory
    return Standing(
        agent=agent,
        abilities=Abilities(
            vram_total_bytes=agent.device.vram_total_bytes,
            node_types=_node_types(inventory.node_definitions_id),
            model_files=inventory.model_files,
            any_model=inventory.any_model,
            resident_models=agent.resident_models,
        ),
        vram_free_bytes=agent.device.vram_free_bytes,
        job_types=tuple(inventory.job_types),
        in_hand=_in_hand(agent),
    )


def heads(place: Standing) -> list[Candidate]:
    """Jobs the agent can run, best first. Looks deeper while all it found need what the agent lacks."""
    limit = HEADS
    while True:
        found = _candidates(_HEADS, place, limit)
        runnable = matching.ranked(found, place.abilities)
        if runnable or len(found) < limit or limit >= HEADS_AT_MOST:
            return runnable
        limit *= 8


def held_back(place: Standing) -> list[Candidate]:
    """Jobs above their owners' caps the agent could run, those of who used least first."""
    found = _candidates(_HELD_BACK, place, HEADS * 8)
    return [job for job in found if not matching.lacks(job, place.abilities)]


def _candidates(query: str, place: Standing, limit: int) -> list[Candidate]:
    total = place.abilities.vram_total_bytes
    parameters = {
        "workshop": place.agent.workshop_id,
        "classes": matching.classes_within(total),
        "resident": list(place.abilities.resident_models),
        "types": list(place.job_types),
        "agent": place.agent.pk,
        "total": total,
        "free": place.vram_free_bytes,
        "margin": matching.BOUNCE_MARGIN_BYTES,
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        rows = cursor.fetchall()
    # Django's connection hands jsonb over as text.
    return [
        Candidate(job_id, student_id, model_key, queue_class, key_ms, json.loads(files), json.loads(types))
        for job_id, student_id, model_key, queue_class, key_ms, files, types in rows
    ]


def _in_hand(agent: Agent) -> tuple[InHand, ...]:
    with connection.cursor() as cursor:
        cursor.execute(_IN_HAND, [agent.pk])
        rows = cursor.fetchall()
    return tuple(
        InHand(status, taken, _remaining_ms(told, gpu_seconds, loading, since, agent.speed_factor))
        for status, taken, told, gpu_seconds, loading, since in rows
    )


def _remaining_ms(
    told: float | None, gpu_seconds: float, loading_seconds: float, since_ms: float, speed_factor: float
) -> float:
    """As the agent told, less the time since; before it told, what the quote expects of this device."""
    if told is not None:
        return float(told)
    speed = speed_factor if math.isfinite(speed_factor) and speed_factor > 0 else 1.0
    return 1000 * (gpu_seconds + loading_seconds) / speed - float(since_ms)


@lru_cache(maxsize=16)
def _node_types(digest: str | None) -> frozenset[str]:
    # Some MB of JSON: fetched once per digest, under which it never changes. Only its keys are kept.
    if digest is None:
        return frozenset()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT jsonb_object_keys(body) FROM fleet_nodedefinitions WHERE sha256 = %s", [digest]
        )
        return frozenset(name for (name,) in cursor.fetchall())
