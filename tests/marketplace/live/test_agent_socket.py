"""Progress from agents to browsers: only of what they hold, clamped, and not too often."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from hypothesis import given
from hypothesis import strategies as st

from gpu_agent.protocol.messages import PROTOCOL_VERSION, Command, CommandKind, Progress
from gpu_agent.protocol.phases import Phase
from jobs.models import Attempt
from marketplace.api import agent_socket
from marketplace.fleet import registry
from marketplace.fleet.models import Agent
from marketplace.live import frames, publish
from tests.factories import jobs as make
from tests.marketplace.live.conftest import Opener
from tests.sockets import Socket

pytestmark = pytest.mark.django_db(transaction=True)
in_thread = sync_to_async
JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
FRAME = Progress(PROTOCOL_VERSION, 1, attempt=1, token=1, phase=Phase.RUNNING, percent=42.0, step=3, steps=20)


def frame_of(voice: make.AgentVoice, **changed: Any) -> Progress:
    return replace(FRAME, attempt=voice.attempt.pk, token=voice.attempt.token, **changed)


async def show(socket: Socket, frame: Progress) -> None:
    await socket.say({"type": "progress", "data": frame.to_dict()})


async def listen(socket: Socket, voice: make.AgentVoice) -> None:
    await socket.connect()
    await socket.say({"type": "subscribe", "topic": f"job:{voice.attempt.job_id}"})
    assert (await socket.hear())["type"] == "subscribed"


async def test_a_frame_reaches_the_owner_and_is_kept_for_who_comes_later(
    open_socket: Opener, token: str, agent_token: str, voice: make.AgentVoice
) -> None:
    picture = base64.b64encode(JPEG).decode()
    async with open_socket("/ws/live", token) as browser, open_socket("/ws/agent", agent_token) as agent:
        await listen(browser, voice)
        await agent.connect()
        await show(agent, frame_of(voice, preview_media_type="image/jpeg", preview_base64=picture))
        frame = (await browser.hear())["frame"]
        assert (frame["percent"], frame["step"], frame["steps"]) == (42.0, 3, 20)
        assert frame["preview"] == f"data:image/jpeg;base64,{picture}"
        job = voice.attempt.job_id
        assert (await in_thread(frames.latest)([job]))[str(job)] == frame
    async with open_socket("/ws/live", token) as late:
        await listen(late, voice)
        assert (await late.hear())["frame"] == frame


async def test_lists_get_the_percentage_without_the_picture(
    open_socket: Opener, token: str, agent_token: str, voice: make.AgentVoice, student: Any
) -> None:
    picture = base64.b64encode(JPEG).decode()
    async with open_socket("/ws/live", token) as browser, open_socket("/ws/agent", agent_token) as agent:
        await browser.connect()
        await browser.say({"type": "subscribe", "topic": f"user:{student.pk}"})
        await browser.hear()
        await agent.connect()
        await show(agent, frame_of(voice, preview_media_type="image/jpeg", preview_base64=picture))
        words = await browser.hear()
        assert (words["job"], words["frame"]["percent"]) == (str(voice.attempt.job_id), 42.0)
        assert "preview" not in words["frame"]


async def test_an_agent_speaks_of_no_attempt_but_its_own(
    open_socket: Opener, token: str, voice: make.AgentVoice, other_token: str, agent_token: str
) -> None:
    async with (
        open_socket("/ws/live", token) as browser,
        open_socket("/ws/agent", other_token) as other,
        open_socket("/ws/agent", agent_token) as own,
    ):
        await listen(browser, voice)
        await other.connect()
        await own.connect()
        await show(other, frame_of(voice, percent=99.0))
        await show(own, replace(frame_of(voice, percent=98.0), token=voice.attempt.token + 1))
        await show(own, frame_of(voice, percent=50.0))
        assert (await browser.hear())["frame"]["percent"] == 50.0
        assert await browser.is_silent(0.2)


async def test_an_attempt_that_was_lost_is_soon_silent(
    open_socket: Opener, token: str, voice: make.AgentVoice, agent_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_socket, "LEASE_STALE_SECONDS", -1.0)
    async with open_socket("/ws/live", token) as browser, open_socket("/ws/agent", agent_token) as agent:
        await listen(browser, voice)
        await agent.connect()
        await show(agent, frame_of(voice))
        await browser.hear()
        await Attempt.objects.filter(pk=voice.attempt.pk).aupdate(outcome="lost")
        newer = Attempt(job_id=voice.attempt.job_id, number=2, agent_id="x", agent_name="x", token=10**9)
        await newer.asave()
        monkeypatch.setattr(agent_socket, "FRAME_SECONDS", 0.0)
        await show(agent, frame_of(voice))
        assert await browser.is_silent(0.2)


async def test_no_more_than_four_frames_a_second_go_on(
    open_socket: Opener, token: str, voice: make.AgentVoice, agent_token: str
) -> None:
    async with open_socket("/ws/live", token) as browser, open_socket("/ws/agent", agent_token) as agent:
        await listen(browser, voice)
        await agent.connect()
        for percent in range(50):
            await show(agent, frame_of(voice, percent=float(percent)))
        assert (await browser.hear())["frame"]["percent"] == 0.0
        rest = 0
        while not await browser.is_silent(0.1):
            await browser.hear()
            rest += 1
        assert rest <= 4


async def test_a_command_reaches_its_agent_alone(
    open_socket: Opener, agent: Agent, agent_token: str, other_token: str
) -> None:
    command = Command(CommandKind.CANCEL, attempt=7, token=8, reason="Its owner cancelled it.")
    async with open_socket("/ws/agent", agent_token) as own, open_socket("/ws/agent", other_token) as other:
        await own.connect()
        await other.connect()
        await in_thread(publish.agent_command)(agent.pk, command)
        words = await own.hear()
        assert words["type"] == "command"
        assert Command.from_dict(words["data"]) == command
        assert await other.is_silent(0.2)


async def test_without_an_agents_token_the_door_stays_shut(open_socket: Opener, token: str) -> None:
    for wrong in ("", "agt_wrong", token):
        async with open_socket("/ws/agent", wrong) as socket:
            assert not await socket.connect()


async def test_revoking_an_agent_closes_its_socket(
    open_socket: Opener, agent: Agent, agent_token: str
) -> None:
    async with open_socket("/ws/agent", agent_token) as socket:
        await socket.connect()
        await in_thread(registry.revoke)(agent)
        assert await socket.hear_close() == agent_socket.CLOSE_NOT_AUTHENTICATED


@pytest.mark.parametrize(
    "text", ["{", '{"type":"progress","data":{}}', '{"type":"progress","data":7}', "x" * 400_000]
)
async def test_a_malformed_frame_ends_the_talk(open_socket: Opener, agent_token: str, text: str) -> None:
    async with open_socket("/ws/agent", agent_token) as socket:
        await socket.connect()
        await socket.say_text(text)
        assert await socket.hear_close() == agent_socket.CLOSE_MALFORMED


ANY_INT = st.none() | st.integers(-(2**63), 2**63 - 1)


@given(
    st.builds(
        Progress,
        protocol=st.just(PROTOCOL_VERSION),
        timeline=st.integers(),
        attempt=st.integers(),
        token=st.integers(),
        phase=st.sampled_from(Phase),
        percent=st.floats(),
        node=st.text(),
        node_title=st.text(max_size=500),
        step=ANY_INT,
        steps=ANY_INT,
        remaining_ms=ANY_INT,
        note=st.text(max_size=500),
        preview_media_type=st.sampled_from(["image/png", "image/jpeg", "text/html", ""]),
        preview_base64=st.text(max_size=20) | st.just(base64.b64encode(JPEG).decode()),
    )
)
@pytest.mark.django_db(transaction=False)
def test_whatever_an_agent_says_a_browser_gets_a_plain_frame(frame: Progress) -> None:
    words = agent_socket.frame_words(frame)
    json.dumps(words, allow_nan=False)
    assert 0.0 <= words["percent"] <= 100.0
    assert all(
        words[name].isprintable() and len(words[name]) <= 200 for name in ("node", "node_title", "note")
    )
    assert all(words[name] is None or words[name] >= 0 for name in ("step", "steps", "remaining_ms"))
    assert words.get("preview", "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    "content", [b"<svg onload=x>", JPEG + bytes(agent_socket.MAX_PREVIEW_BYTES), b"GIF89a"]
)
def test_a_preview_that_is_no_small_picture_is_left_out(content: bytes) -> None:
    frame = replace(FRAME, preview_media_type="image/jpeg", preview_base64=base64.b64encode(content).decode())
    assert "preview" not in agent_socket.frame_words(frame)


@pytest.fixture
def other_token(transactional_db: None) -> str:
    _agent, token = registry.enrol("bench-9")
    return token
