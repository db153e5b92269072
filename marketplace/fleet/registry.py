"""The write door of the fleet: enrol, authenticate, greet, and keep what agents tell about themselves."""

import hashlib
import hmac
import json
import math
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import redis.exceptions
import structlog
from django.db import transaction
from django.db.models import Q, QuerySet

from accounts import audit
from accounts.clock import MarketNow
from accounts.models import User, Workshop
from gpu_agent.protocol.messages import (
    HEARTBEAT_SECONDS,
    LEASE_SECONDS,
    PROTOCOL_VERSION,
    DeviceState,
    Handshake,
    Heartbeat,
    Inventory,
    Welcome,
    queue_name,
)
from jobs.job_types.base import Surroundings
from marketplace.fleet import acl, tokens
from marketplace.fleet.models import Agent, Device, Installation, NodeDefinitions
from marketplace.fleet.models import Inventory as InventoryRow
from marketplace.live import publish

log = structlog.get_logger(__name__)
PRESENT = (Agent.State.READY, Agent.State.DRAINING)
ROTATION_GRACE = timedelta(hours=1)
MAX_SPEED_FACTOR = 10_000.0
MAX_MODELS = 20_000


class NameTaken(ValueError):
    """Another agent has this name."""


class NoSuchAgent(LookupError):
    """No agent has this name."""


class ProtocolMismatch(ValueError):
    """The agent speaks a protocol version this site does not."""


class StaleTimeline(ValueError):
    """The message belongs to a time before the site was restored from a snapshot."""


class BadValue(ValueError):
    """A value of a message is out of its range. `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class DefinitionsWanted(LookupError):
    """The inventory names node definitions by a digest the site has never seen, without their body."""


def enrol(name: str, workshop: Workshop | None = None, *, actor: User | None = None) -> tuple[Agent, str]:
    """A new agent and its token, which is shown this once. NameTaken.

    When Redis is away its user there is written at the handshake.
    """
    token = tokens.new_token()
    with transaction.atomic():
        if Agent.objects.filter(name=name).exists():
            raise NameTaken(f"an agent named {name!r} exists")
        agent = Agent.objects.create(
            name=name,
            workshop=workshop,
            token_prefix=token[: tokens.PREFIX_CHARACTERS],
            token_sha256=tokens.digest(token),
        )
        audit.record("agent.enrolled", f"agent:{agent.pk}", actor=actor, after={"name": name})
    _write_user(agent)
    return agent, token


def rotate(agent: Agent, *, actor: User | None = None) -> str:
    """A new token. The old one keeps working over HTTP for ROTATION_GRACE; Redis takes only the new one."""
    token = tokens.new_token()
    with transaction.atomic():
        row = Agent.objects.select_for_update().get(pk=agent.pk)
        row.previous_token_sha256 = row.token_sha256
        row.token_sha256 = tokens.digest(token)
        row.token_prefix = token[: tokens.PREFIX_CHARACTERS]
        row.save(update_fields=["previous_token_sha256", "token_sha256", "token_prefix"])
        Agent.objects.filter(pk=row.pk).update(previous_token_until=MarketNow() + ROTATION_GRACE)
        audit.record("agent.token_rotated", f"agent:{agent.pk}", actor=actor)
    _write_user(row)
    return token


def revoke(agent: Agent, *, actor: User | None = None, reason: str = "") -> bool:
    """Take an agent's access away for good; its sockets close. False when that was done before.

    What it holds is requeued when the leases expire.
    """
    with transaction.atomic():
        changed = Agent.objects.filter(pk=agent.pk).exclude(state=Agent.State.REVOKED)
        if not changed.update(state=Agent.State.REVOKED, comfyui_ready=False):
            return False
        audit.record("agent.revoked", f"agent:{agent.pk}", actor=actor, reason=reason)
        publish.agent_revoked(agent.pk)
        _workshops_changed(agent)
    try:
        acl.remove_user(agent.pk)
    except (redis.exceptions.RedisError, OSError) as error:
        log.warning("fleet.user_not_removed", agent=agent.pk, fault=type(error).__name__)
    return True


def by_name(name: str) -> Agent:
    """The agent of this name. NoSuchAgent."""
    try:
        return Agent.objects.get(name=name)
    except Agent.DoesNotExist:
        raise NoSuchAgent(f"no agent is named {name!r}") from None


def authenticate(token: str) -> Agent | None:
    """The agent whose token this is; None for unknown and revoked ones."""
    if not token.startswith(tokens.TOKEN_START):
        return None
    digest = tokens.digest(token)
    current = Q(token_sha256=digest)
    previous = Q(previous_token_sha256=digest, previous_token_until__gt=MarketNow())
    found = Agent.objects.exclude(state=Agent.State.REVOKED).select_related("workshop")
    agent = found.filter(current | previous).first()
    if agent is None or not any(
        hmac.compare_digest(digest, known) for known in (agent.token_sha256, agent.previous_token_sha256)
    ):
        return None
    return agent


def timeline() -> int:
    """This installation's timeline number."""
    row, _made = Installation.objects.get_or_create(pk=1)
    return row.timeline


