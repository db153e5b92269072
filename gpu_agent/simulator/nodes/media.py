"""Video and audio nodes."""

import array
from collections.abc import Iterator
from io import BytesIO
from itertools import groupby
from typing import Any

from PIL import Image

from gpu_agent.simulator import audio, video
from gpu_agent.simulator.nodes.base import Inputs, NodeRun, Shown, handles
from gpu_agent.simulator.painting import paint
from gpu_agent.simulator.values import Clip, Images, Picture, Sound

CLIP_PIXELS = 384  # longer side of the pictures in a video file
MAX_SHOTS = 24
SAVE_SECONDS = 0.4


def shots_of(images: Images, fps: float) -> list[tuple[Image.Image, int]]:
    """The pictures of a clip with their milliseconds; equal neighbours are one, at most `MAX_SHOTS`."""
    runs = [(picture, len(list(same))) for picture, same in groupby(images.pictures, key=lambda one: one)]
    every = -(-len(runs) // MAX_SHOTS)
    shots = []
    for start in range(0, len(runs), every):
        frames = sum(count for _, count in runs[start : start + every])
        shots.append((_small(runs[start][0]), max(1, round(frames * 1000 / fps))))
    return shots


def _small(picture: Picture) -> Image.Image:
    image = picture.image().convert("RGB")
    scale = min(1.0, CLIP_PIXELS / max(picture.width, picture.height))
    size = (max(2, round(picture.width * scale) // 2 * 2), max(2, round(picture.height * scale) // 2 * 2))
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def animated(images: Images, fps: float, kind: str) -> bytes:
    """An animated WEBP or PNG."""
    shots = shots_of(images, fps)
    buffer = BytesIO()
    first, rest = shots[0][0], [image for image, _ in shots[1:]]
    options: dict[str, Any] = {"quality": 70, "method": 0} if kind == "WEBP" else {"compress_level": 1}
    times = [spent for _, spent in shots]
    first.save(buffer, kind, save_all=True, append_images=rest, duration=times, loop=0, **options)
    return buffer.getvalue()


@handles("CreateVideo")
def create_video(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (Clip(inputs["images"], float(inputs["fps"]), inputs.get("audio")),)


@handles("GetVideoComponents")
def video_components(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    clip: Clip = inputs["video"]
    values = {"IMAGE": clip.images, "AUDIO": clip.sound or Sound(1.0), "FLOAT": clip.fps}
    return tuple(values.get(kind, 8) for kind in run.definition["output"])


@handles("LoadVideo")
def load_video(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    """Not decoded: a clip in its place, chosen by the file's bytes."""
    body = run.machine.folders.uploaded(inputs["file"]).read_bytes()
    frames = tuple(
        Picture(640, 360, lambda shift=index / 40: paint(inputs["file"], len(body), 384, 216, shift))  # type: ignore[misc]
        for index in range(12)
    )
    run.spend(0.1)
    return (Clip(Images(frames), 12.0),)


def _saved(run: NodeRun, inputs: Inputs, ending: str, body: bytes) -> Shown:
    saved = run.save(inputs["filename_prefix"], ending, [lambda: body])
    ui = {"images": [one.shown() for one in saved], "animated": [True]}
    return Shown(ui, tuple(_passed(run, inputs)))


def _passed(run: NodeRun, inputs: Inputs) -> Iterator[Any]:
    for _ in run.definition["output"]:
        yield inputs.get("images", inputs.get("video"))


@handles("SaveVideo")
def save_video(run: NodeRun, inputs: Inputs) -> Shown:
    clip: Clip = inputs["video"]
    webm = inputs.get("format") == "webm"
    shots = shots_of(clip.images, clip.fps)
    run.spend(SAVE_SECONDS)
    body = video.webm(shots) if webm else video.mp4(shots)
    return _saved(run, inputs, "_.webm" if webm else "_.mp4", body)


@handles("SaveWEBM")
def save_webm(run: NodeRun, inputs: Inputs) -> Shown:
    run.spend(SAVE_SECONDS)
    return _saved(run, inputs, "_.webm", video.webm(shots_of(inputs["images"], float(inputs["fps"]))))


@handles("SaveAnimatedWEBP")
def save_animated_webp(run: NodeRun, inputs: Inputs) -> Shown:
    run.spend(SAVE_SECONDS)
    return _saved(run, inputs, "_.webp", animated(inputs["images"], float(inputs["fps"]), "WEBP"))


@handles("SaveAnimatedPNG")
def save_animated_png(run: NodeRun, inputs: Inputs) -> Shown:
    run.spend(SAVE_SECONDS)
    return _saved(run, inputs, "_.png", animated(inputs["images"], float(inputs["fps"]), "PNG"))


@handles("EmptyAudio")
def empty_audio(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (Sound(float(inputs["duration"]), int(inputs["sample_rate"]), int(inputs["channels"])),)


@handles("LoadAudio")
def load_audio(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (Sound(2.0, words=str(inputs["audio"])),)


def _flac(sound: Sound) -> bytes:
    if not sound.words:
        return audio.flac(
            array.array("h"), sound.rate, sound.channels, max(1, round(sound.seconds * sound.rate))
        )
    samples = audio.tune(sound.words, sound.seed, sound.seconds)
    rest = max(0, round(sound.seconds * audio.TUNE_RATE) - len(samples))
    return audio.flac(samples, audio.TUNE_RATE, sound.channels, rest)


@handles("SaveAudio")
def save_audio(run: NodeRun, inputs: Inputs) -> Shown:
    body = _flac(inputs["audio"])
    saved = run.save(inputs["filename_prefix"], ".flac", [lambda: body])
    return Shown({"audio": [one.shown() for one in saved]})


@handles("SaveAudioMP3")
def save_audio_mp3(run: NodeRun, inputs: Inputs) -> Shown:
    body = audio.mp3(inputs["audio"].seconds)
    saved = run.save(inputs["filename_prefix"], ".mp3", [lambda: body])
    return Shown({"audio": [one.shown() for one in saved]})


@handles("PreviewAudio")
def preview_audio(run: NodeRun, inputs: Inputs) -> Shown:
    body = _flac(inputs["audio"])
    saved = run.save("ComfyUI", ".flac", [lambda: body], temp=True)
    return Shown({"audio": [one.shown() for one in saved]})
