"""Nodes that show or save what was made."""

from collections.abc import Callable
from typing import Any

from gpu_agent.simulator.nodes.base import Inputs, NodeRun, Shown, handles
from gpu_agent.simulator.png import encode_png, with_texts
from gpu_agent.simulator.values import Images, Latent, Mask, Picture

SAVE_SECONDS = 0.06


def _texts(run: NodeRun) -> dict[str, Any]:
    return {"prompt": run.prompt, **run.extra_data.get("extra_pnginfo", {})}


def png_bodies(run: NodeRun, pictures: tuple[Picture, ...]) -> list[Callable[[], bytes]]:
    """One function a picture, giving the file's bytes."""
    texts = _texts(run)
    return [lambda one=one: with_texts(_png(one), texts) for one in pictures]  # type: ignore[misc]


def _png(picture: Picture) -> bytes:
    """Frames of a clip are drawn smaller than they claim to be; a file is not."""
    image, size = picture.image(), (picture.width, picture.height)
    return picture.png(encode_png) if image.size == size else encode_png(image.resize(size))


def _shown(
    run: NodeRun, prefix: str, pictures: tuple[Picture, ...], ending: str, *, temp: bool
) -> list[dict[str, str]]:
    for _ in pictures:
        run.spend(SAVE_SECONDS)
    return [saved.shown() for saved in run.save(prefix, ending, png_bodies(run, pictures), temp=temp)]


@handles("SaveImage")
def save_image(run: NodeRun, inputs: Inputs) -> Shown:
    images: Images = inputs["images"]
    shown = _shown(run, inputs["filename_prefix"], images.pictures, "_.png", temp=False)
    return Shown({"images": shown}, (images,))


@handles("SaveImageAdvanced")
def save_image_advanced(run: NodeRun, inputs: Inputs) -> Shown:
    images: Images = inputs["images"]
    shown = _shown(run, inputs["filename_prefix"], images.pictures, ".png", temp=False)
    return Shown({"images": shown}, (images,))


@handles("PreviewImage")
def preview_image(run: NodeRun, inputs: Inputs) -> Shown:
    images: Images = inputs["images"]
    return Shown({"images": _shown(run, "ComfyUI", images.pictures, "_.png", temp=True)}, (images,))


@handles("MaskPreview")
def mask_preview(run: NodeRun, inputs: Inputs) -> Shown:
    mask: Mask = inputs["mask"]
    shown = _shown(run, "ComfyUI", (mask.picture,), "_.png", temp=True)
    return Shown({"images": shown, "animated": [False]})


@handles("ImageCompare")
def image_compare(run: NodeRun, inputs: Inputs) -> Shown:
    ui = {}
    for side in ("a", "b"):
        images = inputs.get(f"image_{side}")
        if isinstance(images, Images):
            prefix = f"comfy.compare.{side}"
            ui[f"{side}_images"] = _shown(run, prefix, images.pictures, "_.png", temp=True)
    return Shown(ui)


@handles("SaveLatent")
def save_latent(run: NodeRun, inputs: Inputs) -> Shown:
    latent: Latent = inputs["samples"]
    body = f"simulated latent {latent.width}x{latent.height}x{latent.frames}\n".encode()
    saved = run.save(inputs["filename_prefix"], "_.latent", [lambda: body])
    return Shown({"latents": [one.shown() for one in saved]})


@handles("PreviewAny")
def preview_any(run: NodeRun, inputs: Inputs) -> Shown:
    text = str(inputs.get("source"))
    return Shown({"text": [text]}, (text,))


@handles("SaveText")
def save_text(run: NodeRun, inputs: Inputs) -> Shown:
    text = str(inputs["text"])
    saved = run.save(inputs["filename_prefix"], f".{inputs['format']}", [text.encode])
    return Shown({"text": [text], "files": [one.shown() for one in saved]}, (text,))
