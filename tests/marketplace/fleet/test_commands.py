"""`manage.py enrol_agent` and `revoke_agent`."""

import io
import json

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Workshop
from marketplace.fleet import registry
from marketplace.fleet.models import Agent

pytestmark = pytest.mark.django_db


def test_enrolling_prints_a_token_that_works() -> None:
    Workshop.objects.create(slug="film", name="Film")
    out = io.StringIO()
    call_command("enrol_agent", "bench-3", "--workshop", "film", "--json", stdout=out)
    words = json.loads(out.getvalue())
    agent = registry.authenticate(words["token"])
    assert agent is not None
    assert (agent.pk, agent.name, agent.workshop.slug) == (words["agent"], "bench-3", "film")


def test_a_taken_name_and_an_unknown_workshop_are_said_plainly() -> None:
    call_command("enrol_agent", "bench-3", stdout=io.StringIO())
    with pytest.raises(CommandError, match="bench-3"):
        call_command("enrol_agent", "bench-3")
    with pytest.raises(CommandError, match="no workshop"):
        call_command("enrol_agent", "bench-4", "--workshop", "nowhere")


def test_a_new_token_can_be_given() -> None:
    agent, _old = registry.enrol("bench-3")
    out = io.StringIO()
    call_command("enrol_agent", "bench-3", "--rotate", "--json", stdout=out)
    assert registry.authenticate(json.loads(out.getvalue())["token"]) == agent


def test_revoking_says_when_there_is_nothing_to_revoke() -> None:
    registry.enrol("bench-3")
    call_command("revoke_agent", "bench-3", stdout=io.StringIO())
    assert Agent.objects.get().state == Agent.State.REVOKED
    with pytest.raises(CommandError, match="before"):
        call_command("revoke_agent", "bench-3")
    with pytest.raises(CommandError, match="no agent"):
        call_command("revoke_agent", "bench-9")