def check_message(protocol: int, message_timeline: int | None) -> None:
    """ProtocolMismatch; StaleTimeline unless the timeline is this installation's (None: not asked)."""
    if protocol != PROTOCOL_VERSION:
        raise ProtocolMismatch(f"this site speaks protocol {PROTOCOL_VERSION}, the agent {protocol}")
    if message_timeline is not None and message_timeline != timeline():
        raise StaleTimeline("the site was restored since: shake hands again and forget what is in hand")


def handshake(agent: Agent, words: Handshake) -> Welcome:
    """Greet an agent that starts or comes back. ProtocolMismatch, BadValue; redis.RedisError when its user
    there could not be written."""
    check_message(words.protocol, None)
    if not (math.isfinite(words.speed_factor) and 0 < words.speed_factor <= MAX_SPEED_FACTOR):
        raise BadValue("speed_factor", f"speed_factor must be above 0 and at most {MAX_SPEED_FACTOR:g}")
    state = Agent.State.DRAINING if agent.drain_requested else Agent.State.READY
    with transaction.atomic():
        Agent.objects.filter(pk=agent.pk).exclude(state=Agent.State.REVOKED).update(
            state=state,
            version=words.agent_version[:40],
            hostname=words.hostname[:120],
            simulated=words.simulated,
            speed_factor=words.speed_factor,
            last_seen_at=MarketNow(),
        )
        _workshops_changed(agent)
    acl.write_user(agent)
    return Welcome(
        protocol=PROTOCOL_VERSION,
        timeline=timeline(),
        agent=agent.pk,
        name=agent.name,
        redis_url=acl.agent_url(agent.pk),
        queue=queue_name(agent.pk),
        heartbeat_seconds=HEARTBEAT_SECONDS,
        lease_seconds=LEASE_SECONDS,
        workshop=agent.workshop.name if agent.workshop else "",
    )


def publish_inventory(agent: Agent, words: Inventory) -> None:
    """Keep what the agent can run. ProtocolMismatch, StaleTimeline, BadValue, DefinitionsWanted."""
    check_message(words.protocol, words.timeline)
    if len(words.models) > MAX_MODELS:
        raise BadValue("models", f"at most {MAX_MODELS} model files")
    folders: dict[str, list[str]] = {}
    for model in words.models:
        folders.setdefault(model.folder, []).append(model.name)
    with transaction.atomic():
        definitions = _definitions(words)
        InventoryRow.objects.update_or_create(
            agent=agent,
            defaults={
                "node_definitions_id": definitions,
                "model_files": {folder: sorted(set(names)) for folder, names in folders.items()},
                "any_model": words.any_model,
                "job_types": list(words.job_types),
                "published_at": MarketNow(),
            },
        )
        Agent.objects.filter(pk=agent.pk).update(comfyui_version=words.comfyui_version[:40])
        _keep_devices(agent, words.devices)
        _workshops_changed(agent)


