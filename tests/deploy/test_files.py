"""deploy/ and docs/deploy.md name only what exists: modules, commands, options, variables."""

import argparse
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands, load_command_class

from gpu_agent import config
from gpu_agent.models import cli
from tests.deploy import guide

SERVICES = sorted(path.name for path in guide.UNITS.glob("*.service"))
EXAMPLE = set(re.findall(r"^#?([A-Z_]+)=", (guide.REPOSITORY / ".env.example").read_text(), re.MULTILINE))
COMPOSE = yaml.safe_load((guide.REPOSITORY / "deploy" / "compose.yaml").read_text())
OWN = ("web", "worker", "market", "migrate")
OF_COMPOSE = {"STORE_PASSWORD", "SITE_HOST", "VPN_ADDRESS"}


def python_command(words: list[str]) -> argparse.ArgumentParser | None:
    """The parser behind `python -m …` or `python manage.py …`; None for a module that has another kind."""
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]) is not None, words
        if words[1] != "gpu_agent":
            return None
        return cli.parser() if words[2:3] == ["models"] else config._parser()
    assert words[0] == "manage.py"
    command = load_command_class(get_commands()[words[1]], words[1])
    return command.create_parser("manage.py", words[1])


def parsed(command: str) -> argparse.Namespace | None:
    """The command's arguments, parsed by what it starts. SystemExit for an option that isn't there."""
    words = shlex.split(command)
    assert words[0].endswith(".venv/bin/python"), command
    parser = python_command(words[1:])
    return (
        None
        if parser is None
        else parser.parse_args(words[4 if words[2:4] == ["gpu_agent", "models"] else 3 :])
    )


def test_there_is_a_unit_for_every_process() -> None:
    assert SERVICES == [
        "gpu-agent@.service", "gpu-models.service",
        "marketplace-market.service", "marketplace-web.service", "marketplace-worker.service",
    ]  # fmt: skip


@pytest.mark.parametrize("name", SERVICES)
def test_every_unit_starts_what_exists_unprivileged_and_again_after_a_fault(name: str) -> None:
    unit = guide.unit(name)
    assert unit["Restart"] == ["on-failure" if unit["Type"] == ["oneshot"] else "always"]
    assert unit["User"][0] in ("marketplace", "gpu-agent")
    assert unit["CapabilityBoundingSet"] == [""]
    assert set(guide.environment(name)) <= EXAMPLE
    parsed(unit["ExecStart"][0])


@pytest.mark.parametrize("name", [*SERVICES, "gpu-models.timer"])
def test_systemd_reads_the_units_without_a_complaint(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    for path in guide.UNITS.iterdir():
        text = re.sub(r"/opt/[a-z-]+/\.venv/bin/python", sys.executable, path.read_text())
        (tmp_path / path.name).write_text(re.sub(r"WorkingDirectory=.*", "WorkingDirectory=/", text))
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True
    )
    assert [line for line in told.stderr.splitlines() if str(tmp_path) in line or name in line] == []


def test_the_web_process_is_started_alike_everywhere() -> None:
    of_unit = guide.unit("marketplace-web.service")["ExecStart"][0]
    of_compose = COMPOSE["services"]["web"]["command"]
    for words in ("marketplace.asgi:application", "--ws websockets-sansio", "--workers 2"):
        assert words in of_unit
        assert words in of_compose
    assert "--serializer json" in COMPOSE["services"]["worker"]["command"]


def test_the_compose_file_sets_only_variables_the_site_reads() -> None:
    assert set(COMPOSE["services"]) == {*OWN, "proxy", "postgres", "valkey"}
    for name in OWN:
        assert set(COMPOSE["services"][name]["environment"]) <= EXAMPLE
    text = (guide.REPOSITORY / "deploy" / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{([A-Z_]+)", text)) == OF_COMPOSE
    volumes = {word.split(":")[0] for one in COMPOSE["services"].values() for word in one.get("volumes", [])}
    assert {word for word in volumes if not word.startswith(".")} == set(COMPOSE["volumes"])


def test_caddy_takes_its_file() -> None:
    if shutil.which("caddy") is None:
        pytest.skip("no caddy")
    told = subprocess.run(
        ["caddy", "validate", "--config", str(guide.REPOSITORY / "deploy" / "Caddyfile")],
        env={"SITE_HOST": "studio.example.org", "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr


def test_the_guide_sets_only_variables_that_are_read() -> None:
    assert set(guide.settings("site")) <= EXAMPLE
    assert set(guide.settings("gpu")) <= EXAMPLE
    tabled = re.findall(r"`((?:MODELS|HF|CIVITAI)_[A-Z_]+)", guide.TEXT)
    assert set(tabled) <= EXAMPLE


@pytest.mark.parametrize("command", [line for line in guide.commands() if ".venv/bin/python " in line])
def test_every_python_command_of_the_guide_takes_its_options(command: str) -> None:
    first = next(part.strip() for part in command.split("&&") if ".venv/bin/python " in part)
    parsed(first.replace("python3 -m venv /opt/gpu-agent/.venv", ""))


@pytest.mark.parametrize("command", re.findall(r"`manage\.py ([^`]+)`", guide.TEXT))
def test_commands_named_in_the_text_exist(command: str) -> None:
    parsed(f".venv/bin/python manage.py {command}")


def test_the_guide_names_files_that_are_there() -> None:
    named = set(re.findall(r"(?<![\w/])(?:deploy|tests)/[\w./*@-]+", guide.TEXT))
    assert len(named) >= 5
    assert [one for one in sorted(named) if not list(guide.REPOSITORY.glob(one))] == []
