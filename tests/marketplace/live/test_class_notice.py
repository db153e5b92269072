"""A pause and a turn of the class's clock reach every page that is open in the workshop."""

import pytest
from asgiref.sync import sync_to_async

from accounts.models import User, Workshop
from marketplace.market import closing, levers
from tests.factories import jobs as make
from tests.factories import people
from tests.marketplace.live.conftest import Opener
from tests.marketplace.live.test_browser_socket import hear, subscribe

pytestmark = pytest.mark.django_db(transaction=True)
in_thread = sync_to_async


async def test_members_hear_that_the_notices_changed(
    open_socket: Opener, token: str, student: User, workshop: Workshop
) -> None:
    teacher = await in_thread(make.a_member)(workshop, "instructor")
    session = await in_thread(people.session)(workshop)
    topic = f"workshop:{workshop.pk}"
    async with open_socket("/ws/live", token) as socket:
        await socket.connect()
        await subscribe(socket, topic)
        await hear(socket, "subscribed")
        await in_thread(levers.pause_workshop)(teacher, workshop, "critique")
        assert (await hear(socket, "notice"))["topic"] == topic
        await in_thread(closing.turn)(teacher, session.pk, "open")
        assert (await hear(socket, "notice"))["topic"] == topic
