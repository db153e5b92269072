"""A whole manifest from each kind of source, broken off twice, resumed and proven; then a byte flips.

Eight megabytes as a test, a gigabyte with SOAK (make soak). The store is moto's where that is installed.
"""

import contextlib
import hashlib
import importlib.util
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_agent.models import settings as configuration
from gpu_agent.models import sources, stock
from gpu_agent.models.pull import Puller, Stopped
from gpu_agent.models.signing import Credentials
from gpu_agent.protocol.manifest import ManifestFile, ModelProgress, ModelState
from tests.fakes.file_server import serving

FILES = 4
MIB = 1024**2
FILE_BYTES = (256 if os.environ.get("SOAK") else 2) * MIB
KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI")


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    def noise(seed: int) -> bytes:
        dice = random.Random(seed)
        return b"".join(dice.randbytes(MIB) for _ in range(FILE_BYTES // MIB))

    return {f"/loras/{number}.pt": noise(number) for number in range(FILES)}


@contextlib.contextmanager
def a_share(bodies: dict[str, bytes], folder: Path) -> Iterator[dict[str, str]]:
    (folder / "loras").mkdir(parents=True)
    for path, body in bodies.items():
        (folder / path[1:]).write_bytes(body)
    yield {"MODELS_SHARE_DIR": str(folder)}


@contextlib.contextmanager
def a_store(bodies: dict[str, bytes], folder: Path) -> Iterator[dict[str, str]]:
    keys = {"MODELS_STORE_KEY_ID": KEYS.key_id, "MODELS_STORE_SECRET": KEYS.secret}
    if importlib.util.find_spec("moto") is None:
        with serving(files={f"/models{path}": body for path, body in bodies.items()}, keys=KEYS) as server:
            yield {"MODELS_STORE_URL": f"{server.url}/models", **keys}
        return
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        url = f"http://{host}:{port}"
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1",
            aws_access_key_id=KEYS.key_id, aws_secret_access_key=KEYS.secret,
        )  # fmt: skip
        client.create_bucket(Bucket="models")
        for path, body in bodies.items():
            client.put_object(Bucket="models", Key=path[1:], Body=body)
        yield {"MODELS_STORE_URL": f"{url}/models", **keys}
    finally:
        server.stop()


@contextlib.contextmanager
def a_web(bodies: dict[str, bytes], folder: Path) -> Iterator[dict[str, str]]:
    with serving(files=bodies) as server:
        yield {"source": server.url}


@pytest.mark.parametrize("kind", [a_share, a_store, a_web])
def test_a_manifest_arrives_whole_although_broken_off_twice(
    kind: Callable[..., contextlib.AbstractContextManager[dict[str, str]]],
    bodies: dict[str, bytes],
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    with kind(bodies, tmp_path / "share") as variables, sources.client() as http:
        source = variables.pop("source", "")
        files = tuple(_file(path, body, source) for path, body in bodies.items())
        settings = configuration.load(
            {"MODELS_DIR": str(models), "DISK_FLOOR_MB": "0", "MODELS_PLAIN_HTTP": "1", **variables}, {}
        )
        for number in (0, 2):  # in the middle of the first and of the third file
            stop = threading.Event()
            with pytest.raises(Stopped):
                Puller(settings, http, _stopping(stop, f"{number}.pt"), stop=stop).pull(files)
            assert (models / "loras" / f"{number}.pt.part").stat().st_size >= FILE_BYTES // 2
            assert not (models / "loras" / f"{number}.pt").exists()
        Puller(settings, http, lambda _step: None).pull(files)
    assert _states(models, files) == [ModelState.PRESENT] * FILES
    assert list(models.rglob("*.part*")) == []
    _flip(models / "loras" / "1.pt")
    assert _states(models, files)[1] == ModelState.WRONG


def _file(path: str, body: bytes, source: str) -> ManifestFile:
    digest = hashlib.sha256(body).hexdigest()
    name = path.rpartition("/")[2]
    return ManifestFile("loras", name, (f"{source}{path}",) if source else (), len(body), digest)


def _stopping(stop: threading.Event, name: str) -> Callable[[ModelProgress], None]:
    def told(step: ModelProgress) -> None:
        if step.name == name and step.state == ModelState.PULLING and step.received_bytes >= FILE_BYTES // 2:
            stop.set()

    return told


def _states(models: Path, files: tuple[ManifestFile, ...]) -> list[ModelState]:
    cache = stock.HashCache(models)
    return [stock.look(models, file, cache, prove=True).state for file in files]


def _flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(FILE_BYTES // 3)
        byte = file.read(1)[0]
        file.seek(FILE_BYTES // 3)
        file.write(bytes([byte ^ 1]))
