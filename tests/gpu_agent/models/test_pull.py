"""Pulling: in order of sources, resumed, verified, bounded; nothing half-done under a final name."""

import shutil
import threading
from pathlib import Path

import pytest

from gpu_agent.models import stock
from gpu_agent.models.pull import Busy, NoRoom, Stopped, alone
from gpu_agent.models.signing import Credentials
from gpu_agent.models.throttle import Throttle
from gpu_agent.protocol.manifest import ManifestFile, ModelProgress, ModelState
from tests.fakes.file_server import FileServer
from tests.gpu_agent.models.conftest import BODY, NAME, SHA256, Host, a_file

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI")
OF_THE_KEYS = {"MODELS_STORE_KEY_ID": KEYS.key_id, "MODELS_STORE_SECRET": KEYS.secret}


def from_server(server: FileServer, **changed: object) -> ManifestFile:
    return a_file(f"{server.url}/loras/{NAME}", **changed)


def leftovers(host: Host) -> list[Path]:
    return [path for path in host.models.rglob("*") if ".part" in path.name]


def test_the_drive_comes_first_then_the_store_then_the_source(host: Host, server: FileServer) -> None:
    host.put(host.share)
    file = from_server(server)
    assert host.pull(file, MODELS_SHARE_DIR=str(host.share)).state == ModelState.PRESENT
    assert server.asked == []
    host.target.unlink()
    (host.share / "loras" / NAME).unlink()
    server.files["/bucket/pre fix/loras/film.pt"] = BODY
    store = {"MODELS_STORE_URL": f"{server.url}/bucket/pre%20fix/"}
    host.pull(file, MODELS_SHARE_DIR=str(host.share), **store)
    assert [path for path, _headers in server.asked] == ["/bucket/pre%20fix/loras/film.pt"]
    host.target.unlink()
    del server.files["/bucket/pre fix/loras/film.pt"]
    assert host.pull(file, **store).sha256 == SHA256
    assert server.asked[-1][0] == f"/loras/{NAME}"


def test_a_file_that_is_there_is_left_alone(host: Host, server: FileServer) -> None:
    host.put(host.models)
    assert host.pull(from_server(server)).state == ModelState.PRESENT
    assert server.asked == []


def test_a_transfer_broken_off_goes_on_where_it_was(host: Host, server: FileServer) -> None:
    server.break_after[:] = [1_000_000, 1_000_000]
    assert host.pull(from_server(server)).state == ModelState.PRESENT
    assert host.target.read_bytes() == BODY
    starts = [headers.get("range") for _path, headers in server.asked]
    assert starts[0] is None
    assert [int(str(one)[6:-1]) > 0 for one in starts[1:]] == [True, True]
    assert leftovers(host) == []


def test_what_arrived_before_a_stop_is_used_by_the_next_pull(host: Host, server: FileServer) -> None:
    stop = threading.Event()

    def told(step: ModelProgress) -> None:
        if step.received_bytes > 500_000:
            stop.set()

    host.steps = type("Steps", (list,), {"append": lambda _self, step: told(step)})()
    with pytest.raises(Stopped):
        host.pull(from_server(server), options={"stop": stop})
    assert not host.target.exists()
    half = stock.look(host.models, a_file(), stock.HashCache(host.models), prove=False)
    assert (half.state, half.received_bytes > 500_000) == (ModelState.PARTIAL, True)
    host.steps = []
    assert host.pull(from_server(server)).state == ModelState.PRESENT
    assert server.asked[-1][1]["range"] == f"bytes={half.received_bytes}-"


def test_the_store_goes_on_with_what_the_drive_began(host: Host, server: FileServer) -> None:
    host.put(host.models).rename(host.models / "loras" / f"{NAME}.part")
    part = host.models / "loras" / f"{NAME}.part"
    part.write_bytes(BODY[:2_000_000])
    part.with_name(f"{NAME}.part.json").write_text(
        f'{{"sha256": "{SHA256}", "source": "x", "validator": ""}}'
    )
    assert host.pull(a_file(), MODELS_STORE_URL=server.url).state == ModelState.PRESENT
    assert server.asked[-1][1]["range"] == "bytes=2000000-"


