"""The simulator's parts by themselves."""

import struct
from array import array
from pathlib import Path

import pytest
from PIL import Image

from gpu_agent.simulator import audio, video
from gpu_agent.simulator.definitions import own_definitions
from gpu_agent.simulator.files import Folders, OutsideFolder
from gpu_agent.simulator.memory import CONTEXT_BYTES, Memory
from gpu_agent.simulator.ordering import Ordering
from gpu_agent.simulator.painting import noise_for, paint, sharpened
from gpu_agent.simulator.timing import family_of, step_seconds
from gpu_agent.simulator.validation import Rules, Unexpected, validate
from tests.gpu_agent.simulator.talk import node, picture, sampling

RULES = Rules(own_definitions(), any_model=False, file_exists=lambda name: name == "here.png")


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        ({"width": "wide"}, "invalid_input_type"),
        ({"width": 0}, "value_smaller_than_min"),
        ({"width": 10**9}, "value_bigger_than_max"),
    ],
)
def test_a_bad_value_is_refused_by_its_kind(inputs: dict[str, object], kind: str) -> None:
    graph = picture()
    graph["1"]["inputs"] |= inputs
    verdict = validate(graph, None, RULES)
    assert verdict.error is not None
    (error,) = verdict.node_errors["1"]["errors"]
    assert (error["type"], error["extra_info"]["input_name"]) == (kind, "width")
    assert verdict.node_errors["1"]["dependent_outputs"] == ["2"]


def test_an_absent_model_is_refused_unless_any_may_be_named() -> None:
    graph = sampling()
    graph["4"]["inputs"]["ckpt_name"] = "absent.safetensors"
    refused = validate(graph, None, RULES)
    assert refused.node_errors["4"]["errors"][0]["type"] == "value_not_in_list"
    generous = Rules(own_definitions(), any_model=True, file_exists=lambda name: False)
    assert validate(graph, None, generous).error is None


def test_an_absent_upload_is_refused_in_the_nodes_own_words() -> None:
    graph = {"1": node("LoadImage", image="gone.png"), "2": node("PreviewImage", images=["1", 0])}
    (error,) = validate(graph, None, RULES).node_errors["1"]["errors"]
    assert error["details"] == "image - Invalid image file: gone.png"
    graph["1"]["inputs"]["image"] = "here.png"
    assert validate(graph, None, RULES).outputs == ["2"]


def test_a_cycle_names_its_members() -> None:
    graph = {
        "1": node("ImageInvert", image=["2", 0]),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("PreviewImage", images=["1", 0]),
    }
    errors = validate(graph, None, RULES).node_errors
    assert errors["2"]["errors"][0]["details"] == "1 (ImageInvert) -> 2 (ImageInvert) -> 1 (ImageInvert)"


def test_a_good_output_runs_beside_a_bad_one() -> None:
    graph = picture() | {"3": node("SaveImage", images=["77", 0], filename_prefix="x")}
    verdict = validate(graph, None, RULES)
    assert (verdict.error, verdict.outputs, list(verdict.node_errors)) == (None, ["2"], ["3"])


@pytest.mark.parametrize("prompt", [[], "x", {"1": "x"}, {"version": 0.4}])
def test_a_shape_comfyui_does_not_expect_is_no_verdict(prompt: object) -> None:
    with pytest.raises(Unexpected):
        validate(prompt, None, RULES)


def test_nodes_that_show_a_result_run_first() -> None:
    links = {"a": [], "b": ["a"], "shown": ["a"], "end": ["b"]}
    ordering = Ordering(
        lambda one: [(source, "x", False) for source in links[one]],
        lambda one: one in ("shown", "end"),
        lambda one: False,
    )
    for output in ("end", "shown"):
        ordering.add(output)
    ran = []
    while (picked := ordering.pick()) is not None:
        ran.append(picked)
        ordering.done(picked)
    assert ran == ["a", "shown", "b", "end"]


def test_models_make_room_for_each_other_the_oldest_first() -> None:
    memory = Memory(10_000_000_000, 64_000_000_000)
    for file in ("one", "two", "three"):
        assert memory.place(file, 4_000_000_000) == 4_000_000_000
    assert memory.resident() == ["two", "three"]
    assert memory.place("three", 4_000_000_000) == 0
    held, _ = memory.reserved_bytes()
    assert memory.free_bytes() == 10_000_000_000 - CONTEXT_BYTES - held
    memory.unload()
    assert memory.reserved_bytes() == (0, 0)


