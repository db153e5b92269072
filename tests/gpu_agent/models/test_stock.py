"""Where files belong, and what is said of those that lie there."""

import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_agent.models import stock
from gpu_agent.protocol.manifest import ManifestFile, ModelState, path_fault
from tests.gpu_agent.models.conftest import BODY, SHA256, Host, a_file


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("..", "a.pt"),
        ("loras", "../../a.pt"),
        ("loras", "/etc/a.pt"),
        ("/", "a.pt"),
        ("loras", "a\0.pt"),
        ("loras", "..\\a.pt"),
        ("loras", "C:a.pt"),
        ("loras", ".a.pt"),
        ("loras", "a.pt "),
        ("loras", "a\u202e.pt"),
        ("loras", "x//a.pt"),
        ("loras", "a.py"),
        ("loras", "a.pt.part"),
        ("", "a.pt"),
        ("loras", ""),
        ("loras", "x" * 200 + ".pt"),
        ("a/b/c/d", "e/f/g.pt"),
    ],
)
def test_no_name_leads_out_of_the_folder(host: Host, folder: str, name: str) -> None:
    assert path_fault(folder, name)
    with pytest.raises(stock.BadPlace):
        stock.place(host.models, ManifestFile(folder, name))


@given(folder=st.text(max_size=30), name=st.text(max_size=40))
def test_whatever_a_manifest_names_lies_in_the_folder_or_is_refused(folder: str, name: str) -> None:
    root = Path("/nowhere/models")
    try:
        path = stock.place(root, ManifestFile(folder, f"{name}.pt"))
    except stock.BadPlace:
        return
    assert root in path.parents
    assert ".." not in path.parts


def test_a_link_out_of_the_folder_is_no_place(host: Host) -> None:
    (host.models / "loras").symlink_to(host.share)
    with pytest.raises(stock.BadPlace, match="leads out"):
        stock.place(host.models, a_file())
    (host.models / "vae").mkdir()
    (host.models / "checkpoints").symlink_to(host.models / "vae")
    assert stock.place(host.models, ManifestFile("checkpoints", "a.pt")) == host.models / "vae" / "a.pt"


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (BODY, ModelState.PRESENT),
        (BODY[:-1], ModelState.TRUNCATED),
        (BODY + b"x", ModelState.WRONG),
        (BODY[:99] + bytes([BODY[99] ^ 1]) + BODY[100:], ModelState.WRONG),
        (b"", ModelState.TRUNCATED),
    ],
)
def test_truncated_and_wrong_files_are_named(host: Host, body: bytes, state: ModelState) -> None:
    host.put(host.models, body)
    now = stock.look(host.models, a_file(), stock.HashCache(host.models), prove=True)
    assert (now.state, now.received_bytes) == (state, len(body))
    assert bool(now.message) == (state != ModelState.PRESENT)


def test_without_a_hash_or_without_reading_nothing_is_proven(host: Host) -> None:
    host.put(host.models)
    cache = stock.HashCache(host.models)
    quick = stock.look(host.models, a_file(), cache, prove=False)
    blind = stock.look(host.models, replace(a_file(), sha256=""), cache, prove=True)
    assert (quick.state, quick.sha256) == (ModelState.UNPROVEN, "")
    assert (blind.state, blind.sha256) == (ModelState.UNPROVEN, SHA256)
    assert stock.look(host.models, a_file(name="b.pt"), cache, prove=True).state == ModelState.MISSING


def test_what_was_hashed_is_hashed_again_only_when_it_changed(host: Host) -> None:
    path = host.put(host.models)
    seen: list[int] = []
    assert stock.HashCache(host.models).digest(path, seen.append) == SHA256
    assert sum(seen) == len(BODY)
    assert stock.HashCache(host.models).digest(path, seen.append) == SHA256
    assert sum(seen) == len(BODY)
    path.write_bytes(BODY[::-1])
    os.utime(path, ns=(1, 1))
    assert stock.HashCache(host.models).digest(path, seen.append) != SHA256


def test_a_broken_cache_is_begun_anew(host: Host) -> None:
    path = host.put(host.models)
    (host.models / stock.CACHE_NAME).write_text('{"loras/film.pt": "nonsense"')
    assert stock.HashCache(host.models).get(path) == ""
    assert stock.HashCache(host.models).digest(path) == SHA256


def test_a_safetensors_header_tells_a_truncated_file_whose_size_nobody_named(host: Host) -> None:
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "F16", "shape": [8], "data_offsets": [0, 16]}})
    whole = struct.pack("<Q", len(header)) + header.encode() + bytes(16)
    file = ManifestFile("loras", "film.safetensors")
    path = host.put(host.models).with_name(file.name)
    for body, state in ((whole, ModelState.UNPROVEN), (whole[:-3], ModelState.TRUNCATED),
                        (whole[:20], ModelState.TRUNCATED), (whole + b"x", ModelState.WRONG),
                        (b"not safetensors", ModelState.UNPROVEN)):  # fmt: skip
        path.write_bytes(body)
        now = stock.look(host.models, file, stock.HashCache(host.models), prove=True)
        assert now.state == state, body