def test_a_part_of_other_bytes_is_found_and_fetched_anew(host: Host, server: FileServer) -> None:
    part = host.put(host.models).rename(host.models / "loras" / f"{NAME}.part")
    part.write_bytes(bytes(1_000_000))
    part.with_name(f"{NAME}.part.json").write_text(
        f'{{"sha256": "{SHA256}", "source": "x", "validator": ""}}'
    )
    assert host.pull(from_server(server)).state == ModelState.PRESENT
    assert ["range" in headers for _path, headers in server.asked] == [True, False]
    assert host.target.read_bytes() == BODY


def test_without_a_hash_a_changed_source_is_not_mixed_with_the_old(host: Host, server: FileServer) -> None:
    file = from_server(server, sha256="", size_bytes=None)
    server.break_after[:] = [1_200_000]
    server.statuses[:] = []
    swapped = bytes(reversed(BODY))

    class Swapping(list):  # type: ignore[type-arg]
        def append(self, step: ModelProgress) -> None:
            super().append(step)
            if step.received_bytes > 1_100_000:
                server.files[f"/loras/{NAME}"] = swapped

    host.steps = Swapping()
    last = host.pull(file)
    assert last.state == ModelState.UNPROVEN
    assert host.target.read_bytes() == swapped
    assert "if-range" in server.asked[1][1]


def test_a_source_without_ranges_begins_anew(host: Host, server: FileServer) -> None:
    server.ranges = False
    server.break_after[:] = [1_500_000]
    assert host.pull(from_server(server)).state == ModelState.PRESENT
    assert host.target.read_bytes() == BODY


@pytest.mark.parametrize("body", [BODY[:-1] + b"!", BODY[:1000], BODY + b"more"])
def test_wrong_bytes_never_get_the_final_name_and_the_next_source_is_asked(
    host: Host, server: FileServer, other: FileServer, body: bytes
) -> None:
    server.files[f"/loras/{NAME}"] = body
    alone_told = host.pull(from_server(server))
    assert alone_told.state == ModelState.FAILED
    assert ("other bytes" in alone_told.message) or ("bytes, not the manifest's" in alone_told.message)
    assert not host.target.exists()
    assert leftovers(host) == []
    both = a_file(f"{server.url}/loras/{NAME}", f"{other.url}/loras/{NAME}")
    assert host.pull(both).state == ModelState.PRESENT


def test_a_wrong_file_stays_until_replacing_is_asked_for(host: Host, server: FileServer) -> None:
    host.put(host.models, BODY[:1000])
    told = host.pull(from_server(server))
    assert (told.state, "--replace" in told.message) == (ModelState.TRUNCATED, True)
    assert host.target.read_bytes() == BODY[:1000]
    assert host.pull(from_server(server), options={"replace_wrong": True}).state == ModelState.PRESENT
    assert host.target.read_bytes() == BODY


def test_a_troubled_source_is_asked_again_and_given_up_after_five_tries(
    host: Host, server: FileServer
) -> None:
    server.statuses[:] = [503, 429, 500]
    assert host.pull(from_server(server)).state == ModelState.PRESENT
    host.target.unlink()
    server.statuses[:] = [503] * 9
    told = host.pull(from_server(server))
    assert (told.state, "it answers 503" in told.message) == (ModelState.FAILED, True)
    assert len(server.statuses) == 4


def test_a_gated_source_says_what_to_do_and_takes_a_token(host: Host, server: FileServer) -> None:
    server.token = "let-me-in"
    told = host.pull(from_server(server, gated=True))
    assert told.state == ModelState.GATED
    assert "accept the licence at 127.0.0.1" in told.message
    assert server.asked == []
    assert host.pull(from_server(server), MODELS_SOURCE_TOKENS="127.0.0.1=wrong").state == ModelState.GATED
    assert (
        host.pull(from_server(server), MODELS_SOURCE_TOKENS="127.0.0.1=let-me-in").state == ModelState.PRESENT
    )


