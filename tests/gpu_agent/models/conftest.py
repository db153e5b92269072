"""A host's folders and files of a manifest, small ones."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpu_agent.models import settings as configuration
from gpu_agent.models import sources
from gpu_agent.models.pull import Puller
from gpu_agent.models.settings import Settings
from gpu_agent.protocol.manifest import ManifestFile, ModelProgress
from tests.fakes.file_server import FileServer, serving

BODY = random.Random(7).randbytes(3_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
NAME = "film.pt"


def a_file(*sources: str, **changed: Any) -> ManifestFile:
    """`loras/film.pt` with BODY's size and hash."""
    given = {"folder": "loras", "name": NAME, "size_bytes": len(BODY), "sha256": SHA256, **changed}
    return ManifestFile(sources=sources, **given)


class Host:
    """A models folder beside a network drive, and what the last pull told."""

    def __init__(self, root: Path, http: httpx.Client) -> None:
        self.models, self.share = root / "models", root / "share"
        self.models.mkdir()
        self.share.mkdir()
        self.http = http
        self.steps: list[ModelProgress] = []

    @property
    def target(self) -> Path:
        return self.models / "loras" / NAME

    def settings(self, **variables: str) -> Settings:
        known = {"MODELS_DIR": str(self.models), "DISK_FLOOR_MB": "0", "MODELS_PLAIN_HTTP": "1"}
        return configuration.load({**known, **variables}, {})

    def put(self, root: Path, body: bytes = BODY) -> Path:
        path = root / "loras" / NAME
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)
        return path

    def pull(
        self, *files: ManifestFile, options: dict[str, Any] | None = None, **variables: str
    ) -> ModelProgress:
        """Pull; the last step told."""
        settings = self.settings(**variables)
        given = {"first_pause_seconds": 0.0, **(options or {})}
        Puller(settings, self.http, self.steps.append, **given).pull(files)
        return self.steps[-1]


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    """One for all tests: reading the certificates takes longer than most of them."""
    with sources.client() as http:
        yield http


@pytest.fixture
def host(tmp_path: Path, http: httpx.Client) -> Host:
    return Host(tmp_path.resolve(), http)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(files={f"/loras/{NAME}": BODY}) as server:
        yield server


@pytest.fixture
def other() -> Iterator[FileServer]:
    with serving(files={f"/loras/{NAME}": BODY}) as server:
        yield server
