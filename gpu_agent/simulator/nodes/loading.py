"""Nodes that load models. A file is read from disk once, and lies in RAM until memory is freed."""

from dataclasses import replace
from typing import Any

from gpu_agent.simulator.models import size_bytes
from gpu_agent.simulator.nodes.base import Inputs, NodeRun, handles
from gpu_agent.simulator.timing import encode_text_seconds, family_of, read_seconds, upload_seconds
from gpu_agent.simulator.values import Conditioning, Decoder, Encoder, Model, Other

ENCODER_BYTES = 5_000_000_000
VAE_BYTES = 335_000_000
LORA_BYTES = 150_000_000


def read(run: NodeRun, file: str, size: int) -> None:
    """Take the time of reading the file, unless it was read before."""
    if run.machine.memory.in_ram(file):
        run.spend(0.002)
        return
    run.spend(read_seconds(size))
    run.machine.memory.read(file, size)


def place(run: NodeRun, file: str, size: int, working_bytes: int = 0) -> None:
    """Take the time of moving the model to the GPU, unless it lies there."""
    moved = run.machine.memory.place(file, size, working_bytes)
    if moved:
        run.spend(upload_seconds(moved))


def _model(run: NodeRun, file: str) -> Model:
    family = family_of(file)
    model = Model(file, family.name, size_bytes(file, family.size_bytes))
    read(run, file, model.size_bytes)
    return model


@handles("CheckpointLoaderSimple", "ImageOnlyCheckpointLoader", "unCLIPCheckpointLoader")
def checkpoint_loader(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    file = inputs["ckpt_name"]
    model = _model(run, file)
    encoder = Encoder(file + " text", model.family, max(250_000_000, model.size_bytes // 8))
    return model, encoder, Decoder(file + " vae", VAE_BYTES)


@handles("UNETLoader")
def unet_loader(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (_model(run, inputs["unet_name"]),)


@handles("CLIPLoader", "DualCLIPLoader", "TripleCLIPLoader", "QuadrupleCLIPLoader", "LTXAVTextEncoderLoader")
def clip_loader(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    files = [
        value for name, value in inputs.items() if name.startswith(("clip_name", "text_encoder")) and value
    ]
    total = 0
    for file in files:
        size = size_bytes(file, ENCODER_BYTES)
        read(run, file, size)
        total += size
    return (Encoder(" + ".join(files), family_of(files[0]).name, total),)


@handles("VAELoader")
def vae_loader(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    file = inputs["vae_name"]
    size = size_bytes(file, VAE_BYTES)
    read(run, file, size)
    return (Decoder(file, size),)


@handles("LTXVAudioVAELoader")
def audio_vae_loader(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    read(run, inputs["ckpt_name"] + " audio", 200_000_000)
    return (Decoder(inputs["ckpt_name"] + " audio", 200_000_000, audio=True),)


@handles("LoraLoader", "LoraLoaderModelOnly")
def lora_loader(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    model, file = inputs["model"], inputs["lora_name"]
    read(run, file, size_bytes(file, LORA_BYTES))
    if isinstance(model, Model):
        stem = file.rpartition("/")[2].partition(".")[0]
        adapted = replace(model, loras=(*model.loras, file), words=f"{model.words} {stem.replace('_', ' ')}")
    else:
        adapted = model
    return (adapted, inputs["clip"]) if "clip" in inputs else (adapted,)


@handles(
    "ControlNetLoader",
    "UpscaleModelLoader",
    "LatentUpscaleModelLoader",
    "CLIPVisionLoader",
    "StyleModelLoader",
)
def side_loader(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    file = next((value for value in inputs.values() if isinstance(value, str)), "")
    read(run, file, size_bytes(file, 700_000_000))
    return (Other(run.definition["output"][0], file),)


def encode(run: NodeRun, encoder: Any, text: str) -> Conditioning:
    """Take the time of a text encoder."""
    if isinstance(encoder, Encoder):
        place(run, encoder.file, encoder.size_bytes)
        run.spend(encode_text_seconds(encoder.size_bytes))
    return Conditioning(text)


@handles("CLIPTextEncode", "TextEncodeQwenImageEdit", "TextEncodeQwenImageEditPlus")
def clip_text_encode(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (encode(run, inputs.get("clip"), str(inputs.get("text", inputs.get("prompt", "")))),)


@handles("CLIPTextEncodeFlux", "CLIPTextEncodeSDXL", "CLIPTextEncodeSD3", "CLIPTextEncodeHunyuanDiT")
def clip_text_encode_many(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    texts = dict.fromkeys(value for value in inputs.values() if isinstance(value, str) and value)
    return (encode(run, inputs.get("clip"), " ".join(texts)),)


@handles("ConditioningCombine", "ConditioningConcat", "ConditioningAverage")
def conditioning_combine(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    parts = [value for value in inputs.values() if isinstance(value, Conditioning)]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined.joined(part)
    return (joined,)


@handles("ConditioningZeroOut")
def conditioning_zero_out(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (Conditioning(""),)
