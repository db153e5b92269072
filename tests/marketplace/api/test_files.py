"""Outputs on their way in and out: streamed, checked, and harmless in a browser."""

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from accounts.models import User, Workshop
from jobs import artifacts
from jobs.models import Artifact, Attempt, Job
from marketplace.fleet import registry
from marketplace.fleet.models import Agent
from tests.factories import jobs as make

pytestmark = pytest.mark.django_db(transaction=True)
CONTENT = os.urandom(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAMED = {"name": "a picture.png", "kind": "image", "node": "9", "media_type": "image/png"}


@pytest.fixture
def attempt(transactional_db: None, student: User, workshop: Workshop, agent: Agent) -> Attempt:
    make.a_job(student, workshop, seconds=2)
    return make.taken(agent).attempt


@pytest.fixture
def voice(agent_token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {agent_token}"}


async def put(
    site: httpx.AsyncClient, attempt: Attempt, headers: dict[str, str], **changed: Any
) -> httpx.Response:
    token, digest = changed.pop("token", attempt.token), changed.pop("digest", DIGEST)
    content = changed.pop("content", CONTENT)
    params = {"token": token, **NAMED, **changed}
    address = f"/agent/v1/attempts/{attempt.pk}/artifacts/{digest}"
    return await site.put(address, params=params, content=content, headers=headers)


async def test_an_output_is_stored_with_its_row(
    site: httpx.AsyncClient, attempt: Attempt, voice: dict[str, str]
) -> None:
    for _ in range(2):
        assert (await put(site, attempt, voice)).status_code == 201
    row = await Artifact.objects.aget()
    assert (row.sha256, row.name, row.size_bytes) == (DIGEST, "a picture.png", len(CONTENT))
    assert row.visible_at is None
    assert artifacts.open_path(DIGEST).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"content": b"other"}, 400, "bad_digest"),
        ({"digest": "abc"}, 400, "bad_digest"),
        ({"token": "x"}, 400, "bad_token"),
        ({"token": 99_999}, 409, "superseded"),
        ({"name": ""}, 400, "malformed"),
        ({"name": "a\nb"}, 400, "malformed"),
        ({"kind": "virus"}, 400, "malformed"),
        ({"media_type": "image/png; x=y"}, 400, "malformed"),
    ],
)
async def test_what_is_not_as_said_is_refused(
    site: httpx.AsyncClient, attempt: Attempt, voice: dict[str, str], changed: Any, status: int, code: str
) -> None:
    answer = await put(site, attempt, voice, **changed)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not await Artifact.objects.aexists()


async def test_nobody_else_stores_into_an_attempt(site: httpx.AsyncClient, attempt: Attempt) -> None:
    assert (await put(site, attempt, {})).status_code == 401


async def test_an_output_beyond_the_limit_is_refused_before_or_while_it_is_read(
    site: httpx.AsyncClient, attempt: Attempt, voice: dict[str, str], settings: Any, media: Path
) -> None:
    settings.MAX_ARTIFACT_BYTES = 1000

    async def unannounced() -> AsyncIterator[bytes]:
        yield CONTENT

    for content in (CONTENT, unannounced()):
        answer = await put(site, attempt, voice, content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert not [path for path in media.rglob("*") if path.is_file()]


async def test_an_attempt_given_to_another_takes_no_more_outputs(
    site: httpx.AsyncClient, attempt: Attempt, voice: dict[str, str]
) -> None:
    newer = Attempt(job_id=attempt.job_id, number=2, agent_id="x", agent_name="x", token=attempt.token + 9)
    await Attempt.objects.filter(pk=attempt.pk).aupdate(outcome="lost")
    await newer.asave()
    assert (await put(site, attempt, voice)).json()["code"] == "superseded"


# --- out -----------------------------------------------------------------------------------------


def stored(media_type: str = "image/png", name: str = "a.png", **rest: Any) -> str:
    digest = artifacts.store_bytes(CONTENT)
    return artifacts.link(digest, name, media_type, **rest)


async def test_a_link_serves_the_file_whole_in_part_and_by_head(site: httpx.AsyncClient) -> None:
    link = stored()
    whole = await site.get(link)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    part = await site.get(link, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, CONTENT[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(CONTENT)}"
    head = await site.head(link)
    assert (head.headers["Content-Length"], head.content) == (str(len(CONTENT)), b"")
    beyond = await site.get(link, headers={"Range": f"bytes={len(CONTENT)}-"})
    assert beyond.status_code == 416
    again = await site.get(link, headers={"If-None-Match": whole.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_file_may_do_nothing_in_a_browser(site: httpx.AsyncClient) -> None:
    headers = (await site.get(stored())).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]
    assert headers["Content-Type"] == "image/png"
    assert headers["Content-Disposition"].startswith("inline; filename=")


@pytest.mark.parametrize("media_type", ["text/html", "image/svg+xml", "application/pdf", "text/plain"])
async def test_what_could_carry_script_is_only_downloaded(site: httpx.AsyncClient, media_type: str) -> None:
    headers = (await site.get(stored(media_type))).headers
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"].startswith("attachment;")


async def test_a_download_keeps_its_name_whatever_is_in_it(site: httpx.AsyncClient) -> None:
    name = 'größe "1"; x\\.png'
    answer = await site.get(stored(name=name, download=True))
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="gr_e_1_x_.png"')
    assert "filename*=UTF-8''gr%C3%B6%C3%9Fe%20%221%22" in answer.headers["Content-Disposition"]


async def test_a_link_that_is_not_ours_opens_nothing(site: httpx.AsyncClient) -> None:
    link = stored()
    for wrong in (
        link.partition("?")[0],
        link[:-2] + "xx",
        link.replace(DIGEST, "0" * 64, 1),
        "/files/../x?key=a",
    ):
        assert (await site.get(wrong)).status_code in (403, 404)
    assert (await site.post(link)).status_code == 405
    artifacts.path_of(DIGEST).unlink()
    assert (await site.get(link)).status_code == 404


# --- what jobs read ------------------------------------------------------------------------------


async def test_an_agent_fetches_what_its_attempt_reads_and_nothing_else(
    site: httpx.AsyncClient, attempt: Attempt, voice: dict[str, str], agent: Agent
) -> None:
    artifacts.store_bytes(CONTENT)
    address = f"/agent/v1/uploads/{DIGEST}"
    assert (await site.get(address, headers=voice)).status_code == 404
    reads = [{"sha256": DIGEST, "name": f"{DIGEST}.png", "size_bytes": len(CONTENT)}]
    await Job.objects.filter(pk=attempt.job_id).aupdate(inputs=reads)
    answer = await site.get(address, headers=voice)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert (await site.get(address)).status_code == 401


async def test_another_agent_fetches_nothing_of_it(
    site: httpx.AsyncClient, attempt: Attempt, other_voice: dict[str, str]
) -> None:
    artifacts.store_bytes(CONTENT)
    await Job.objects.filter(pk=attempt.job_id).aupdate(inputs=[{"sha256": DIGEST}])
    address = f"/agent/v1/uploads/{DIGEST}"
    assert (await site.get(address, headers=other_voice)).status_code == 404
    assert (await put(site, attempt, other_voice)).json()["code"] == "superseded"


@pytest.fixture
def other_voice(transactional_db: None) -> dict[str, str]:
    _agent, token = registry.enrol("bench-9")
    return {"Authorization": f"Bearer {token}"}
