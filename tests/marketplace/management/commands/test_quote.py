"""`manage.py quote`: a price from the shell."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from marketplace.fleet.models import Agent, Inventory, NodeDefinitions
from tests.jobs.job_types.comfyui.graphs import DEFINITIONS, text_to_image


@pytest.fixture
def workflow(tmp_path: Path) -> str:
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(text_to_image(model__ckpt_name="any_xl-model.safetensors")))
    return str(path)


@pytest.fixture
def definitions(tmp_path: Path) -> str:
    path = tmp_path / "definitions.json"
    path.write_text(json.dumps(DEFINITIONS))
    return str(path)


def test_price_lines_and_memory_come_as_one_json_object(workflow: str, definitions: str) -> None:
    out = StringIO()
    call_command("quote", workflow, "--json", "--node-definitions", definitions, stdout=out)
    said = json.loads(out.getvalue())
    assert sum(line["amount_milli"] for line in said["lines"]) == said["quote_milli"]
    assert said["ceiling_milli"] >= said["quote_milli"] * 1.25
    assert said["vram_bytes"] > 10e9


def test_for_people_it_says_the_usual_price_and_the_ceiling(workflow: str, definitions: str) -> None:
    out = StringIO()
    call_command("quote", workflow, "--node-definitions", definitions, stdout=out)
    assert "usually 0.32, never above 0.40 credits" in out.getvalue()
    assert "SDXL, 1024×1024, 20 steps" in out.getvalue()


def test_a_refusal_ends_the_command_naming_the_node(workflow: str, tmp_path: Path) -> None:
    (tmp_path / "few.json").write_text(json.dumps({"SaveImage": DEFINITIONS["SaveImage"]}))
    with pytest.raises(CommandError, match=r"KSampler \(node sampler\) is not installed"):
        call_command("quote", workflow, "--node-definitions", str(tmp_path / "few.json"))


@pytest.mark.django_db
def test_without_a_file_the_newest_inventory_defines_the_nodes(workflow: str) -> None:
    with pytest.raises(CommandError, match="No agent has published"):
        call_command("quote", workflow)
    body = NodeDefinitions.objects.create(sha256="0" * 64, body=DEFINITIONS)
    agent = Agent.objects.create(name="one", token_sha256="1" * 64)
    Inventory.objects.create(agent=agent, node_definitions=body)
    out = StringIO()
    call_command("quote", workflow, stdout=out)
    assert "credits" in out.getvalue()
