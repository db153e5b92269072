"""All nodes: importing this registers every handler. Those without one get by with placeholders."""

from collections import Counter
from typing import Any

from gpu_agent.simulator.nodes import images, loading, media, outputs, sampling, switches, trial
from gpu_agent.simulator.nodes.base import Inputs, NodeRun, Shown
from gpu_agent.simulator.painting import paint
from gpu_agent.simulator.values import (
    Clip,
    Conditioning,
    Decoder,
    Encoder,
    Guider,
    Images,
    Latent,
    Mask,
    Model,
    Noise,
    Other,
    Picture,
    Sigmas,
    Sound,
)

MODULES = (images, loading, media, outputs, sampling, switches, trial)
LIGHT_SECONDS = 0.02
_TYPES: dict[str, type] = {
    "IMAGE": Images,
    "MASK": Mask,
    "LATENT": Latent,
    "CONDITIONING": Conditioning,
    "MODEL": Model,
    "CLIP": Encoder,
    "VAE": Decoder,
    "GUIDER": Guider,
    "SIGMAS": Sigmas,
    "NOISE": Noise,
    "AUDIO": Sound,
    "VIDEO": Clip,
}


def run_unknown(run: NodeRun, inputs: Inputs) -> tuple[Any, ...] | Shown:
    """A node known by its definition only: passes on what fits its outputs, makes up the rest."""
    run.spend(LIGHT_SECONDS)
    met: Counter[str] = Counter()
    results = []
    for kind in run.definition.get("output", []):
        results.append(_result(run, str(kind), inputs, met[str(kind)]))
        met[str(kind)] += 1
    if not run.definition.get("output_node"):
        return tuple(results)
    return Shown(_ui(run, inputs), tuple(results))


def _result(run: NodeRun, kind: str, inputs: Inputs, index: int) -> Any:
    wanted = _TYPES.get(kind)
    if wanted is not None:
        fitting = [value for value in inputs.values() if isinstance(value, wanted)]
        return fitting[min(index, len(fitting) - 1)] if fitting else _made(run, kind, inputs)
    if kind in ("*", "COMFY_MATCHTYPE_V3"):
        return next((value for value in inputs.values() if not isinstance(value, str | bool)), None)
    plain: dict[str, Any] = {"INT": 1, "FLOAT": 1.0, "STRING": _words(inputs), "BOOLEAN": True, "COMBO": ""}
    return plain[kind] if kind in plain else Other(kind, run.moment.class_type)


def _words(inputs: Inputs) -> str:
    return " ".join(value for value in inputs.values() if isinstance(value, str))[:2000]


def _made(run: NodeRun, kind: str, inputs: Inputs) -> Any:
    width, height = (int(inputs.get(side, 512) or 512) for side in ("width", "height"))
    picture = Picture(width, height, lambda: paint(_words(inputs), 0, width, height))
    made: dict[str, Any] = {
        "IMAGE": Images((picture,)),
        "MASK": Mask(Picture(width, height, lambda: picture.image().convert("L"))),
        "LATENT": Latent(width, height, int(inputs.get("batch_size", 1)), int(inputs.get("length", 1))),
        "CONDITIONING": Conditioning(_words(inputs)),
        "MODEL": Model(run.moment.class_type, "sd15", 2_000_000_000),
        "CLIP": Encoder(run.moment.class_type, "sd15", 250_000_000),
        "VAE": Decoder(run.moment.class_type, 335_000_000),
        "SIGMAS": Sigmas(int(inputs.get("steps", 20))),
        "NOISE": Noise(int(inputs.get("seed", 0))),
        "AUDIO": Sound(2.0, words=_words(inputs)),
        "VIDEO": Clip(Images((picture,) * 8), 8.0),
    }
    return made.get(kind) or Other(kind, run.moment.class_type)


def _ui(run: NodeRun, inputs: Inputs) -> dict[str, Any]:
    """An output node shows the pictures it was given, or else its name."""
    batch = next((value for value in inputs.values() if isinstance(value, Images)), None)
    if batch is None:
        return {"text": [run.moment.class_type]}
    prefix = inputs.get("filename_prefix")
    bodies = outputs.png_bodies(run, batch.pictures)
    saved = run.save(str(prefix or "ComfyUI"), "_.png", bodies, temp=prefix is None)
    return {"images": [one.shown() for one in saved]}
