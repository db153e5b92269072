"""The agent API: every message, and every way to be refused."""

import dataclasses
import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User, Workshop
from gpu_agent.protocol.manifest import Manifest, ManifestFile, ManifestProgress, ModelProgress, ModelState
from gpu_agent.protocol.messages import (
    PROTOCOL_VERSION,
    HeartbeatAnswer,
    JobSpec,
    Refused,
    ReportAnswer,
    Welcome,
)
from gpu_agent.protocol.phases import Outcome, Phase
from jobs.models import Attempt
from marketplace.fleet import acl, manifest, registry
from marketplace.fleet.models import Agent, Installation, ModelReport
from tests.factories import jobs as make

pytestmark = pytest.mark.django_db
HELLO = {
    "protocol": PROTOCOL_VERSION,
    "agent_version": "0.1.0",
    "hostname": "bench-3",
    "simulated": True,
    "speed_factor": 20,
}


@pytest.fixture
def voice(agent_token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {agent_token}")
    return client


@pytest.fixture
def attempt(student: User, workshop: Workshop, agent: Agent) -> Attempt:
    make.a_job(student, workshop, seconds=2)
    return make.assigned_attempt(agent)


def say(client: APIClient, address: str, words: Any, method: str = "post") -> Any:
    text = words if isinstance(words, (str, bytes)) else json.dumps(words)
    return getattr(client, method)(f"/agent/v1/{address}", text, content_type="application/json")


def test_the_handshake_is_answered_with_a_welcome(voice: APIClient, agent: Agent) -> None:
    answer = say(voice, "handshake", HELLO)
    assert answer.status_code == 200
    assert Welcome.from_json(answer.content).agent == agent.pk


def test_an_inventory_is_kept_and_a_wrong_digest_names_its_field(voice: APIClient, agent: Agent) -> None:
    definitions = {"KSampler": {}}
    words = {
        "protocol": PROTOCOL_VERSION,
        "timeline": 1,
        "comfyui_version": "0.33.0",
        "node_definitions_sha256": registry.definitions_digest(definitions),
        "node_definitions": definitions,
        "models": [{"folder": "vae", "name": "ae.safetensors"}],
        "devices": [],
    }
    assert say(voice, "inventory", words, "put").status_code == 200
    agent.inventory.refresh_from_db()
    assert agent.inventory.model_files == {"vae": ["ae.safetensors"]}
    answer = say(voice, "inventory", {**words, "node_definitions": {"Other": {}}}, "put")
    assert (answer.status_code, answer.json()["field"]) == (400, "node_definitions_sha256")
    brief = {**words, "node_definitions": None, "node_definitions_sha256": "1" * 64}
    answer = say(voice, "inventory", brief, "put")
    assert (answer.status_code, answer.json()["code"]) == (409, "definitions_wanted")


def test_a_heartbeat_renews_leases_and_is_seen(voice: APIClient, agent: Agent, attempt: Attempt) -> None:
    Agent.objects.filter(pk=agent.pk).update(last_seen_at=None, comfyui_ready=False)
    beat = make.AgentVoice(agent, attempt).beat(Phase.TAKEN)
    answer = say(voice, "heartbeat", beat.to_json())
    assert HeartbeatAnswer.from_json(answer.content).superseded == ()
    agent.refresh_from_db()
    assert agent.last_seen_at is not None
    assert agent.comfyui_ready


def test_a_job_is_fetched_run_and_reported(voice: APIClient, agent: Agent, attempt: Attempt) -> None:
    answer = voice.get(f"/agent/v1/attempts/{attempt.pk}/spec?token={attempt.token}")
    spec = JobSpec.from_json(answer.content)
    assert (spec.attempt, spec.prompt_id) == (attempt.pk, str(attempt.prompt_id))
    words = make.AgentVoice(agent, attempt)
    assert ReportAnswer.from_json(say(voice, "reports", words.words(Phase.TAKEN).to_json()).content).accepted
    attempt.refresh_from_db()
    assert attempt.acknowledged_at is not None


def test_an_attempt_of_another_token_is_superseded(voice: APIClient, attempt: Attempt) -> None:
    answer = voice.get(f"/agent/v1/attempts/{attempt.pk}/spec?token={attempt.token + 1}")
    assert (answer.status_code, Refused.from_json(answer.content).code) == (409, "superseded")
    assert voice.get(f"/agent/v1/attempts/{attempt.pk}/spec?token=x").status_code == 400


@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer agt_wrong", "Basic agt_x", "agt_x"])
def test_without_an_agents_token_nothing_is_answered(db: None, header: str | None) -> None:
    client = APIClient()
    if header is not None:
        client.credentials(HTTP_AUTHORIZATION=header)
    answer = say(client, "handshake", HELLO)
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"] == "Bearer"


def test_a_students_token_opens_nothing_here(api: APIClient) -> None:
    assert say(api, "handshake", HELLO).status_code == 401


def test_another_protocol_version_is_told_which_one_is_spoken(voice: APIClient) -> None:
    answer = say(voice, "handshake", {"protocol": PROTOCOL_VERSION + 1, "shape": "new"})
    assert answer.status_code == 426
    assert Refused.from_json(answer.content).supported == (PROTOCOL_VERSION,)


def test_words_of_an_older_timeline_are_refused(voice: APIClient, agent: Agent, attempt: Attempt) -> None:
    report = make.AgentVoice(agent, attempt).words(Phase.TAKEN)
    Installation.objects.update_or_create(pk=1, defaults={"timeline": 2})
    answer = say(voice, "reports", report.to_json())
    assert (answer.status_code, answer.json()["code"]) == (409, "timeline")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({**HELLO, "speed_factor": "fast"}, "speed_factor"),
        ({key: value for key, value in HELLO.items() if key != "hostname"}, "hostname"),
        ({**HELLO, "speed_factor": -1}, "speed_factor"),
        ([], ""),
    ],
)
def test_a_malformed_message_names_its_field(voice: APIClient, words: Any, field: str) -> None:
    answer = say(voice, "handshake", words)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":2}', '{"a":NaN}', '"\\u0000"', '"\\ud800"', "[" * 5000, b"\xff", "{"]
)
def test_json_that_stores_would_choke_on_is_refused(voice: APIClient, text: str | bytes) -> None:
    answer = say(voice, "reports", text)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_json")


def test_other_methods_and_addresses_are_refused_in_the_agents_words(voice: APIClient) -> None:
    assert Refused.from_json(voice.get("/agent/v1/handshake").content).code == "method_not_allowed"
    assert Refused.from_json(voice.get("/agent/v1/nothing").content).code == "not_found"


def test_while_redis_is_away_the_handshake_is_put_off(
    voice: APIClient, settings: Any, request: pytest.FixtureRequest
) -> None:
    settings.AGENT_REDIS_URL = "redis://127.0.0.1:1/0"
    acl._client.cache_clear()
    request.addfinalizer(acl._client.cache_clear)
    answer = say(voice, "handshake", HELLO)
    assert (answer.status_code, Refused.from_json(answer.content).code) == (503, "unavailable")
    assert answer["Retry-After"]


def test_a_finish_without_its_outputs_asks_for_them(voice: APIClient, agent: Agent, attempt: Attempt) -> None:
    words = make.AgentVoice(agent, attempt)
    (stored,) = words.stored(1)
    lost = dataclasses.replace(stored, sha256="f" * 64)
    finish = words.words(Phase.FINISHED, outcome=Outcome.SUCCEEDED, artifacts=(lost,))
    answer = say(voice, "reports", finish.to_json())
    assert (answer.status_code, Refused.from_json(answer.content).code) == (409, "artifact_missing")
    attempt.refresh_from_db()
    assert attempt.outcome == ""


def test_a_host_is_told_its_model_files_and_tells_how_far_it_is(voice: APIClient, workshop: Workshop) -> None:
    manifest.keep(workshop, None, ManifestFile("vae", "ae.safetensors", size_bytes=9))
    told = Manifest.from_json(voice.get("/agent/v1/manifest").content)
    assert [file.path for file in told.files] == ["vae/ae.safetensors"]
    have = ModelProgress("vae", "ae.safetensors", ModelState.PULLING, 4, 9)
    words = ManifestProgress(PROTOCOL_VERSION, False, (have,))
    assert say(voice, "manifest/progress", words.to_json()).status_code == 200
    assert ModelReport.objects.get().files[0]["received_bytes"] == 4
    lies = ManifestProgress(PROTOCOL_VERSION, False, (dataclasses.replace(have, received_bytes=-4),))
    assert say(voice, "manifest/progress", lies.to_json()).json()["code"] == "bad_value"
    assert APIClient().get("/agent/v1/manifest").status_code == 401