def definitions_digest(definitions: dict[str, Any]) -> str:
    """SHA-256 of node definitions in canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(definitions, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seen(agent: Agent, beat: Heartbeat) -> None:
    """Keep what a heartbeat says of the agent and its GPU; leases are the market's."""
    draining = beat.draining or agent.drain_requested
    remaining = next((one.remaining_ms for one in beat.attempts if one.remaining_ms is not None), None)
    state = Agent.State.DRAINING if draining else Agent.State.READY
    with transaction.atomic():
        Agent.objects.filter(pk=agent.pk).exclude(state=Agent.State.REVOKED).update(
            state=state,
            comfyui_ready=beat.comfyui_ready,
            warnings=[text[:300] for text in beat.warnings[:20]],
            resident_models=[text[:300] for text in beat.resident_models[:50]],
            remaining_ms=None if remaining is None else max(0, min(remaining, 2**31 - 1)),
            last_seen_at=MarketNow(),
        )
        _keep_devices(agent, beat.devices)
        if (agent.state, agent.comfyui_ready) != (state, beat.comfyui_ready):
            _workshops_changed(agent)


def inventory_wanted(agent: Agent) -> bool:
    """Whether the agent never told what it can run."""
    return not InventoryRow.objects.filter(agent=agent).exists()


def mark_lost(older_than_s: float) -> list[str]:
    """Mark agents unseen for so many seconds as lost; returns their ids."""
    with transaction.atomic():
        silent = Agent.objects.select_for_update(skip_locked=True).filter(
            state__in=PRESENT, last_seen_at__lt=MarketNow() - timedelta(seconds=older_than_s)
        )
        agents = list(silent)
        ids = [agent.pk for agent in agents]
        Agent.objects.filter(pk__in=ids).update(
            state=Agent.State.LOST, comfyui_ready=False, remaining_ms=None
        )
        for agent in agents:
            log.warning("fleet.agent_lost", agent=agent.pk, name=agent.name)
            _workshops_changed(agent)
    return ids


def request_drain(
    agent: Agent,
    wanted: bool,
    *,
    actor: User | None = None,
    reason: str = "",
    workshop_id: int | None = None,
) -> None:
    """Ask the agent to take nothing new, or to go on; its next heartbeat hears of it. `workshop_id`: whose
    staff asked."""
    with transaction.atomic():
        Agent.objects.filter(pk=agent.pk).update(
            drain_requested=wanted, pause_reason=reason[:200] if wanted else ""
        )
        action = "agent.drain" if wanted else "agent.resume"
        audit.record(action, f"agent:{agent.pk}", actor=actor, workshop_id=workshop_id, reason=reason)
        _workshops_changed(agent)


def request_pause(
    agent: Agent, reason: str, *, actor: User | None = None, workshop_id: int | None = None
) -> None:
    """Give the agent nothing new while `reason` stands, which students read; "" lets it go on. What it holds
    stays with it."""
    with transaction.atomic():
        Agent.objects.filter(pk=agent.pk).update(pause_reason=reason[:200])
        action = "agent.pause" if reason else "agent.unpause"
        audit.record(action, f"agent:{agent.pk}", actor=actor, workshop_id=workshop_id, reason=reason)
        _workshops_changed(agent)


def serving(workshop: Workshop) -> QuerySet[Agent]:
    """Agents that may run this workshop's jobs, whatever state they are in; revoked ones are gone."""
    return Agent.objects.filter(Q(workshop=workshop) | Q(workshop=None)).exclude(state=Agent.State.REVOKED)


def rebuild_acl() -> int:
    """Write all agents' users into Redis anew; returns how many. redis.RedisError."""
    return acl.rebuild()


def acl_intact() -> bool:
    """Whether Redis still knows every agent's user. redis.RedisError."""
    return acl.intact()


