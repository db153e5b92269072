"""`python -m gpu_agent models`: what it prints, tells the site and exits with."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gpu_agent import __main__ as program
from gpu_agent.models import cli
from gpu_agent.models import settings as configuration
from gpu_agent.protocol.manifest import Manifest, ManifestProgress, ModelState
from gpu_agent.protocol.messages import PROTOCOL_VERSION
from tests.fakes.file_server import FileServer
from tests.fakes.site import TOKEN, FakeSite
from tests.gpu_agent.models.conftest import BODY, NAME, SHA256, Host, a_file

OURS = ("MODELS_", "HF_TOKEN", "SITE_URL", "AGENT_TOKEN", "COMFYUI_DIR")


@pytest.fixture(autouse=True)
def _an_environment_of_the_hosts_owner(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    for name in os.environ:
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MODELS_DIR", str(host.models))
    monkeypatch.setenv("MODELS_PLAIN_HTTP", "1")
    monkeypatch.setenv("DISK_FLOOR_MB", "0")


@pytest.fixture
def joined(site: FakeSite, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    """A site whose manifest names one file at `server`."""
    monkeypatch.setenv("SITE_URL", site.url)
    monkeypatch.setenv("AGENT_TOKEN", TOKEN)
    site.manifest = (a_file(f"{server.url}/loras/{NAME}"),)
    return site


def test_list_check_and_pull_tell_what_is_there(
    joined: FakeSite, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["models", "list"]) == cli.INCOMPLETE
    assert capsys.readouterr().out == f"missing      0.00 GB  loras/{NAME}\n"
    assert joined.model_progress == []
    assert program.main(["models", "pull"]) == 0
    assert host.target.read_bytes() == BODY
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "missing", "pulling", "present",
    ]  # fmt: skip
    assert (joined.model_progress[-1].ended, joined.model_progress[-1].files[0].sha256) == (True, SHA256)
    host.target.write_bytes(BODY[:77])
    assert program.main(["models", "check"]) == cli.INCOMPLETE
    assert "truncated" in capsys.readouterr().out
    assert joined.model_progress[-1].files[0].state == ModelState.TRUNCATED


def test_a_flipped_byte_of_the_same_size_and_time_is_found_by_a_fresh_check(
    joined: FakeSite, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["pull"]) == 0
    at = host.target.stat()
    host.target.write_bytes(BODY[:-1] + bytes([BODY[-1] ^ 1]))
    os.utime(host.target, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert cli.main(["check"]) == 0
    assert cli.main(["check", "--fresh"]) == cli.INCOMPLETE
    assert "wrong" in capsys.readouterr().out


def test_the_site_may_be_away_or_say_no(joined: FakeSite, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--token", "other"]) == cli.REFUSED
    joined.away = True
    assert cli.main(["list"]) == cli.AWAY
    assert cli.main(["list", "--site", "http://127.0.0.1:1"]) == cli.AWAY
    assert "cannot be reached" in capsys.readouterr().err


def test_a_manifest_in_a_file_needs_no_site(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host.put(host.share)
    kept = tmp_path / "manifest.json"
    kept.write_text(Manifest(PROTOCOL_VERSION, (a_file(), replace(a_file(), name="other.pt"))).to_json())
    words = ["pull", "--manifest", str(kept), "--share", str(host.share), "--limit-mbit", "9999", "--json"]
    assert cli.main([*words, "--only", "film*"]) == 0
    told = ManifestProgress.from_json(capsys.readouterr().out)
    assert [(one.name, one.state) for one in told.files] == [(NAME, ModelState.PRESENT)]
    assert cli.main(words) == cli.INCOMPLETE
    assert "other.pt" in capsys.readouterr().out
    kept.write_text("{}")
    assert cli.main(words) == cli.MISCONFIGURED


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"MODELS_DIR": "/nowhere"}, "MODELS_DIR"),
        ({"MODELS_DIR": ""}, "MODELS_DIR"),
        ({"MODELS_SHARE_DIR": "/nowhere"}, "MODELS_SHARE_DIR"),
        ({"MODELS_LIMIT_MBIT": "fast"}, "MODELS_LIMIT_MBIT"),
        ({"MODELS_STORE_URL": "s3://bucket?secret=1"}, "MODELS_STORE_URL"),
        ({"MODELS_STORE_KEY_ID": "key"}, "MODELS_STORE_SECRET"),
        ({"MODELS_SOURCE_TOKENS": "nonsense"}, "MODELS_SOURCE_TOKENS"),
        ({"SITE_URL": ""}, "SITE_URL"),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    named: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["list"]) == cli.MISCONFIGURED
    said = capsys.readouterr().err
    assert named in said
    assert "secret=1" not in said


def test_secrets_are_in_no_repr(host: Host) -> None:
    kept = host.settings(
        AGENT_TOKEN="s3cret-a", HF_TOKEN="s3cret-b", MODELS_STORE_KEY_ID="id", MODELS_STORE_SECRET="s3cret-c"
    )
    assert "s3cret" not in repr(kept)
    assert kept.tokens == {"huggingface.co": "s3cret-b"}
    assert configuration.load({"MODELS_DIR": str(host.models)}, {}).bytes_per_second is None


def test_a_second_pull_is_told_of_the_first_and_a_stopped_one_goes_on(
    joined: FakeSite, host: Host, server: FileServer
) -> None:
    slow = [sys.executable, "-m", "gpu_agent", "models", "pull", "--limit-mbit", "4"]
    with subprocess.Popen(slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        while "pulling" not in first.stdout.readline():
            pass
        assert cli.main(["pull"]) == cli.BUSY
        first.terminate()
        assert first.wait() == cli.STOPPED
    assert not host.target.exists()
    assert cli.main(["pull"]) == 0
    assert server.asked[-1][1]["range"].startswith("bytes=")
    assert joined.model_progress[-1].files[0].state == ModelState.PRESENT


def test_neither_django_nor_the_agents_heavy_parts_are_needed() -> None:
    code = (
        "import sys, gpu_agent.models.cli; print([m for m in ('django', 'rq', 'redis') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout.replace("'", '"')) == []
