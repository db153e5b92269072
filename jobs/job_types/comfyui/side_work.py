"""Work of the nodes around the sampler: networks of their own, pictures encoded for a condition, text written
token by token, 3D, files. Figures are rough; calibration corrects them, and what is guessed says so."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from jobs.job_types.comfyui.scene import Scene
from jobs.job_types.comfyui.traits import Image

MEGAPIXEL = 1024 * 1024
TEXT_SECONDS = 0.15
TOKEN_SECONDS = 0.02
OUTPUT_SECONDS = 0.3
PICTURE_SECONDS = 0.1  # to pack and write a further megapixel as PNG
FRAME_SECONDS = 0.01  # to encode a further megapixel of a clip
LIGHT_SECONDS = 0.1
ENCODE_SHARE = 0.5  # of what decoding the same picture takes
REFERENCE_PIXELS = 1024 * 1024  # a picture given with a prompt is scaled to

# Stock nodes that run a network: seconds for each picture of a megapixel.
_PER_PICTURE = {
    "CLIPVisionEncode": 0.1, "DA3Inference": 0.1, "FrameInterpolate": 0.05, "GLSLShader": 0.05,
    "LTXVLatentUpsampler": 0.02, "HunyuanVideo15LatentUpscaleWithModel": 0.02,
    "MediaPipeFaceLandmarker": 0.05, "MoGeInference": 0.15, "MoGePanoramaInference": 4.0,
    "PhotoMakerEncode": 0.2, "RTDETR_detect": 0.1, "RemoveBackground": 0.2, "SAM3_Detect": 0.5,
    "SAM3_VideoTrack": 0.2, "SDPoseKeypointExtractor": 0.1, "VOIDWarpedNoise": 0.1,
}  # fmt: skip
# The same, whatever the size of what they are given: seconds for each run.
_PER_RUN = {
    "AudioEncoderEncode": 0.5, "LTXVAudioVAEDecode": 1.0, "LTXVAudioVAEEncode": 0.5,
    "LTXVDurationPredictor": 0.2, "LTXVReferenceAudio": 0.5, "VAEDecodeAudio": 0.5,
    "VAEDecodeAudioTiled": 0.8, "VAEEncodeAudio": 0.5, "WanDancerEncodeAudio": 0.5,
}  # fmt: skip
# Shapes: how long depends on what comes out of the sampler, so these are guesses.
_SHAPES = {
    "BakeAmbientOcclusion": 8.0, "BakeNormalMapFromMesh": 4.0, "BakeTextureFromVoxel": 4.0,
    "DA3GeometryToMesh": 1.0, "DecimateMesh": 4.0, "FillHoles": 1.0, "MergeMeshes": 0.3,
    "MeshSmoothNormals": 0.3, "MoGePointMapToMesh": 1.0, "RemeshMesh": 5.0, "RenderMesh": 0.5,
    "RenderSplat": 0.3, "RenderUVAtlas": 0.3, "SplatToMesh": 8.0, "Trellis2Conditioning": 0.5,
    "Trellis2ShapeStage": 0.3, "Trellis2TextureStage": 0.3, "Trellis2UpsampleStage": 4.0,
    "TripoSplatConditioning": 0.5, "UnwrapMesh": 12.0, "VAEDecodeHunyuan3D": 8.0,
    "VAEDecodeTripoSplat": 3.0, "VaeDecodeShapeTrellis": 5.0, "VaeDecodeStructureTrellis2": 2.0,
    "VaeDecodeTextureTrellis": 5.0, "VoxelToMesh": 3.0, "VoxelToMeshBasic": 2.0, "WeldVertices": 0.5,
}  # fmt: skip
# They only hand on or count what they are given.
_FREE = frozenset(
    {
        "BasicGuider", "CFGGuider", "ComfySwitchNode", "CreateList", "CreateVideo", "GetImageSize",
        "ImageFromBatch", "MergeImageLists", "PreviewAny", "RebatchImages", "RepeatImageBatch",
        "SeedVR2Conditioning", "SetLatentNoiseMask", "Video Slice",
    }
)  # fmt: skip
# Nodes that encode every frame of the clip they make room for, not only the pictures they are given.
_WHOLE_CLIP = re.compile(r"^(Wan(?!22ImageToVideoLatent)\w*|VOIDInpaintConditioning|BerniniConditioning)$")
_VAE_FIELDS = ("vae", "audio_vae")
_PICTURE_WIRES = frozenset({"IMAGE", "MASK", "VIDEO"})
_EDITED_WIRES = _PICTURE_WIRES | {"AUDIO", "MESH", "VOXEL", "SPLAT"}


@dataclass(frozen=True, slots=True)
class Side:
    """One share of a node's work; `words` is its arithmetic."""

    label: str
    seconds: float
    words: str
    understood: bool = True


@dataclass(frozen=True, slots=True)
class Vae:
    """`mflop`: operations to decode a pixel, in millions; `flops`: operations a second."""

    mflop: float
    flops: float


