"""Nodes that really work on pixels, with Pillow."""

from typing import Any

from PIL import Image, ImageChops, ImageFilter, ImageOps

from gpu_agent.simulator.nodes.base import Inputs, NodeRun, handles
from gpu_agent.simulator.timing import MEGAPIXEL
from gpu_agent.simulator.values import Images, Mask, Picture

FILTERS = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def allocate(run: NodeRun, width: int, height: int, batch: int) -> None:
    """Refuse, in the words of torch, what would not fit into memory. RuntimeError."""
    wanted = width * height * batch * 4
    if wanted > run.machine.memory.ram_bytes:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
            f"tried to allocate {wanted} bytes. Error code 12 (Cannot allocate memory)"
        )


def resized(images: Images, width: int, height: int, method: str, *, crop: bool) -> Images:
    """All pictures at that size; a side of 0 follows the other one."""
    if width == 0:
        width = max(1, round(images.width * height / images.height)) if height else images.width
    if height == 0:
        height = max(1, round(images.height * width / images.width))
    how = FILTERS.get(method, Image.Resampling.BILINEAR)

    def change(image: Image.Image) -> Image.Image:
        return ImageOps.fit(image, (width, height), how) if crop else image.resize((width, height), how)

    return images.mapped(change, (width, height))


def _spend(run: NodeRun, images: Images) -> None:
    run.spend(0.001 + 0.004 * images.width * images.height / MEGAPIXEL * len(images.pictures))


