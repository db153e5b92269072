"""What a browser hears: its own jobs, in order, from where it left off; and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.test import Client

from accounts.models import User, Workshop
from jobs.models import JobEvent
from marketplace.live import consumers, publish
from tests.factories import jobs as make
from tests.marketplace.live.conftest import Opener
from tests.sockets import Socket

pytestmark = pytest.mark.django_db(transaction=True)
in_thread = sync_to_async


async def hear(socket: Socket, kind: str) -> Any:
    """The next message of this kind; others are passed over."""
    while True:
        words = await socket.hear()
        if words["type"] == kind:
            return words


async def subscribe(socket: Socket, topic: str, **more: Any) -> None:
    await socket.say({"type": "subscribe", "topic": topic, **more})


async def test_an_owner_hears_each_step_of_the_job(
    open_socket: Opener, token: str, voice: make.AgentVoice
) -> None:
    topic = f"job:{voice.attempt.job_id}"
    async with open_socket("/ws/live", token) as socket:
        assert await socket.connect()
        await subscribe(socket, topic)
        told = await hear(socket, "subscribed")
        await in_thread(voice.run)()
        event = await hear(socket, "event")
        assert (event["topic"], event["seq"], event["kind"]) == (topic, told["seq"] + 1, "running")
        await in_thread(voice.succeed)()
        assert (await hear(socket, "event"))["kind"] == "succeeded"


async def test_who_comes_back_hears_what_was_missed_once_and_in_order(
    open_socket: Opener, token: str, voice: make.AgentVoice
) -> None:
    await in_thread(voice.run)()
    async with open_socket("/ws/live", token) as socket:
        await socket.connect()
        await subscribe(socket, f"job:{voice.attempt.job_id}", last_seq=1)
        rows = [seq async for seq in JobEvent.objects.filter(seq__gt=1).values_list("seq", flat=True)]
        heard = [(await hear(socket, "event"))["seq"] for _ in rows]
        assert heard == rows == sorted(rows)
        assert (await hear(socket, "subscribed"))["seq"] == rows[-1]
        publish.job_event(voice.attempt.job_id, 0, 0, rows[-1], "running", {})
        await in_thread(voice.succeed)()
        assert (await hear(socket, "event"))["kind"] == "succeeded", "an old number is dropped"


async def test_a_stranger_hears_nothing(
    open_socket: Opener, voice: make.AgentVoice, workshop: Workshop, token_of: Callable[[User], str]
) -> None:
    stranger = await in_thread(make.a_student)(workshop)
    job = voice.attempt.job_id
    topics = [
        f"job:{job}",
        f"user:{stranger.pk - 1}",
        f"staff:{workshop.pk}",
        "job:x",
        "x" * 300,
        f"job:{job} ",
    ]
    async with open_socket("/ws/live", await in_thread(token_of)(stranger)) as socket:
        await socket.connect()
        for topic in topics:
            await subscribe(socket, topic)
            assert (await socket.hear())["type"] == "refused"
        await in_thread(voice.run)()
        assert await socket.is_silent(0.2)


async def test_staff_hear_all_jobs_of_their_workshop(
    open_socket: Opener, voice: make.AgentVoice, workshop: Workshop, token_of: Callable[[User], str]
) -> None:
    teacher = await in_thread(make.a_member)(workshop, "instructor")
    async with open_socket("/ws/live", await in_thread(token_of)(teacher)) as socket:
        await socket.connect()
        await subscribe(socket, f"staff:{workshop.pk}")
        await hear(socket, "subscribed")
        await in_thread(voice.run)()
        assert (await hear(socket, "event"))["job"] == str(voice.attempt.job_id)


async def test_a_person_hears_of_the_balance_and_members_of_the_queue(
    open_socket: Opener, token: str, student: User, workshop: Workshop, voice: make.AgentVoice
) -> None:
    async with open_socket("/ws/live", token) as socket:
        await socket.connect()
        for topic in (f"user:{student.pk}", f"workshop:{workshop.pk}"):
            await subscribe(socket, topic)
            await hear(socket, "subscribed")
        await in_thread(voice.succeed)()
        heard = {(await socket.hear())["type"] for _ in range(3)}
        assert heard == {"event", "balance", "workshop"}


async def test_what_one_no_longer_subscribes_to_is_silent(
    open_socket: Opener, token: str, voice: make.AgentVoice
) -> None:
    topic = f"job:{voice.attempt.job_id}"
    async with open_socket("/ws/live", token) as socket:
        await socket.connect()
        await subscribe(socket, topic)
        await hear(socket, "subscribed")
        await socket.say({"type": "unsubscribe", "topic": topic})
        await subscribe(socket, "refuse this")
        await hear(socket, "refused")  # so the former was heard, too
        await in_thread(voice.run)()
        assert await socket.is_silent(0.2)


@pytest.mark.parametrize("text", ["{", "[" * 3000, "x" * 5000])
async def test_words_that_are_no_message_end_the_talk(open_socket: Opener, token: str, text: str) -> None:
    async with open_socket("/ws/live", token) as socket:
        await socket.connect()
        await socket.say_text(text)
        assert await socket.hear_close() == consumers.CLOSE_BAD_MESSAGE


async def test_nobody_is_told_so_and_let_go(open_socket: Opener, transactional_db: None) -> None:
    async with open_socket("/ws/live", "api_wrong") as socket:
        await socket.connect()
        assert await socket.hear_close() == consumers.CLOSE_NOT_SIGNED_IN


@pytest.mark.parametrize(
    ("origin", "host", "let_in"),
    [
        ("http://127.0.0.1", "127.0.0.1", True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("http://127.0.0.1:9999", "127.0.0.1:8000", False),
        ("https://evil.example", "127.0.0.1", False),
        ("http://evil.example", "evil.example", False),
        ("null", "127.0.0.1", False),
        ("", "127.0.0.1", False),
    ],
)
async def test_only_pages_of_this_site_bring_a_session(
    open_socket: Opener, session: str, origin: str, host: str, let_in: bool, settings: Any
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = []
    cookie = f"{django_settings.SESSION_COOKIE_NAME}={session}"
    async with open_socket("/ws/live", origin=origin, host=host, cookie=cookie) as socket:
        assert await socket.connect() is let_in


async def test_a_disabled_users_socket_closes_within_seconds(
    open_socket: Opener, token: str, student: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "USER_CHECK_SECONDS", 0.05)
    async with open_socket("/ws/live", token) as socket:
        await socket.connect()
        await User.objects.filter(pk=student.pk).aupdate(is_active=False)
        assert await socket.hear_close() == consumers.CLOSE_NOT_SIGNED_IN


async def test_a_topic_one_may_no_longer_hear_is_taken_away(
    open_socket: Opener, token: str, student: User, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "USER_CHECK_SECONDS", 0.05)
    monkeypatch.setattr(consumers, "TOPIC_CHECK_SECONDS", 0)
    async with open_socket("/ws/live", token) as socket:
        await socket.connect()
        await subscribe(socket, f"workshop:{workshop.pk}")
        await hear(socket, "subscribed")
        await student.enrolments.all().adelete()
        assert (await hear(socket, "refused"))["topic"] == f"workshop:{workshop.pk}"


async def test_unknown_sockets_are_closed(open_socket: Opener, transactional_db: None) -> None:
    async with open_socket("/ws/nothing") as socket:
        assert not await socket.connect()


@pytest.fixture
def session(student: User) -> str:
    client = Client()
    client.force_login(student)
    return str(client.cookies[django_settings.SESSION_COOKIE_NAME].value)
