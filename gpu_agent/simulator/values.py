"""What flows along the links of a graph: stand-ins for tensors and models."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

# One thread: pictures are drawn while the simulated GPU works, and must not starve the host.
_painters = ThreadPoolExecutor(max_workers=1, thread_name_prefix="painter")


class Picture:
    """One image that is drawn when somebody first looks, or ahead of that by `start`."""

    def __init__(self, width: int, height: int, draw: Callable[[], Image.Image]) -> None:
        self.width = width
        self.height = height
        self._draw = draw
        self._lock = threading.Lock()
        self._image: Image.Image | None = None
        self._png: bytes | None = None
        self._ahead: Future[None] | None = None

    @classmethod
    def of(cls, image: Image.Image) -> "Picture":
        picture = cls(image.width, image.height, lambda: image)
        picture._image = image
        return picture

    def start(self, encode: Callable[[Image.Image], bytes] | None = None) -> None:
        """Begin to draw in the background, and to encode as PNG when told how."""
        with self._lock:
            if self._ahead is None and self._image is None:
                self._ahead = _painters.submit(self._prepare, encode)

    def _prepare(self, encode: Callable[[Image.Image], bytes] | None) -> None:
        image = self._draw()
        self._png = encode(image) if encode else None
        self._image = image

    def image(self) -> Image.Image:
        """RGB (or RGBA) pixels."""
        ahead = self._ahead
        if ahead is not None:
            ahead.result()
        with self._lock:
            if self._image is None:
                self._image = self._draw()
            return self._image

    def png(self, encode: Callable[[Image.Image], bytes]) -> bytes:
        image = self.image()
        if self._png is None:
            self._png = encode(image)
        return self._png


@dataclass(frozen=True, slots=True)
class Images:
    """A batch of pictures of one size; `fps` when they are the frames of a clip."""

    pictures: tuple[Picture, ...]

    @property
    def width(self) -> int:
        return self.pictures[0].width if self.pictures else 0

    @property
    def height(self) -> int:
        return self.pictures[0].height if self.pictures else 0

    def mapped(
        self, change: Callable[[Image.Image], Image.Image], size: tuple[int, int] | None = None
    ) -> "Images":
        """The batch with each picture changed when it is looked at. Equal pictures stay one picture."""
        done: dict[int, Picture] = {}
        for picture in self.pictures:
            width, height = size or (picture.width, picture.height)
            if id(picture) not in done:
                done[id(picture)] = Picture(width, height, lambda one=picture: change(one.image()))  # type: ignore[misc]
        return Images(tuple(done[id(picture)] for picture in self.pictures))


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded network. `family` chooses its speed: sd15, sdxl, flux …"""

    file: str
    family: str
    size_bytes: int
    loras: tuple[str, ...] = ()
    words: str = ""  # what its adapters add to the picture


@dataclass(frozen=True, slots=True)
class Encoder:
    """A text encoder."""

    file: str
    family: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Decoder:
    """A VAE."""

    file: str
    size_bytes: int
    audio: bool = False


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What the text encoder made of the words."""

    text: str

    def joined(self, other: "Conditioning") -> "Conditioning":
        return replace(self, text=" ".join(filter(None, (self.text, other.text))))


@dataclass(frozen=True, slots=True)
class Guider:
    model: Model
    positive: Conditioning
    negative: Conditioning
    passes: int  # evaluations of the network per step


@dataclass(frozen=True, slots=True)
class Sigmas:
    steps: int


@dataclass(frozen=True, slots=True)
class Noise:
    seed: int


@dataclass(frozen=True, slots=True)
class Latent:
    """Pixels before decoding; drawn or still empty."""

    width: int  # pixels of the decoded image
    height: int
    batch: int = 1
    frames: int = 1
    images: Images | None = None
    strength: float = 1.0
    sound: "Sound | None" = None


@dataclass(frozen=True, slots=True)
class Sound:
    """`words` and `seed` choose the tune; "" is silence."""

    seconds: float
    rate: int = 44100
    channels: int = 2
    words: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Clip:
    """A video."""

    images: Images
    fps: float
    sound: Sound | None = None


@dataclass(frozen=True, slots=True)
class Mask:
    picture: Picture


@dataclass(frozen=True, slots=True)
class Blocker:
    """Stops the branch it flows into. With a message, its first node reports the block."""

    message: str | None


@dataclass(frozen=True, slots=True)
class Other:
    """A value of a type the simulator knows by name only."""

    kind: str
    origin: str = ""
    parts: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)
