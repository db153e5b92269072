"""Reading for the dispatcher: which agents have room, and the heads of the line each could take."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.db import connection

from gpu_agent.protocol.messages import HEARTBEAT_SECONDS
from jobs.lifecycle import Choice
from marketplace.fleet import registry as fleet
from marketplace.market import clearing, matching
from marketplace.market.matching import Abilities, Candidate, InHand

SILENT_SECONDS = 3 * HEARTBEAT_SECONDS  # an agent unheard for so long gets nothing new
HEADS = 4  # looked at of each size of job, and of each loaded model: one more than a student has in line
BEST = 20  # kept of them
DEEPEST = 512  # times as many, while all that is found needs what the agent lacks
# As PostgreSQL writes arrays, once: the driver would write them anew for every look.
_SIZES = "{" + ",".join(map(str, matching.VRAM_CLASSES)) + "}"
_BELOW = "{" + ",".join(str(below * matching.GIB) for below in (0, *matching.VRAM_CLASSES[:-1])) + "}"
CHOICES = 16  # of which the first that no other picker is taking is assigned


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What the dispatcher must know of an agent's row."""

    pk: str
    name: str
    workshop_id: int | None
    simulated: bool
    speed_factor: float


@dataclass(frozen=True, slots=True)
class Standing:
    """An agent that may take jobs now."""

    agent: AgentFacts
    abilities: Abilities
    vram_free_bytes: int
    job_types: tuple[str, ...]
    in_hand: tuple[InHand, ...]

    @property
    def has_room(self) -> bool:
        return matching.has_room(self.in_hand)


@dataclass(frozen=True, slots=True)
class Look:
    """One look at an agent and the line before it. `place` None: it has no device, or never told what it
    can, or the caller doesn't lead."""

    leads: bool
    place: Standing | None = None
    found: tuple[Candidate, ...] = ()
    policies: tuple[str, ...] = ()  # of the candidates' workshops, in their order
    token: int | None = None  # for the lease that may come of it
    timeline: int = 0


_READY = """
SELECT a.id FROM fleet_agent a
JOIN fleet_device d ON d.agent_id = a.id JOIN fleet_inventory i ON i.agent_id = a.id
WHERE a.state = 'ready' AND a.comfyui_ready AND NOT a.drain_requested AND a.pause_reason = '' AND NOT d.lost
  AND a.last_seen_at > market_now() - %s * interval '1 second'
ORDER BY a.speed_factor DESC, a.name
"""

_STANDINGS = """
SELECT json_build_array(a.id, a.name, a.workshop_id, a.simulated, a.speed_factor, a.resident_models,
                        d.vram_total_bytes, d.vram_free_bytes, i.job_types, i.any_model,
                        i.node_definitions_id, i.published_at),
  (SELECT json_agg(json_build_array(
     j.status, t.acknowledged_at IS NOT NULL,
     t.remaining_ms - 1000 * extract(epoch FROM market_now() - t.seen_at), j.gpu_seconds, j.loading_seconds,
     1000 * extract(epoch FROM market_now() - coalesce(t.execution_started_at, market_now()))) ORDER BY t.id)
   FROM market_lease l JOIN jobs_attempt t ON t.id = l.attempt_id JOIN jobs_job j ON j.id = t.job_id
   WHERE l.agent_id = a.id AND l.ended_at IS NULL)
FROM fleet_agent a
JOIN fleet_device d ON d.agent_id = a.id JOIN fleet_inventory i ON i.agent_id = a.id
WHERE a.state = 'ready' AND a.comfyui_ready AND NOT a.drain_requested AND a.pause_reason = '' AND NOT d.lost
  AND a.last_seen_at > market_now() - %s * interval '1 second'
ORDER BY a.speed_factor DESC, a.name
"""

_HANDS = """
SELECT l.agent_id, j.status, t.acknowledged_at IS NOT NULL,
       t.remaining_ms - 1000 * extract(epoch FROM market_now() - t.seen_at),
       j.gpu_seconds, j.loading_seconds,
       1000 * extract(epoch FROM market_now() - coalesce(t.execution_started_at, market_now())),
       a.speed_factor
FROM market_lease l JOIN jobs_attempt t ON t.id = l.attempt_id JOIN jobs_job j ON j.id = t.job_id
JOIN fleet_agent a ON a.id = l.agent_id
WHERE l.agent_id = ANY(%s) AND l.ended_at IS NULL
"""

