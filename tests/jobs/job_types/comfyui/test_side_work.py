"""Work around the sampler, and sizes followed to where it is done."""

from typing import Any

import pytest

from jobs.job_types.base import Demand, DemandLine, UploadedFile
from tests.jobs.job_types.comfyui import graphs
from tests.jobs.job_types.comfyui.graphs import DEFINITIONS, text_to_image, with_node

COND, IMAGE, LATENT, VAE = ["CONDITIONING"], ["IMAGE"], ["LATENT"], ["VAE"]
INT = ["INT", {"default": 1}]


def _node(inputs: dict[str, Any], *outputs: str, **more: Any) -> dict[str, Any]:
    return {"input": {"required": inputs}, "output": list(outputs), "python_module": "nodes", **more}


MORE = DEFINITIONS | {
    "WanImageToVideo": _node(
        {"positive": COND, "negative": COND, "vae": VAE, "width": INT, "height": INT, "length": INT},
        *("CONDITIONING", "CONDITIONING", "LATENT"),
    ),
    "LTXVImgToVideoInplace": _node({"vae": VAE, "image": IMAGE, "latent": LATENT}, "LATENT"),
    "MoGeInference": _node({"moge_model": ["MOGE_MODEL"], "image": IMAGE}, "MOGE_GEOMETRY"),
    "LoadMoGeModel": _node({"model_name": [[]]}, "MOGE_MODEL"),
    "MoGeRender": _node({"moge_geometry": ["MOGE_GEOMETRY"]}, "IMAGE"),
    "MeshTextureToImage": _node({"mesh": ["MESH"]}, "IMAGE"),
    "UnwrapMesh": _node({"mesh": ["MESH"]}, "MESH"),
    "LoadVideo": _node({"file": [[], {"video_upload": True}]}, "VIDEO"),
    "GetVideoComponents": _node({"video": ["VIDEO"]}, "IMAGE", "AUDIO", "FLOAT"),
    "CLIPLoader": _node({"clip_name": [[]], "type": [["x"]]}, "CLIP"),
    "TextGenerate": _node({"clip": ["CLIP"], "prompt": ["STRING"], "max_length": INT}, "STRING"),
    "LatentConcat": _node({"samples1": LATENT, "samples2": LATENT, "dim": [["x", "t"]]}, "LATENT"),
    "PreviewAny": _node({"source": ["*", {}]}, "STRING", output_node=True),
    "SeedVR2TemporalChunk": _node({"latent": LATENT, "temporal_overlap": INT}, "LATENT", "INT"),
}


def demand(graph: dict[str, Any], **more: Any) -> Demand:
    return graphs.demand(graph, node_definitions=MORE, **more)


def line(graph: dict[str, Any], node: str, label: str = "") -> DemandLine:
    return next(each for each in demand(graph).lines if each.node == node and label in each.label)


def with_clip(graph: dict[str, Any]) -> dict[str, Any]:
    """With the frames of an uploaded clip of 48 at node "frames"."""
    return with_node(with_node(graph, "clip", "LoadVideo", file="walk.mp4"), "frames", "GetVideoComponents",
                     video=["clip", 0])  # fmt: skip


def test_a_node_that_makes_room_for_a_clip_is_charged_for_encoding_all_of_it() -> None:
    graph = text_to_image(model__ckpt_name="wan2.1_14B.safetensors", sampler__latent_image=["room", 2])
    wires = {"positive": ["good", 0], "negative": ["bad", 0], "vae": ["model", 2]}
    graph = with_node(graph, "room", "WanImageToVideo", width=640, height=640, length=81, **wires)
    found = line(graph, "room", "Encode")
    assert found.gpu_seconds == pytest.approx(640 * 640 * 81 * 6e6 / (0.28 * 330e12))
    assert found.words == "640×640 pixels × 81 frames × 6 MFLOP"


def test_a_first_frame_alone_is_charged_as_one_picture() -> None:
    graph = text_to_image(sampler__latent_image=["start", 0])
    graph = with_node(graph, "file", "LoadImage", image="castle.PNG")
    wires = {"vae": ["model", 2], "image": ["file", 0], "latent": ["empty", 0]}
    graph = with_node(graph, "start", "LTXVImgToVideoInplace", **wires)
    assert line(graph, "start").words == "0.4 megapixels × 4.75 MFLOP"


def test_saving_more_and_larger_pictures_takes_longer() -> None:
    assert line(text_to_image(), "save").gpu_seconds == pytest.approx(0.3)
    assert line(text_to_image(empty__batch_size=4), "save").gpu_seconds == pytest.approx(0.6)


