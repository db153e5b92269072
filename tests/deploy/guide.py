"""docs/deploy.md and the units, as a test reads them."""

import re
import shlex
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
UNITS = REPOSITORY / "deploy" / "systemd"
TEXT = (REPOSITORY / "docs" / "deploy.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(sh|ini)( site| gpu)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(where: str = "") -> list[str]:
    """Lines of the shell blocks; of those marked `where` ("site", "gpu"), or of all."""
    found = [block for block in _BLOCK.findall(TEXT) if block[0] == "sh"]
    return [
        line
        for _kind, mark, body in found
        if not where or mark.strip() == where
        for line in body.splitlines()
        if line.strip()
    ]


def settings(where: str) -> dict[str, str]:
    """Variables of the settings blocks marked so, unquoted."""
    found = (body for kind, mark, body in _BLOCK.findall(TEXT) if (kind, mark.strip()) == ("ini", where))
    pairs = (line.partition("=") for body in found for line in body.splitlines() if "=" in line)
    return {name: " ".join(shlex.split(value)) if '"' in value else value for name, _, value in pairs}


def unit(name: str) -> dict[str, list[str]]:
    """The entries of a unit by key; a key may come several times."""
    entries: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text(encoding="utf-8").splitlines():
        key, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            entries.setdefault(key, []).append(value)
    return entries


def environment(name: str) -> dict[str, str]:
    """What the unit sets itself."""
    words = " ".join(unit(name).get("Environment", [])).split()
    return {key: value for key, _, value in (word.partition("=") for word in words)}
