"""Which files a prompt made, and which names are not believed."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpu_agent.comfyui.outputs import OutputText, collect


def file(name: str, folder: str = "output", subfolder: str = "jobs/a1", **more: Any) -> dict[str, Any]:
    return {"filename": name, "subfolder": subfolder, "type": folder, **more}


def names(outputs: dict[str, Any], prefix: str = "jobs/a1") -> list[str]:
    return [one.filename for one in collect(outputs, prefix).files]


@pytest.mark.parametrize(
    ("name", "kind", "media_type"),
    [
        ("a.png", "image", "image/png"), ("a.webp", "image", "image/webp"), ("a.mp4", "video", "video/mp4"),
        ("a.webm", "video", "video/webm"), ("a.flac", "audio", "audio/flac"),
        ("a.mp3", "audio", "audio/mpeg"),
        ("a.txt", "text", "text/plain"), ("a.glb", "model", "model/gltf-binary"),
        ("a.latent", "file", "application/octet-stream"),
    ],
)  # fmt: skip
def test_kind_and_media_type_come_from_the_name(name: str, kind: str, media_type: str) -> None:
    (found,) = collect({"9": {"images": [file(name)], "animated": [True]}}, "jobs/a1").files
    assert (found.kind, found.media_type) == (kind, media_type)


@pytest.mark.parametrize("key", ["images", "audio", "video", "gifs", "files", "latents", "3d", "unheard_of"])
def test_files_under_any_key_count_and_unknown_fields_are_ignored(key: str) -> None:
    assert names({"9": {key: [file("a.png", id="x", metadata={}, preview_id=None)]}}) == ["a.png"]


def test_temporary_files_count_only_when_there_is_nothing_else() -> None:
    temporary = {"1": {"images": [file("t.png", "temp", "")]}}
    assert names(temporary) == ["t.png"]
    assert names({**temporary, "2": {"images": [file("o.png")]}}) == ["o.png"]


def test_shown_text_is_an_output_unless_its_node_wrote_it_to_a_file() -> None:
    shown = collect({"1": {"text": ["hello"]}}, "")
    assert shown.texts == (OutputText("1", "hello"),)
    written = collect({"1": {"text": ["hello"], "files": [file("t.txt")]}}, "jobs/a1")
    assert (len(written.files), written.texts) == (1, ())


def test_a_file_named_twice_is_fetched_once() -> None:
    assert names({"1": {"images": [file("a.png"), file("a.png")]}}) == ["a.png"]


@pytest.mark.parametrize(
    "hostile",
    [
        file("../x.png"), file("/etc/passwd"), file(".."), file(""), file("a\0.png"), file("a\n.png"),
        file("a\\b.png"), file("x" * 300), file("a.png", subfolder="jobs/a1/../../.."),
        file("a.png", subfolder="/etc"), file("a.png", "input"), file("a.png", subfolder="jobs/a2"),
        file("a.png", subfolder="jobs/a12"), {"filename": 7, "type": "output"}, {"filename": "a", "type": []},
    ],
)  # fmt: skip
def test_a_hostile_name_is_refused_and_the_rest_is_kept(hostile: dict[str, Any]) -> None:
    found = collect({"9": {"images": [hostile, file("good.png")]}}, "jobs/a1")
    assert [one.filename for one in found.files] == ["good.png"]
    assert len(found.refused) == 1


@pytest.mark.parametrize(
    "odd", [{"9": None}, {"9": {"images": None}}, {"9": {"images": [None, 3]}}, {"9": []}]
)
def test_odd_shapes_are_no_outputs(odd: dict[str, Any]) -> None:
    assert collect(odd, "") == collect({}, "")


@pytest.mark.recordings
@pytest.mark.parametrize("version", ["", "v0.3.64/"])
def test_every_recorded_form_of_output_is_collected(recordings: Path, version: str) -> None:
    forms = json.loads((recordings / f"comfyui/{version}outputs_summary.json").read_text())["forms"]
    for name, form in forms.items():
        if form.get("status_str") != "success" or not form["outputs"]:
            continue
        found = collect(form["outputs"], "")
        assert found.files or found.texts, name
        view = form.get("view", {})
        if view.get("status") == 200 and found.files:
            served = view["content_type"].split(";")[0]
            assert found.files[0].media_type in {served, "application/octet-stream"} or served.startswith(
                "application/octet"
            ), name
