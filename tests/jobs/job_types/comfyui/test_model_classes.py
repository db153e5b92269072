"""The constants behind every estimate, checked against what others measured."""

import json
from pathlib import Path
from statistics import fmean

import pytest

from jobs.job_types.comfyui.model_classes import (
    CLASSES,
    EFFECTIVE_FLOPS,
    bytes_per_weight,
    class_of,
    evaluations,
)
from tests.benchmarks import demand_accuracy


def test_public_timings_are_met_within_twelve_percent_on_average() -> None:
    assert fmean(demand_accuracy.errors()) <= 0.12
    assert len(demand_accuracy.errors_left_out()) == 10
    assert fmean(demand_accuracy.errors_left_out()) <= 0.18


@pytest.mark.parametrize(
    ("model", "size", "linear_tflop"),
    [
        ("flux1", (1024, 1024, 1), 59.5),
        ("wan_14b", (832, 480, 81), 786.0),
        ("ltxv_13b", (704, 512, 161), 167.6),
    ],
)
def test_counted_operations_are_reproduced(
    model: str, size: tuple[int, int, int], linear_tflop: float
) -> None:
    kind = CLASSES[model]
    tokens = kind.cells(*size) / kind.patch**2 + kind.text_tokens
    assert 2 * kind.token_weights * tokens / 1e12 == pytest.approx(linear_tflop, rel=0.01)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sub/flux-2-klein-4b-fp8.safetensors", "flux2_klein_4b"),
        ("flux2_dev_fp8mixed.safetensors", "flux2_dev"),
        ("FLUX1-schnell.safetensors", "flux1"),
        ("ltx-2-19b-dev-fp8.safetensors", "ltx2_19b"),
        ("ltxv-13b-0.9.7.safetensors", "ltxv_13b"),
        ("wan2.2_ti2v_5B_fp16.safetensors", "wan22_5b"),
        ("wan2.1_t2v_1.3B.safetensors", "wan21_1b"),
        ("juggernautXL.safetensors", "sdxl"),
        ("flux\\v1-5-pruned.ckpt", "sd15"),
        ("acestep_v1.5_xl_base_bf16.safetensors", "audio"),
        ("hunyuanvideo1.5_720p_t2v_fp16.safetensors", "hunyuan_video15"),
        ("kandinsky5lite_t2v_sft_5s.safetensors", "kandinsky5_lite"),
        ("seedvr2_3b_int8_convrot.safetensors", "seedvr2_3b"),
        ("pid_flux1_1024_to_4096_4step_bf16.safetensors", "pixeldit"),
        ("a-model-nobody-knows.safetensors", ""),
    ],
)
def test_a_file_name_tells_its_model_class(name: str, found: str) -> None:
    assert class_of(name) == found


def test_names_tell_how_weights_are_stored_and_samplers_how_often_they_evaluate() -> None:
    assert [bytes_per_weight(n) for n in ("a_fp8_scaled.st", "a.st", "a-fp4.st")] == [1.0, 2.0, 0.56]
    assert bytes_per_weight("a.st", "fp8_e4m3fn") == 1.0
    assert [evaluations(n) for n in ("euler", "heun", "dpm_2_ancestral", "seeds_3", "")] == [1, 2, 2, 3, 1]


@pytest.mark.recordings
def test_our_constants_are_those_of_the_fact_sheet(recordings: Path) -> None:
    sheet = json.loads((recordings / "pricing/constants.json").read_bytes())
    assert set(sheet["models"]) == {name for name, each in CLASSES.items() if not each.rough}
    for name, told in sheet["models"].items():
        ours = CLASSES[name]
        mine = (ours.token_weights, ours.width, ours.layers, ours.cell, ours.patch, ours.frames_per_cell)
        assert mine == tuple(told[key] for key in ("p_tok", "d", "layers", "down", "patch", "tdown")), name
        rest = (ours.text_tokens, ours.weights, ours.text_encoder_gb, ours.memory_factor, ours.unet_flops)
        assert rest == tuple(told[k] for k in ("txt", "params", "te_gb", "mem_factor", "fixed_flops")), name
        assert (ours.launch_seconds, ours.vae_mflop, ours.video) == (
            told["overhead"],
            told["vae_mflop"],
            told["video"],
        ), name
    assert {name: told["effective_flops"] for name, told in sheet["gpus"].items()} == EFFECTIVE_FLOPS


@pytest.mark.recordings
def test_the_benchmarks_timings_are_those_published(recordings: Path) -> None:
    published = json.loads((recordings / "pricing/public_timings.json").read_bytes())["timings"]
    keys = ("gpu", "model", "width", "height", "frames", "passes", "seconds")
    theirs = [tuple(each[key] for key in keys) for each in published]
    assert [tuple(getattr(each, key) for key in keys) for each in demand_accuracy.TIMINGS] == theirs
