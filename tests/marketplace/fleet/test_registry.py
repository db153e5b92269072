"""Agents join, tell what they can run, and are taken off."""

import hashlib
from dataclasses import replace

import pytest

from accounts.models import AuditRow, Workshop
from gpu_agent.protocol.messages import (
    PROTOCOL_VERSION,
    AttemptBeat,
    DeviceState,
    Handshake,
    Heartbeat,
    Inventory,
    ModelFile,
)
from gpu_agent.protocol.phases import Phase
from marketplace.fleet import registry
from marketplace.fleet.models import Agent, Device, Installation, NodeDefinitions
from tests.sqlclock import at_offset

pytestmark = pytest.mark.django_db

HELLO = Handshake(PROTOCOL_VERSION, "0.1.0", "bench-3", simulated=True, speed_factor=20.0)
DEVICE = DeviceState("GPU-1", "Pretend 4090", vram_total_bytes=24 * 2**30, vram_free_bytes=20 * 2**30)
DEFINITIONS = {"KSampler": {"input": {"required": {"steps": ["INT", {"default": 20}]}}}}
INVENTORY = Inventory(
    protocol=PROTOCOL_VERSION,
    timeline=1,
    comfyui_version="0.33.0",
    node_definitions_sha256=registry.definitions_digest(DEFINITIONS),
    node_definitions=DEFINITIONS,
    models=(ModelFile("checkpoints", "sdxl.safetensors"), ModelFile("vae", "ae.safetensors")),
    devices=(DEVICE,),
)
BEAT = Heartbeat(PROTOCOL_VERSION, 1, attempts=(), devices=(DEVICE,), comfyui_ready=True)


def test_the_token_is_shown_once_and_only_its_hash_is_stored() -> None:
    agent, token = registry.enrol("bench-3")
    agent.refresh_from_db()
    assert agent.token_sha256 == hashlib.sha256(token.encode()).hexdigest()
    assert token.startswith(agent.token_prefix)
    assert token not in str(vars(agent))
    assert registry.authenticate(token) == agent


def test_a_name_is_given_once() -> None:
    registry.enrol("bench-3")
    with pytest.raises(registry.NameTaken):
        registry.enrol("bench-3")
    assert Agent.objects.count() == 1


@pytest.mark.parametrize("token", ["", "agt_", "agt_wrong", "api_something", "agt_" + "x" * 43])
def test_a_foreign_token_is_nobodys(token: str) -> None:
    registry.enrol("bench-3")
    assert registry.authenticate(token) is None


def test_both_tokens_work_during_a_rotation_and_the_old_one_ends() -> None:
    agent, old = registry.enrol("bench-3")
    new = registry.rotate(agent)
    assert registry.authenticate(old) == agent
    assert registry.authenticate(new) == agent
    with at_offset(seconds=3601):
        assert registry.authenticate(old) is None
        assert registry.authenticate(new) == agent


def test_a_revoked_agent_is_nobody_and_the_deed_is_on_record() -> None:
    agent, token = registry.enrol("bench-3")
    assert registry.revoke(agent, reason="sold")
    assert registry.authenticate(token) is None
    assert not registry.revoke(agent), "the second time changes nothing"
    assert AuditRow.objects.get(action="agent.revoked").reason == "sold"


def test_the_handshake_says_where_deliveries_come_from() -> None:
    agent, token = registry.enrol("bench-3")
    welcome = registry.handshake(agent, HELLO)
    assert (welcome.agent, welcome.queue, welcome.timeline) == (agent.pk, f"agent-{agent.pk}", 1)
    assert welcome.redis_url.startswith(f"redis://agent-{agent.pk}@127.0.0.1:")
    assert welcome.redis_url.endswith("/0")
    assert token not in welcome.to_json()
    agent.refresh_from_db()
    assert (agent.state, agent.simulated, agent.speed_factor) == (Agent.State.READY, True, 20.0)


def test_another_protocol_version_is_refused() -> None:
    agent, _token = registry.enrol("bench-3")
    with pytest.raises(registry.ProtocolMismatch):
        registry.handshake(agent, replace(HELLO, protocol=PROTOCOL_VERSION + 1))
    agent.refresh_from_db()
    assert agent.state == Agent.State.NEW


@pytest.mark.parametrize("factor", [0.0, -1.0, float("inf"), float("nan"), 1e9])
def test_an_impossible_speed_is_refused(factor: float) -> None:
    agent, _token = registry.enrol("bench-3")
    with pytest.raises(registry.BadValue):
        registry.handshake(agent, replace(HELLO, speed_factor=factor))


def test_words_of_an_older_timeline_are_refused() -> None:
    agent, _token = registry.enrol("bench-3")
    Installation.objects.create(pk=1, timeline=2)
    with pytest.raises(registry.StaleTimeline):
        registry.publish_inventory(agent, INVENTORY)
    registry.publish_inventory(agent, replace(INVENTORY, timeline=2))