@pytest.mark.parametrize(
    ("file", "size", "frames", "steps", "passes", "seconds"),
    [
        ("sd_xl_base_1.0.safetensors", (1024, 1024), 1, 30, 2, 3.5),
        ("v1-5-pruned-emaonly.safetensors", (512, 512), 1, 20, 2, 1.5),
        ("flux1-dev.safetensors", (1024, 1024), 1, 20, 1, 5.6),
        ("ltx-2-19b-dev-fp8.safetensors", (1280, 720), 121, 40, 2, 24.0),
    ],
)
def test_reference_times_are_met_within_a_fifth(
    file: str, size: tuple[int, int], frames: int, steps: int, passes: int, seconds: float
) -> None:
    taken = steps * step_seconds(family_of(file), *size, frames, 1, passes)
    assert taken == pytest.approx(seconds, rel=0.2)


def test_pictures_follow_words_seed_and_size_alone() -> None:
    first = paint("a red fox in a forest", 4, 96, 64)
    assert first.size == (96, 64)
    assert first.tobytes() == paint("a red fox in a forest", 4, 96, 64).tobytes()
    assert first.tobytes() != paint("a city at night", 4, 96, 64).tobytes()


def test_a_preview_gets_nearer_to_the_picture_with_each_step() -> None:
    picture_, noise = paint("sea", 1, 64, 64), noise_for((64, 64), 1)

    def distance(done: float) -> int:
        other = sharpened(picture_, noise, done).tobytes()
        return sum(abs(one - two) for one, two in zip(picture_.tobytes(), other, strict=True))

    assert distance(0.1) > distance(0.5) > distance(0.9) > distance(1.0) == 0


def test_names_that_leave_their_folder_are_refused(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    for name in ("../x.png", "/etc/passwd", "a/../../x.png"):
        with pytest.raises(OutsideFolder):
            folders.inside("output", name)
    assert not folders.has_upload("../../etc/passwd")


def test_an_upload_with_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    names = [
        folders.store_upload("input", "job", "a.png", body, overwrite=overwrite)
        for body, overwrite in ((b"1", False), (b"1", False), (b"2", False), (b"3", True))
    ]
    assert names == ["a.png", "a.png", "a (1).png", "a.png"]
    assert (tmp_path / "input" / "job" / "a.png").read_bytes() == b"3"


def test_temp_is_emptied_at_the_start_and_outputs_stay(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    for kind in ("temp", "output"):
        (folders.of(kind) / "x.png").write_bytes(b"x")
    assert (Folders(tmp_path).listing("temp"), folders.listing("output")) == ([], ["x.png"])


def test_an_mp4_holds_one_sample_a_shot_at_the_place_it_names() -> None:
    body = video.mp4([(Image.new("RGB", (32, 18), (200, 40, 90)), 250)] * 3)
    sizes = body.index(b"stsz") + 12
    (count,) = struct.unpack(">I", body[sizes : sizes + 4])
    (offset,) = struct.unpack(">I", body[body.index(b"stco") + 12 :][:4])
    (length,) = struct.unpack(">I", body[sizes + 4 : sizes + 8])
    assert count == 3
    assert body[offset - 4 : offset] == b"mdat"
    assert struct.unpack(">I", body[offset : offset + 4]) == (length - 4,)


def test_a_webm_names_vp8_and_its_size() -> None:
    body = video.webm([(Image.new("RGB", (32, 18), (1, 2, 3)), 100)])
    assert body[:4] == b"\x1a\x45\xdf\xa3"
    assert b"V_VP8" in body
    assert b"\xb0" + bytes([1, 0, 0, 0, 0, 0, 0, 1, 32]) in body


def test_a_flac_counts_its_samples() -> None:
    body = audio.flac(array("h", [1, -2, 3]), 16000, 2, silent_samples=5000)
    assert body[:4] == b"fLaC"
    packed = int.from_bytes(body[18:26], "big")
    assert (packed >> 44, (packed >> 41 & 7) + 1, packed & (1 << 36) - 1) == (16000, 2, 5003)