def of(scene: Scene, node: str, wires: Collection[str], vae: Vae) -> Iterator[Side]:
    """The shares of a stock node that neither samples, decodes nor loads. `wires`: types linked into it."""
    kind = scene.kind(node)
    runs = scene.runs(node)
    again = f" × {runs:.0f} runs" if runs > 1 else ""
    if kind.startswith(("CLIPTextEncode", "TextEncode", "MiniMaxMusic3TextEncode")):
        yield Side("Encode text", TEXT_SECONDS * runs, f"{TEXT_SECONDS} s{again}")
        yield from _encoded(scene, node, kind, vae)
    elif kind.startswith("TextGenerate"):
        tokens = max(1.0, scene.number(node, "max_length", 512))
        seconds = TOKEN_SECONDS * tokens * runs
        yield Side("Write text", seconds, f"up to {tokens:.0f} tokens × {TOKEN_SECONDS} s{again}")
    elif kind in _PER_PICTURE:
        yield _networked(scene, node, _PER_PICTURE[kind], wires)
    elif kind in _PER_RUN:
        yield Side("Analyse", _PER_RUN[kind] * runs, f"{_PER_RUN[kind]:g} s{again}")
    elif kind in _SHAPES:
        frames = max(1.0, scene.number(node, "frames", 1)) if kind == "RenderSplat" else 1.0
        seconds = _SHAPES[kind] * frames * runs
        count = f" × {frames:.0f} frames" if frames > 1 else ""
        yield Side("Shape", seconds, f"{_SHAPES[kind]:g} s{count}{again}, guessed", understood=False)
    elif any(scene.source(node, field) for field in _VAE_FIELDS):
        yield from _encoded(scene, node, kind, vae)
    elif set(wires) & _EDITED_WIRES and kind not in _FREE and not kind.startswith(("Save", "Preview")):
        image = scene.given(node)
        share = max(1.0, image.pixels * image.count / (8 * MEGAPIXEL)) * runs
        words = f"{LIGHT_SECONDS:g} s × {plain(share)}" if share > 1 else f"{LIGHT_SECONDS:g} s"
        yield Side("Edit picture", LIGHT_SECONDS * share, words)


def saved(scene: Scene, node: str, wires: Collection[str]) -> Side:
    """What an output node takes to pack and write its files."""
    runs = scene.runs(node)
    again = f" × {runs:.0f} runs" if runs > 1 else ""
    if not set(wires) & {"IMAGE", "VIDEO"}:
        return Side("Save", OUTPUT_SECONDS * runs, f"{OUTPUT_SECONDS} s{again}")
    image = scene.given(node)
    clip = "VIDEO" in wires or bool(re.search(r"WEBM|Animated|Video", scene.kind(node)))
    each = FRAME_SECONDS if clip else PICTURE_SECONDS
    further = max(0.0, image.pixels * image.count / MEGAPIXEL - 1)
    words = f"{OUTPUT_SECONDS} s" + (f" + {plain(further)} megapixels × {each} s" if further >= 0.05 else "")
    return Side("Save", (OUTPUT_SECONDS + further * each) * runs, words + again, image.known)


def plain(number: float) -> str:
    """One decimal where it says something."""
    return f"{number:.1f}".removesuffix(".0")


def _networked(scene: Scene, node: str, each: float, wires: Collection[str]) -> Side:
    image = scene.given(node)
    if "LATENT" in wires and not set(wires) & _PICTURE_WIRES:
        latent = scene.latent_at((node, 0))
        image = Image(latent.width, latent.height, latent.batch * latent.frames, latent.known)
    share = max(1.0, image.pixels / MEGAPIXEL) * image.count * scene.runs(node)
    words = f"{each:g} s × {plain(share)} megapixels" if share > 1 else f"{each:g} s"
    return Side("Analyse", each * share, words, image.known)


def _encoded(scene: Scene, node: str, kind: str, vae: Vae) -> Iterator[Side]:
    """Pictures a node encodes with the VAE it is given."""
    if not scene.source(node, "vae"):
        return
    pictures = list(_pictures(scene, node))
    length = scene.number(node, "length", 0)
    if kind.startswith("TextEncode"):
        pixels, known = float(REFERENCE_PIXELS * len(pictures)), True
        about = f"{len(pictures)} × 1 megapixel"
    elif _WHOLE_CLIP.match(kind) and length > 0:
        room = scene.latent_at((node, 0))
        clips = max(1, sum(1 for image in pictures if image.count > 1))
        pixels, known = room.width * room.height * length * clips, True
        about = f"{room.width:.0f}×{room.height:.0f} pixels × {length * clips:.0f} frames"
    else:
        pixels = sum(image.pixels * image.count for image in pictures)
        known = all(image.known for image in pictures)
        about = f"{pixels / MEGAPIXEL:.1f} megapixels"
    if pixels > 0:
        mflop = vae.mflop * ENCODE_SHARE
        seconds = pixels * mflop * 1e6 / vae.flops * scene.runs(node)
        yield Side("Encode picture", seconds, f"{about} × {mflop:g} MFLOP", known)


def _pictures(scene: Scene, node: str) -> Iterator[Image]:
    """The pictures linked into a node; masks, models and conditions are none."""
    for field in scene.wires[node]:
        if re.search(r"image|video|pixels|motion|frame|pictures|references?(\.|$)", field):
            source = scene.source(node, field)
            if source is not None:
                yield scene.image_at(source)
