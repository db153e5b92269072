"""Random damage done to graphs: what a hostile or careless author might send."""

import copy
import random
from typing import Any

from tests.jobs.job_types.comfyui.graphs import DEFINITIONS, text_to_image, with_node

_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 2**64 - 1, 1e308, -1e308, 1e-308, 0.5, "", "x", "euler", "20", "1e9",
    [], [1], ["x", "y"], {}, {"a": 1}, {"__value__": [1]}, "a" * 600, "..", "castle.PNG", "9**9**9", "a*a*a",
)  # fmt: skip


def originals() -> list[dict[str, Any]]:
    """Graphs that between them use most of what an estimate follows."""
    plain = text_to_image()
    linked = with_node(text_to_image(sampler__steps=["pick", 0]), "ten", "PrimitiveInt", value=10)
    linked = with_node(
        linked, "math", "ComfyMathExpression", expression="a * 3 + 2", **{"values.a": ["ten", 0]}
    )
    linked = with_node(linked, "on", "PrimitiveBoolean", value=True)
    pick: dict[str, Any] = {"switch": ["on", 0], "on_false": ["ten", 0], "on_true": ["math", 1]}
    linked = with_node(linked, "pick", "ComfySwitchNode", **pick)
    repaint = text_to_image(sampler__latent_image=["again", 0], save__images=["up", 0])
    repaint = with_node(repaint, "file", "LoadImage", image="castle.PNG")
    repaint = with_node(repaint, "encode", "VAEEncode", pixels=["file", 0], vae=["model", 2])
    repaint = with_node(repaint, "again", "RepeatLatentBatch", samples=["encode", 0], amount=3)
    repaint = with_node(repaint, "upmodel", "UpscaleModelLoader", model_name="4x.pth")
    repaint = with_node(
        repaint, "up", "ImageUpscaleWithModel", upscale_model=["upmodel", 0], image=["decode", 0]
    )
    clip = text_to_image(model__ckpt_name="wan2.2_14B.safetensors", sampler__latent_image=["clip", 0])
    clip = with_node(clip, "clip", "EmptyHunyuanLatentVideo", width=832, height=480, length=81, batch_size=1)
    seeds = {f"inputs.input{n}": ["one", 0] for n in range(3)}
    listed = with_node(text_to_image(sampler__seed=["list", 0]), "one", "PrimitiveInt", value=1)
    return [plain, linked, repaint, clip, with_node(listed, "list", "CreateList", **seeds)]


def mutated(graph: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A copy with one to four random edits."""
    made = copy.deepcopy(graph)
    for _ in range(chance.randint(1, 4)):
        _edit(made, chance)
    return made


def _edit(graph: dict[str, Any], chance: random.Random) -> None:
    if not graph:
        return
    node = graph[chance.choice(list(graph))]
    inputs = node["inputs"]
    way = chance.randrange(7)
    if way == 0 and inputs:
        inputs[chance.choice(list(inputs))] = chance.choice(_VALUES)
    elif way == 1 and inputs:
        inputs[chance.choice(list(inputs))] = [chance.choice(list(graph)), chance.randrange(3)]
    elif way == 2 and inputs:
        del inputs[chance.choice(list(inputs))]
    elif way == 3:
        node["class_type"] = chance.choice(list(DEFINITIONS))
    elif way == 4:
        del graph[chance.choice(list(graph))]
    elif way == 5:
        graph[f"n{chance.randrange(99)}"] = copy.deepcopy(node)
    elif inputs:
        numbers = [name for name, value in inputs.items() if type(value) in (int, float)]
        for name in numbers[:1]:
            inputs[name] = inputs[name] * chance.choice([-1, 0, 0.01, 10, 1000, 10**9])
