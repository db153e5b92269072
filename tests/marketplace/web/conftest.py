"""A class at work: a student signed in, an agent with ComfyUI's nodes, workflows as authors write them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import User, Workshop
from gpu_agent.simulator.definitions import own_definitions
from marketplace.fleet.models import Agent, Inventory, NodeDefinitions
from tests.factories.jobs import NODES, a_student, a_workshop, an_agent
from tests.factories.workflows import a_sketch


@pytest.fixture(autouse=True)
def _static_folder() -> None:
    """WhiteNoise warns of a missing folder, and warnings are errors here."""
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)


@pytest.fixture
def workshop(db: None) -> Workshop:
    return a_workshop(timezone="Europe/Berlin")


@pytest.fixture
def agent(workshop: Workshop) -> Agent:
    """An agent that knows the simulator's nodes and the timed job's, and pretends to have any model."""
    found = an_agent(simulated=True)
    body = {**own_definitions(), **{node: {} for node in NODES}}
    known, _ = NodeDefinitions.objects.get_or_create(pk="simulator-and-timed", defaults={"body": body})
    Inventory.objects.filter(agent=found).update(node_definitions=known)
    return found


@pytest.fixture
def student(workshop: Workshop) -> User:
    return a_student(workshop, 100_000)


@pytest.fixture
def page(client: Client, student: User) -> Client:
    """A browser in which the student is signed in."""
    client.force_login(student)
    return client


@pytest.fixture
def sketch() -> Callable[..., str]:
    """`sketch(node="3", steps=5)`: a workflow as text, with inputs of one node changed."""

    def text(node: str = "3", **inputs: Any) -> str:
        graph = a_sketch(steps=15)
        graph[node]["inputs"].update(inputs)
        return json.dumps(graph)

    return text