# Which jobs an agent may take at all, as in `market_look`; `p` is its row of `place`.
_OPEN = """
  AND j.vram_bytes <= p.total AND p.job_types ? j.job_type AND j.pinned_agent_id IN ('', p.id)
  AND coalesce((j.refused_agents ->> p.id)::bigint + %(margin)s, 0) <= p.free
  AND (j.template_id IS NULL OR j.template_id NOT IN (SELECT id FROM jobs_template WHERE paused_reason <> ''))
"""

_PLACE = """
place AS MATERIALIZED (
  SELECT a.id, a.name, a.workshop_id, a.simulated, a.speed_factor, a.resident_models,
         d.vram_total_bytes AS total, d.vram_free_bytes AS free, i.job_types, i.any_model,
         i.node_definitions_id, i.published_at
  FROM fleet_agent a JOIN fleet_device d ON d.agent_id = a.id JOIN fleet_inventory i ON i.agent_id = a.id
  WHERE a.id = %(agent)s
), workshops AS MATERIALIZED (
  SELECT w.id, w.policy FROM accounts_workshop w, place p
  WHERE w.paused_reason = '' AND (p.workshop_id IS NULL OR w.id = p.workshop_id)
)"""

# The function is in migration 0006, so that its statements are planned once.
_LOOK = """
SELECT leads, timeline, place, hands, heads, token FROM market_look(
  %(agent)s, %(epoch)s, %(sizes)s::smallint[], %(below)s::bigint[], %(margin)s, %(affinity)s, %(heads)s,
  %(best)s)
"""

_HELD_BACK = f"""
WITH {_PLACE}
SELECT j.id, j.student_id, j.model_key, j.queue_class, j.queue_key_ms,
       coalesce(q.model_files, '[]'), coalesce(q.node_types, '[]'), j.workshop_id, j.bid, j.unpaid
FROM place p CROSS JOIN jobs_job j JOIN workshops w ON w.id = j.workshop_id
LEFT JOIN market_order o ON o.job_id = j.id LEFT JOIN market_quote q ON q.id = o.quote_id
WHERE j.status = 'held_back' {_OPEN}
ORDER BY (SELECT coalesce(sum(u.charged_ms), 0) FROM jobs_job u
          WHERE u.student_id = j.student_id AND u.workshop_id = j.workshop_id), j.queue_key_ms, j.id
LIMIT %(best)s
"""


def ready_agents() -> list[str]:
    """Ids of agents that may get work, fastest first."""
    with connection.cursor() as cursor:
        cursor.execute(_READY, [SILENT_SECONDS])
        return [agent_id for (agent_id,) in cursor.fetchall()]


def agents_with_room() -> list[str]:
    """Of those, the ones that may take a job now."""
    ready = ready_agents()
    hands: dict[str, list[InHand]] = {agent_id: [] for agent_id in ready}
    with connection.cursor() as cursor:
        cursor.execute(_HANDS, [ready])
        for agent_id, *hand, speed_factor in cursor.fetchall():
            hands[agent_id].append(_in_hand(hand, speed_factor))
    return [agent_id for agent_id in ready if matching.has_room(hands[agent_id])]


def standing(agent_id: str) -> Standing | None:
    """The agent with what it holds and can run; None when it has no device or never told what it can."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH {_PLACE}"
            " SELECT json_build_array(id, name, workshop_id, simulated, speed_factor, resident_models, total,"
            " free, job_types, any_model, node_definitions_id, published_at) FROM place",
            {"agent": agent_id},
        )
        row = cursor.fetchone()
        cursor.execute(_HANDS, [[agent_id]])
        hands = [hand[1:-1] for hand in cursor.fetchall()]
    return None if row is None else _standing(row[0], hands)


def standings() -> list[Standing]:
    """All agents that may get work, fastest first, with what each holds and can run, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(_STANDINGS, [SILENT_SECONDS])
        return [_standing(_parsed(place), _parsed(hands) or []) for place, hands in cursor.fetchall()]