def surroundings(workshop: Workshop) -> Surroundings:
    """What this workshop's submissions are checked against: the union of what its agents can run.

    Agents that are present count; if there is none, those lost from sight, for they come back. `uploads` is
    empty here: the caller knows whose files may be named.
    """
    rows = [
        _Told(*row)
        for row in InventoryRow.objects.filter(Q(agent__workshop=workshop) | Q(agent__workshop=None))
        .filter(agent__state__in=(*PRESENT, Agent.State.LOST))
        .order_by("agent__name")
        .values_list("agent__name", "agent__state", "node_definitions_id", "model_files", "any_model")
    ]
    present = [row for row in rows if row.state in PRESENT] or rows
    definitions: dict[str, Any] = {}
    for digest in dict.fromkeys(row.node_definitions_id for row in present):
        if digest is not None:
            definitions = {**_body(digest), **definitions}
    models: dict[str, set[str]] = {}
    for row in present:
        for folder, names in row.model_files.items():
            models.setdefault(folder, set()).update(names)
    return Surroundings(
        node_definitions=definitions,
        models={folder: frozenset(names) for folder, names in models.items()},
        any_model=any(row.any_model for row in present),
        allowed_node_types=tuple(workshop.allowed_node_types),
        agents_with=_agents_with([row for row in rows if row not in present], definitions),
    )


class _Told(NamedTuple):
    """What one agent has told it can run."""

    name: str
    state: str
    node_definitions_id: str | None
    model_files: dict[str, list[str]]
    any_model: bool


def _agents_with(absent: list[_Told], here: dict[str, Any]) -> dict[str, list[str]]:
    """Node types that only agents lost from sight would have → their names."""
    found: dict[str, list[str]] = {}
    for row in absent:
        digest = row.node_definitions_id
        for kind in _body(digest).keys() - here.keys() if digest is not None else ():
            found.setdefault(kind, []).append(row.name)
    return found


@lru_cache(maxsize=8)
def _body(digest: str) -> dict[str, Any]:
    # Never changes under its digest, and is too big to fetch and decode for every quote.
    body: dict[str, Any] = NodeDefinitions.objects.values_list("body", flat=True).get(pk=digest)
    return body


def _definitions(words: Inventory) -> str | None:
    digest = words.node_definitions_sha256
    if not digest:
        return None
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise BadValue("node_definitions_sha256", "a SHA-256 in lowercase hex is needed")
    if words.node_definitions is not None:
        # Other agents will name the same digest, so what it stands for is not taken on trust.
        if definitions_digest(words.node_definitions) != digest:
            raise BadValue("node_definitions_sha256", "it is not the digest of node_definitions")
        NodeDefinitions.objects.get_or_create(pk=digest, defaults={"body": words.node_definitions})
    elif not NodeDefinitions.objects.filter(pk=digest).exists():
        raise DefinitionsWanted("send node_definitions: their digest is new to the site")
    return digest


def _keep_devices(agent: Agent, devices: tuple[DeviceState, ...]) -> None:
    if not devices:
        return
    first = devices[0]  # one process, one GPU
    if first.vram_total_bytes < 0 or first.vram_free_bytes < 0:
        raise BadValue("devices", "memory cannot be negative")
    Device.objects.update_or_create(
        agent=agent,
        defaults={
            "uuid": first.uuid[:80],
            "name": first.name[:120],
            "vram_total_bytes": first.vram_total_bytes,
            "vram_free_bytes": first.vram_free_bytes,
            "utilization_percent": _finite(first.utilization_percent),
            "temperature_celsius": _finite(first.temperature_celsius),
            "power_watts": _finite(first.power_watts),
            "simulated": first.simulated,
            "lost": first.lost,
            "sampled_at": MarketNow(),
        },
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _workshops_changed(agent: Agent) -> None:
    if agent.workshop_id is not None:
        publish.workshop_changed(agent.workshop_id)
        return
    for workshop_id in Workshop.objects.filter(closed_at=None).values_list("pk", flat=True):
        publish.workshop_changed(workshop_id)


def _write_user(agent: Agent) -> None:
    try:
        acl.write_user(agent)
    except (redis.exceptions.RedisError, OSError) as error:
        log.warning("fleet.user_not_written", agent=agent.pk, fault=type(error).__name__)