@handles("EmptyImage")
def empty_image(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    width, height, batch = inputs["width"], inputs["height"], inputs["batch_size"]
    allocate(run, width, height, batch)
    colour = inputs["color"]
    parts = (colour >> 16 & 0xFF, colour >> 8 & 0xFF, colour & 0xFF)
    picture = Picture(width, height, lambda: Image.new("RGB", (width, height), parts))
    return (Images((picture,) * batch),)


@handles("ImageScale")
def image_scale(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    images: Images = inputs["image"]
    allocate(run, inputs["width"], inputs["height"], len(images.pictures))
    _spend(run, images)
    crop = inputs["crop"] == "center"
    return (resized(images, inputs["width"], inputs["height"], inputs["upscale_method"], crop=crop),)


@handles("ImageScaleBy")
def image_scale_by(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    images: Images = inputs["image"]
    width, height = round(images.width * inputs["scale_by"]), round(images.height * inputs["scale_by"])
    allocate(run, width, height, len(images.pictures))
    _spend(run, images)
    return (resized(images, max(1, width), max(1, height), inputs["upscale_method"], crop=False),)


@handles("ImageScaleToTotalPixels")
def image_scale_to_total_pixels(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    images: Images = inputs["image"]
    scale = (float(inputs["megapixels"]) * MEGAPIXEL / (images.width * images.height)) ** 0.5
    step = int(inputs.get("resolution_steps", 1))
    width, height = (max(step, round(side * scale / step) * step) for side in (images.width, images.height))
    _spend(run, images)
    return (resized(images, width, height, inputs["upscale_method"], crop=False),)


@handles("ImageUpscaleWithModel")
def image_upscale_with_model(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    images: Images = inputs["image"]
    width, height = images.width * 4, images.height * 4
    allocate(run, width, height, len(images.pictures))
    tiles = max(1, round(images.width * images.height / (512 * 512))) * len(images.pictures)
    for tile in range(tiles):
        run.spend(0.11)
        run.tick(tile + 1, tiles)
    return (resized(images, width, height, "lanczos", crop=False),)


@handles("ImageInvert")
def image_invert(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    _spend(run, inputs["image"])
    return (inputs["image"].mapped(lambda image: ImageChops.invert(image.convert("RGB"))),)


@handles("ImageBlur")
def image_blur(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    _spend(run, inputs["image"])
    radius = min(float(inputs["sigma"]), float(inputs["blur_radius"]))
    return (inputs["image"].mapped(lambda image: image.filter(ImageFilter.GaussianBlur(radius))),)


@handles("ImageSharpen")
def image_sharpen(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    _spend(run, inputs["image"])
    strength = ImageFilter.UnsharpMask(float(inputs["sigma"]), round(100 * float(inputs["alpha"])), 2)
    return (inputs["image"].mapped(lambda image: image.filter(strength)),)


@handles("ImageCrop")
def image_crop(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    images: Images = inputs["image"]
    left, top = min(inputs["x"], images.width - 1), min(inputs["y"], images.height - 1)
    right, bottom = min(left + inputs["width"], images.width), min(top + inputs["height"], images.height)
    box = (left, top, right, bottom)
    return (images.mapped(lambda image: image.crop(box), (right - left, bottom - top)),)


@handles("ImageBatch")
def image_batch(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    first, second = inputs["image1"], inputs["image2"]
    second = resized(second, first.width, first.height, "bilinear", crop=True)
    return (Images(first.pictures + second.pictures),)


@handles("BatchImagesNode")
def batch_images(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    batches = [value for value in inputs.values() if isinstance(value, Images)]
    first = batches[0]
    same = [resized(one, first.width, first.height, "bilinear", crop=True) for one in batches]
    return (Images(tuple(picture for one in same for picture in one.pictures)),)


@handles("ImageFromBatch")
def image_from_batch(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    pictures = inputs["image"].pictures
    start = min(inputs["batch_index"], len(pictures) - 1)
    return (Images(pictures[start : start + inputs["length"]]),)


@handles("RepeatImageBatch")
def repeat_image_batch(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    images: Images = inputs["image"]
    allocate(run, images.width, images.height, len(images.pictures) * inputs["amount"])
    return (Images(images.pictures * inputs["amount"]),)


@handles("ImagePadForOutpaint")
def image_pad(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    images: Images = inputs["image"]
    left, top = inputs["left"], inputs["top"]
    size = (images.width + left + inputs["right"], images.height + top + inputs["bottom"])
    allocate(run, *size, len(images.pictures))

    def change(image: Image.Image) -> Image.Image:
        padded = Image.new("RGB", size, (128, 128, 128))
        padded.paste(image, (left, top))
        return padded

    def draw_mask() -> Image.Image:
        mask = Image.new("L", size, 255)
        mask.paste(0, (left, top, left + images.width, top + images.height))
        return mask

    return images.mapped(change, size), Mask(Picture(*size, draw_mask))


@handles("GetImageSize")
def get_image_size(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    images: Images = inputs["image"]
    return images.width, images.height, len(images.pictures)


@handles("Canny")
def canny(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    _spend(run, inputs["image"])

    def change(image: Image.Image) -> Image.Image:
        return image.convert("L").filter(ImageFilter.FIND_EDGES).convert("RGB")

    return (inputs["image"].mapped(change),)


@handles("FluxKontextImageScale")
def flux_kontext_image_scale(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    images: Images = inputs["image"]
    scale = (MEGAPIXEL / (images.width * images.height)) ** 0.5
    width, height = (max(16, round(side * scale / 16) * 16) for side in (images.width, images.height))
    return (resized(images, width, height, "lanczos", crop=True),)


@handles("SolidMask")
def solid_mask(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    size, value = (inputs["width"], inputs["height"]), round(255 * float(inputs["value"]))
    return (Mask(Picture(*size, lambda: Image.new("L", size, value))),)


@handles("MaskToImage")
def mask_to_image(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    picture: Picture = inputs["mask"].picture
    return (Images((Picture(picture.width, picture.height, lambda: picture.image().convert("RGB")),)),)


@handles("ImageToMask")
def image_to_mask(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    picture: Picture = inputs["image"].pictures[0]
    return (Mask(Picture(picture.width, picture.height, lambda: picture.image().convert("L"))),)


@handles("LoadImage")
def load_image(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    """Opens the upload at once: what is no image fails here, as PIL.UnidentifiedImageError."""
    image, alpha = _opened(run, inputs["image"])
    return Images((Picture.of(image),)), Mask(Picture.of(alpha))


@handles("LoadImageMask")
def load_image_mask(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    image, alpha = _opened(run, inputs["image"])
    band = {"red": 0, "green": 1, "blue": 2}.get(inputs["channel"])
    return (Mask(Picture.of(alpha if band is None else image.getchannel(band))),)


def _opened(run: NodeRun, name: str) -> tuple[Image.Image, Image.Image]:
    with Image.open(run.machine.folders.uploaded(name)) as opened:
        whole = ImageOps.exif_transpose(opened).convert("RGBA")
    run.spend(0.002 + 0.01 * whole.width * whole.height / MEGAPIXEL)
    return whole.convert("RGB"), ImageChops.invert(whole.getchannel("A"))