def test_a_picture_made_of_what_was_read_off_another_has_its_size_and_number() -> None:
    graph = with_node(
        with_clip(text_to_image(save__images=["shown", 0])), "net", "LoadMoGeModel", model_name="m"
    )
    graph = with_node(graph, "read", "MoGeInference", moge_model=["net", 0], image=["frames", 0])
    graph = with_node(graph, "shown", "MoGeRender", moge_geometry=["read", 0])
    found = demand(graph)
    assert (found.images, found.width, found.height) == (48, 640, 360)
    assert line(graph, "read").gpu_seconds == pytest.approx(0.15 * 48)


def test_a_count_read_off_a_picture_of_unknown_size_is_refused() -> None:
    graph = with_node(text_to_image(empty__batch_size=["size", 2]), "size", "GetImageSize", image=["skin", 0])
    graph = with_node(graph, "skin", "MeshTextureToImage", mesh=["flat", 0])
    graph = with_node(graph, "flat", "UnwrapMesh")
    told = MORE | {"UnwrapMesh": _node({}, "MESH")}
    assert graphs.refusals(graph, node_definitions=told) == [("count_not_followed", "empty", "batch_size")]


def test_shapes_are_guessed_and_say_so() -> None:
    graph = with_node(text_to_image(save__images=["skin", 0]), "skin", "MeshTextureToImage", mesh=["flat", 0])
    graph = with_node(graph, "flat", "UnwrapMesh")
    found = graphs.demand(graph, node_definitions=MORE | {"UnwrapMesh": _node({}, "MESH")})
    shape = next(each for each in found.lines if each.node == "flat")
    assert (shape.label, shape.understood) == ("Shape", False)
    assert shape.words.endswith("guessed")
    assert found.band > 2


def test_a_model_that_writes_text_counts_for_the_memory() -> None:
    graph = {
        "clip": {"class_type": "CLIPLoader", "inputs": {"clip_name": "qwen_3_4b.safetensors", "type": "x"}},
        "write": {"class_type": "TextGenerate",
                  "inputs": {"clip": ["clip", 0], "prompt": "a", "max_length": 200}},
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["write", 0]}},
    }  # fmt: skip
    found = demand(graph)
    assert found.vram_bytes == pytest.approx(8.04e9 + 1.4e9, rel=0.01)
    assert line(graph, "write").words == "up to 200 tokens × 0.02 s"


def test_what_a_switch_does_not_hand_on_makes_nothing_run_twice() -> None:
    graph = with_clip(text_to_image(save__images=["pick", 0]))
    listed = {f"inputs.input{n}": ["decode", 0] for n in range(3)}
    graph = with_node(graph, "list", "CreateList", **listed)
    graph = with_node(
        graph, "pick", "ComfySwitchNode", switch=False, on_false=["decode", 0], on_true=["list", 0]
    )
    assert line(graph, "save").gpu_seconds == pytest.approx(0.3)
    graph["pick"]["inputs"]["switch"] = True
    assert line(graph, "save").gpu_seconds == pytest.approx(0.9)
    assert demand(graph).images == 3


def test_clips_joined_in_time_are_longer_and_those_joined_sideways_wider() -> None:
    graph = text_to_image(model__ckpt_name="wan2.1_14B.safetensors", decode__samples=["both", 0])
    graph = with_node(graph, "room", "EmptyHunyuanLatentVideo", width=640, height=384, length=81)
    graph["sampler"]["inputs"]["latent_image"] = ["room", 0]
    graph = with_node(
        graph, "both", "LatentConcat", samples1=["sampler", 0], samples2=["sampler", 0], dim="t"
    )
    assert (demand(graph).images, demand(graph).width) == (162, 640)
    graph["both"]["inputs"]["dim"] = "x"
    assert (demand(graph).images, demand(graph).width) == (81, 1280)


def test_a_clip_cut_into_chunks_is_sampled_chunk_by_chunk() -> None:
    long = UploadedFile("ee" * 32, "long.mp4", 9, width=640, height=360, frames=105)
    graph = text_to_image(model__ckpt_name="seedvr2_3b.safetensors", sampler__latent_image=["cut", 0])
    graph = with_node(with_clip(graph), "enc", "VAEEncode", pixels=["frames", 0], vae=["model", 2])
    graph = with_node(graph, "cut", "SeedVR2TemporalChunk", latent=["enc", 0], temporal_overlap=0)
    found = demand(graph, uploads={"walk.mp4": long})
    words = next(each.words for each in found.lines if each.node == "sampler")
    assert "× 5 runs (SeedVR2 3B, 640×360, 21 frames)" in words


def test_a_huge_picture_is_decoded_in_tiles_where_it_does_not_fit() -> None:
    large, huge = (demand(text_to_image(empty__width=w, empty__height=w)) for w in (1024, 4096))
    assert large.vram_bytes < huge.vram_bytes < 40e9
    tiled = demand(text_to_image(empty__width=1024, empty__height=2048, empty__batch_size=8))
    assert tiled.vram_bytes > large.vram_bytes
