"""The three folders of a ComfyUI: input, output, temp; and the names clients use for what lies in them."""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

KINDS = ("input", "output", "temp")
_ANNOTATION = re.compile(r"^(.*?)\s*\[(input|output|temp)\]$")


class OutsideFolder(Exception):
    """The name leads out of its folder."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A file an output node wrote, as the history names it."""

    filename: str
    subfolder: str
    kind: str

    def shown(self) -> dict[str, str]:
        return {"filename": self.filename, "subfolder": self.subfolder, "type": self.kind}


class Folders:
    """Creates the folders; whatever the last process left in temp is removed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.rmtree(root / "temp", ignore_errors=True)
        for kind in KINDS:
            (root / kind).mkdir(parents=True, exist_ok=True)

    def of(self, kind: str) -> Path:
        """Folder of a kind. Raises KeyError for an unknown one."""
        if kind not in KINDS:
            raise KeyError(kind)
        return self.root / kind

    def inside(self, kind: str, subfolder: str, name: str = "") -> Path:
        """A path below that folder. Raises `OutsideFolder`."""
        base = self.of(kind).resolve()
        path = (base / subfolder / name).resolve()
        if path != base and base not in path.parents:
            raise OutsideFolder(str(path))
        return path

    def uploaded(self, annotated: str) -> Path:
        """The file a node's input names, "sub/x.png" or "x.png [temp]". Raises `OutsideFolder`."""
        name, kind = split_annotation(annotated, "input")
        return self.inside(kind, name)

    def has_upload(self, annotated: str) -> bool:
        try:
            return self.uploaded(annotated).is_file()
        except (OutsideFolder, ValueError):
            return False

    def next_names(self, kind: str, prefix: str, ending: str, count: int) -> list[tuple[Path, Saved]]:
        """Paths for `count` new files. `ending` follows the number: "_.png" or ".flac".

        Raises `OutsideFolder` when the prefix leads out of the folder.
        """
        subfolder, _, name = prefix.rpartition("/")
        folder = self.inside(kind, subfolder)
        folder.mkdir(parents=True, exist_ok=True)
        pattern = re.compile(re.escape(name) + r"_(\d+)")
        taken = [int(found[1]) for path in folder.iterdir() if (found := pattern.match(path.name))]
        first = max(taken, default=0) + 1
        names = [f"{name}_{number:05}{ending}" for number in range(first, first + count)]
        return [(folder / one, Saved(one, subfolder, kind)) for one in names]

    def store_upload(self, kind: str, subfolder: str, name: str, body: bytes, *, overwrite: bool) -> str:
        """Write an upload; a taken name gets a number unless the bytes are equal. Returns the name used."""
        folder = self.inside(kind, subfolder)
        folder.mkdir(parents=True, exist_ok=True)
        stem, dot, suffix = name.rpartition(".")
        chosen, number = name, 1
        while not overwrite and (folder / chosen).exists():
            if _digest((folder / chosen).read_bytes()) == _digest(body):
                return chosen
            chosen = f"{stem} ({number}){dot}{suffix}" if dot else f"{name} ({number})"
            number += 1
        (folder / chosen).write_bytes(body)
        return chosen

    def listing(self, kind: str) -> list[str]:
        """Names of the files right in that folder, newest first."""
        files = [path for path in self.of(kind).iterdir() if path.is_file()]
        return [path.name for path in sorted(files, key=lambda path: -path.stat().st_mtime_ns)]


def split_annotation(name: str, default: str) -> tuple[str, str]:
    """("x.png", "temp") for "x.png [temp]"."""
    found = _ANNOTATION.match(name)
    return (found[1], found[2]) if found else (name, default)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()