def look(agent_id: str, epoch: int | None, depth: int = 1) -> Look:
    """One statement: whether the caller leads (`epoch`), what the agent holds, and the best of the line it
    could take. Locks nothing."""
    with connection.cursor() as cursor:
        cursor.execute(_LOOK, {**_parameters(agent_id, depth), "epoch": epoch})
        leads, timeline, place, hands, heads, token = cursor.fetchone()
    if place is None:
        return Look(leads)
    rows = heads or []
    return Look(
        leads,
        _standing(place, hands or []),
        tuple(Candidate(*row[:-1]) for row in rows),
        tuple(row[-1] for row in rows),
        token,
        fleet.timeline() if timeline is None else timeline,
    )


def choices(agent_id: str, epoch: int | None, seen: Look) -> list[Choice]:
    """Jobs the agent can run, best first, each with the price it would pay. Looks deeper while all it found
    need what the agent lacks, or belong to one student, whose price another must set."""
    depth = 1
    while seen.place is not None:
        ordered = matching.ranked(seen.found, seen.place.abilities)
        modes = dict(zip((candidate.workshop_id for candidate in seen.found), seen.policies, strict=True))
        whole = len(seen.found) < HEADS * depth or depth >= DEEPEST
        if whole or (ordered and clearing.is_settled(ordered, modes)):
            resident = seen.place.abilities.resident_models
            return [clearing.choice(ordered, winner, resident, modes) for winner in ordered[:CHOICES]]
        depth *= 8
        seen = look(agent_id, epoch, depth)
    return []


def held_back(place: Standing) -> list[Candidate]:
    """Jobs above their owners' caps the agent could run, those of who used least first."""
    with connection.cursor() as cursor:
        cursor.execute(_HELD_BACK, _parameters(place.agent.pk, depth=3))
        rows = cursor.fetchall()
    # Django's connection hands jsonb over as text.
    found = []
    for job_id, student, model, queue_class, key_ms, files, types, workshop, bid, unpaid in rows:
        needs = (json.loads(files), json.loads(types))
        found.append(
            Candidate(str(job_id), student, model, queue_class, key_ms, *needs, workshop, bid, unpaid)
        )
    return [job for job in found if not matching.lacks(job, place.abilities)]


def _parameters(agent_id: str, depth: int) -> dict[str, Any]:
    return {
        "agent": agent_id,
        "sizes": _SIZES,
        "below": _BELOW,
        "margin": matching.BOUNCE_MARGIN_BYTES,
        "affinity": matching.AFFINITY_MS,
        "heads": HEADS * depth,
        "best": BEST * depth,
    }


def _standing(place: Sequence[Any], hands: Sequence[Sequence[Any]]) -> Standing:
    agent = AgentFacts(*place[:5])
    resident, total_bytes, free_bytes, job_types, any_model, definitions, published_at = place[5:]
    return Standing(
        agent=agent,
        abilities=Abilities(
            vram_total_bytes=total_bytes,
            node_types=_node_types(definitions),
            model_files={} if any_model else _model_files(agent.pk, published_at),
            any_model=any_model,
            resident_models=resident,
        ),
        vram_free_bytes=free_bytes,
        job_types=tuple(job_types),
        in_hand=tuple(_in_hand(hand, agent.speed_factor) for hand in hands),
    )


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _in_hand(hand: Sequence[Any], speed_factor: float) -> InHand:
    status, taken, told, gpu_seconds, loading_seconds, since_ms = hand
    return InHand(status, taken, _remaining_ms(told, gpu_seconds, loading_seconds, since_ms, speed_factor))


def _remaining_ms(
    told: float | None, gpu_seconds: float, loading_seconds: float, since_ms: float, speed_factor: float
) -> float:
    """As the agent told, less the time since; before it told, what the quote expects of this device."""
    if told is not None:
        return float(told)
    speed = speed_factor if math.isfinite(speed_factor) and speed_factor > 0 else 1.0
    return 1000 * (gpu_seconds + loading_seconds) / speed - float(since_ms)


@lru_cache(maxsize=256)
def _model_files(agent_id: str, _published_at: str) -> dict[str, frozenset[str]]:
    # Hundreds of names: fetched once per publication of the inventory.
    with connection.cursor() as cursor:
        cursor.execute("SELECT model_files FROM fleet_inventory WHERE agent_id = %s", [agent_id])
        (files,) = cursor.fetchone()
    return {folder: frozenset(names) for folder, names in json.loads(files).items()}


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