def test_a_token_does_not_follow_a_redirect_to_another_place(
    host: Host, server: FileServer, other: FileServer
) -> None:
    server.redirect_to = other.url
    assert host.pull(from_server(server), MODELS_SOURCE_TOKENS="127.0.0.1=mine").state == ModelState.PRESENT
    assert server.asked[0][1]["authorization"] == "Bearer mine"
    assert "authorization" not in other.asked[0][1]
    other.redirect_to = server.url
    host.target.unlink()
    assert "redirects" in host.pull(from_server(server)).message


def test_a_store_with_keys_is_asked_with_a_signature(host: Host, server: FileServer) -> None:
    server.keys, server.files["/b/loras/film v1 (é).pt"] = KEYS, BODY
    file = a_file(name="film v1 (é).pt")
    where = {"MODELS_STORE_URL": f"{server.url}/b"}
    told = host.pull(file, **where)
    assert (told.state, "MODELS_STORE_KEY_ID" in told.message) == (ModelState.FAILED, True)
    server.break_after[:] = [1_500_000]
    assert host.pull(file, **where, **OF_THE_KEYS).state == ModelState.PRESENT
    assert "range" in server.asked[-1][1]["authorization"]


def test_plain_http_is_refused_unless_the_owner_allows_it(host: Host, server: FileServer) -> None:
    told = host.pull(from_server(server), MODELS_PLAIN_HTTP="0")
    assert (told.state, "only https" in told.message) == (ModelState.FAILED, True)
    assert server.asked == []


def test_a_web_page_is_no_model(host: Host, server: FileServer) -> None:
    server.content_type = "text/html; charset=utf-8"
    assert "web page" in host.pull(from_server(server, sha256="", size_bytes=None)).message
    assert not host.target.exists()


def test_nothing_is_fetched_when_the_disk_has_no_room(host: Host, server: FileServer) -> None:
    with pytest.raises(NoRoom, match="nothing was fetched"):
        host.pull(from_server(server, size_bytes=shutil.disk_usage(host.models).free + 1))
    assert server.asked == []


def test_below_the_floor_nothing_is_fetched_and_nothing_wanted_is_no_fault(
    host: Host, server: FileServer
) -> None:
    floor = {"DISK_FLOOR_MB": str(shutil.disk_usage(host.models).free // 1024**2 + 50_000)}
    with pytest.raises(NoRoom):
        host.pull(from_server(server, size_bytes=None), **floor)
    host.put(host.models)
    assert host.pull(from_server(server), **floor).state == ModelState.PRESENT


def test_a_hostile_name_is_told_and_the_rest_is_fetched(host: Host, server: FileServer) -> None:
    evil = ManifestFile("loras", "../../evil.pt", (f"{server.url}/loras/{NAME}",))
    host.pull(evil, from_server(server))
    states = {step.name: step.state for step in host.steps}
    assert states == {"../../evil.pt": ModelState.FAILED, NAME: ModelState.PRESENT}
    assert [path.name for path in host.models.parent.rglob("*evil*")] == []


def test_a_link_in_the_place_of_the_part_is_not_followed(host: Host, server: FileServer) -> None:
    victim = host.share / "victim"
    victim.write_text("precious")
    (host.models / "loras").mkdir()
    (host.models / "loras" / f"{NAME}.part").symlink_to(victim)
    assert host.pull(from_server(server)).state == ModelState.FAILED
    assert victim.read_text() == "precious"


def test_two_pulls_do_not_meet(host: Host) -> None:
    with alone(host.models), pytest.raises(Busy, match="pulls into"), alone(host.models):
        pass
    with alone(host.models):
        assert (host.models / ".models.lock").exists()


def test_the_bandwidth_is_bounded() -> None:
    now = [0.0]
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        now[0] += seconds

    throttle = Throttle(1_000_000, clock=lambda: now[0], wait=wait)
    for _chunk in range(100):
        throttle.take(100_000)
    assert 9.8 <= now[0] <= 10.1
    assert throttle.chunk_bytes == 125_000
