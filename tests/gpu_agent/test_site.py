"""What is said to the site: errors worth trying again or not, and progress that never queues up."""

import asyncio
from pathlib import Path

import httpx
import pytest

from gpu_agent.protocol.messages import PROTOCOL_VERSION, ArtifactRef, Command, CommandKind, Progress
from gpu_agent.protocol.phases import Phase
from gpu_agent.site import Backoff, SiteAway, SiteClient, SiteRefused, SiteSocket
from tests.fakes.site import TOKEN, FakeSite
from tests.gpu_agent import lab


def frame(percent: float, attempt: int = 1, preview: str = "") -> Progress:
    return Progress(
        PROTOCOL_VERSION, 1, attempt, 1, Phase.RUNNING, percent,
        preview_media_type="image/jpeg" if preview else "", preview_base64=preview,
    )  # fmt: skip


async def test_a_5xx_is_worth_trying_again_and_tells_when(site: FakeSite) -> None:
    site.away = True
    client = SiteClient(site.url, TOKEN)
    with pytest.raises(SiteAway) as away:
        await client.spec(1, 1)
    await client.aclose()
    assert away.value.retry_after_seconds == 0


async def test_a_4xx_is_not_and_says_why(site: FakeSite) -> None:
    client = SiteClient(site.url, TOKEN)
    with pytest.raises(SiteRefused) as refused:
        await client.spec(1, 1)
    await client.aclose()
    assert (refused.value.status, refused.value.refused.code) == (409, "superseded")


async def test_no_answer_is_worth_trying_again() -> None:
    client = SiteClient("http://127.0.0.1:1", TOKEN)
    with pytest.raises(SiteAway):
        await client.spec(1, 1)
    await client.aclose()


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"protocol": "x"}'])
async def test_an_unreadable_answer_is_worth_trying_again(content: bytes) -> None:
    client = SiteClient("http://site", TOKEN)
    client._http = httpx.AsyncClient(
        base_url="http://site", transport=httpx.MockTransport(lambda _: httpx.Response(200, content=content))
    )
    with pytest.raises(SiteAway):
        await client.spec(1, 1)
    await client.aclose()


async def test_an_output_is_streamed_with_what_the_site_asks_of_it(site: FakeSite, tmp_path: Path) -> None:
    path, content = tmp_path / "file", b"x" * 700_000
    path.write_bytes(content)
    digest = site.upload(content)
    artifact = ArtifactRef(digest, "näme & more.png", "image/png", len(content), "image", "128:81")
    client = SiteClient(site.url, TOKEN)
    await client.store(5, 9, artifact, path)
    await client.store(5, 9, artifact, path)  # a second time is answered at once
    await client.aclose()
    assert site.artifacts[digest] == content
    assert site.stored[0] == {
        "token": "9", "name": "näme & more.png", "kind": "image", "node": "128:81", "media_type": "image/png",
    }  # fmt: skip


def test_waits_grow_with_jitter_up_to_a_cap_and_respect_a_wish() -> None:
    backoff = Backoff(0.25, 15)
    waits = [backoff.next_seconds() for _ in range(12)]
    assert all(0.125 * 2**n <= wait <= 0.25 * 2**n for n, wait in enumerate(waits[:6]))
    assert max(waits) <= 15
    assert backoff.next_seconds(20) >= 20
    backoff.reset()
    assert backoff.next_seconds() <= 0.25


async def test_only_the_latest_frame_of_an_attempt_waits_and_keeps_its_preview(site: FakeSite) -> None:
    socket = SiteSocket(site.url, TOKEN, lambda command: None)
    for one in (frame(1, preview="abcd"), frame(2), frame(3), frame(4, attempt=2)):
        socket.show(one)
    task = asyncio.create_task(socket.run())
    await lab.until(lambda: len(site.progress) == 2, what="no frames")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert {(one.attempt, one.percent, one.preview_base64) for one in site.progress} == {
        (1, 3, "abcd"), (2, 4, ""),
    }  # fmt: skip


async def test_commands_come_over_the_socket(site: FakeSite) -> None:
    heard: list[Command] = []
    site.commands = [Command(CommandKind.CANCEL, 3, 4)]
    socket = SiteSocket(site.url, TOKEN, heard.append)
    socket.show(frame(1))
    task = asyncio.create_task(socket.run())
    await lab.until(lambda: heard, what="no command")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert heard == site.commands