def test_definitions_are_kept_once_and_asked_for_when_new() -> None:
    first, _token = registry.enrol("bench-3")
    second, _token = registry.enrol("bench-4")
    by_digest = replace(INVENTORY, node_definitions=None)
    with pytest.raises(registry.DefinitionsWanted):
        registry.publish_inventory(second, by_digest)
    registry.publish_inventory(first, INVENTORY)
    registry.publish_inventory(second, by_digest)
    assert NodeDefinitions.objects.count() == 1
    assert not registry.inventory_wanted(second)


def test_definitions_under_a_digest_that_is_not_theirs_are_refused() -> None:
    agent, _token = registry.enrol("bench-3")
    with pytest.raises(registry.BadValue) as caught:
        registry.publish_inventory(agent, replace(INVENTORY, node_definitions_sha256="0" * 64))
    assert caught.value.field == "node_definitions_sha256"
    assert not NodeDefinitions.objects.exists()


def test_surroundings_are_what_any_agent_present_can_run() -> None:
    workshop = Workshop.objects.create(slug="film", name="Film", allowed_node_types=["Extra"])
    other = Workshop.objects.create(slug="other", name="Other")
    ours, _token = registry.enrol("bench-3", workshop)
    theirs, _token = registry.enrol("bench-4", other)
    for agent, model in ((ours, "a.safetensors"), (theirs, "b.safetensors")):
        registry.handshake(agent, HELLO)
        registry.publish_inventory(agent, replace(INVENTORY, models=(ModelFile("vae", model),)))
    around = registry.surroundings(workshop)
    assert around.node_definitions == DEFINITIONS
    assert around.models == {"vae": {"a.safetensors"}}
    assert tuple(around.allowed_node_types) == ("Extra",)


def test_lost_agents_count_while_none_is_present_and_revoked_ones_never() -> None:
    workshop = Workshop.objects.create(slug="film", name="Film")
    agent, _token = registry.enrol("bench-3")
    registry.handshake(agent, HELLO)
    registry.publish_inventory(agent, INVENTORY)
    with at_offset(seconds=60):
        assert registry.mark_lost(older_than_s=30) == [agent.pk]
    assert registry.surroundings(workshop).node_definitions == DEFINITIONS
    registry.revoke(agent)
    assert registry.surroundings(workshop).node_definitions == {}


def test_what_only_a_lost_agent_has_is_told_by_its_name() -> None:
    workshop = Workshop.objects.create(slug="film", name="Film")
    more = DEFINITIONS | {"FilmGrain": {"input": {}}}
    away, _token = registry.enrol("attic")
    registry.handshake(away, HELLO)
    told = replace(
        INVENTORY, node_definitions=more, node_definitions_sha256=registry.definitions_digest(more)
    )
    registry.publish_inventory(away, told)
    here, _token = registry.enrol("bench-3")
    registry.handshake(here, HELLO)
    registry.publish_inventory(here, INVENTORY)
    assert registry.surroundings(workshop).agents_with == {}
    with at_offset(seconds=60):
        registry.handshake(here, HELLO)
        assert registry.mark_lost(older_than_s=30) == [away.pk]
        around = registry.surroundings(workshop)
    assert around.agents_with == {"FilmGrain": ["attic"]}
    assert around.node_definitions == DEFINITIONS


def test_a_heartbeat_keeps_the_device_and_brings_a_lost_agent_back() -> None:
    agent, _token = registry.enrol("bench-3")
    registry.handshake(agent, HELLO)
    with at_offset(seconds=60):
        registry.mark_lost(older_than_s=30)
    busy = AttemptBeat(attempt=7, token=1, phase=Phase.RUNNING, remaining_ms=1500)
    registry.seen(agent, replace(BEAT, attempts=(busy,)))
    agent.refresh_from_db()
    assert (agent.state, agent.comfyui_ready, agent.remaining_ms) == (Agent.State.READY, True, 1500)
    assert Device.objects.get(agent=agent).vram_free_bytes == DEVICE.vram_free_bytes


def test_nobody_seen_within_the_time_is_lost() -> None:
    agent, _token = registry.enrol("bench-3")
    registry.handshake(agent, HELLO)
    assert registry.mark_lost(older_than_s=30) == []


def test_a_drain_is_asked_for_and_taken_back() -> None:
    agent, _token = registry.enrol("bench-3")
    registry.request_drain(agent, True, reason="new driver")
    agent.refresh_from_db()
    registry.seen(agent, BEAT)
    agent.refresh_from_db()
    assert (agent.state, agent.pause_reason) == (Agent.State.DRAINING, "new driver")
    registry.request_drain(agent, False)
    agent.refresh_from_db()
    registry.seen(agent, BEAT)
    agent.refresh_from_db()
    assert (agent.state, agent.pause_reason) == (Agent.State.READY, "")
