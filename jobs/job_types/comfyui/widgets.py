"""Which stored value belongs to which widget: the editor keeps them by position, with extras in between."""

import math
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from jobs.job_types.comfyui import definitions
from jobs.job_types.comfyui.definitions import Spec
from jobs.job_types.comfyui.ui_file import UiNode

MAX_BRACES = 30  # nested in one another
MAX_OPTIONS = 100  # a CustomCombo lists so many at most
_BOX_FIELDS = 4  # a bounding box is followed by its four numbers
_BROWSER_TYPES = frozenset({"LOAD_3D"})  # pictures that only an open editor could draw


def own_values(node: UiNode, definition: Mapping[str, Any]) -> dict[str, Any]:
    """Value of every widget the node itself holds, links aside, in the definition's order."""
    if isinstance(node.values, dict):
        return _by_name(node.values, definition)
    return _Reader(node, definition).read(node.values)


def other_version(node: UiNode, values: Mapping[str, Any]) -> bool:
    """Did another version of the node write the file? Names it keeps beside the positions tell."""
    return not set(node.told) <= {*values, "control_after_generate"}


def sensible(definition: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Could each value be meant for the input it is read for?"""
    return all(
        _fits(spec, values[spec.name])
        for spec in definitions.expanded(definition, values)
        if spec.widget and spec.name in values
    )


def by_name_or_default(
    definition: Mapping[str, Any], told: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(values as the file tells them by name, defaults where those fit nothing; the latter alone)."""
    made: dict[str, Any] = {}
    replaced: dict[str, Any] = {}
    stack = list(reversed(definitions.inputs(definition)))
    while stack:
        spec = stack.pop()
        if not spec.widget:
            continue
        value = told.get(spec.name, spec.default())
        if not _fits(spec, value):
            value = replaced[spec.name] = spec.default()
        made[spec.name] = value
        stack.extend(reversed(definitions.children(spec, value)))
    return made, replaced


def _fits(spec: Spec, value: Any) -> bool:
    """Only what is surely wrong doesn't: a choice that looks like a file's name may be another host's."""
    if spec.type in ("INT", "FLOAT"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = spec.options.get("min", -math.inf), spec.options.get("max", math.inf)
        return bool(low <= value <= high)
    if spec.type == "BOOLEAN":
        return isinstance(value, bool)
    if spec.type == "STRING":
        return isinstance(value, str)
    if spec.type in ("COMBO", definitions.DYNAMIC_COMBO) and spec.choices and not spec.options.get("remote"):
        return value in spec.choices or (isinstance(value, str) and "." in value)
    return True


def sent(value: Any) -> Any:
    """As the editor sends a value: a list is wrapped, lest ComfyUI take it for a link."""
    return {"__value__": value} if isinstance(value, list) else value


def plain_text(value: Any, salt: str) -> Any:
    """A dynamic prompt's text: comments go, `{a|b}` becomes one of its parts. Which one depends on the salt
    (the file) alone, so that the same file asks for the same work every time."""
    if not isinstance(value, str):
        return value
    made: list[list[str]] = [[]]  # pieces of the text, then of each open brace's present part
    parts: list[list[str]] = []  # finished parts of each open brace
    for piece in re.findall(r"\\[{}|]|[{}|]|[^\\{}|]+|\\", _without_comments(value)):
        if piece == "{" and len(parts) < MAX_BRACES:
            parts.append([])
            made.append([])
        elif piece == "|" and parts:
            parts[-1].append("".join(made.pop()))
            made.append([])
        elif piece == "}" and parts:
            choices = [*parts.pop(), "".join(made.pop())]
            digest = sha256(f"{salt}:{len(parts)}:{choices}".encode(errors="replace")).digest()
            made[-1].append(choices[int.from_bytes(digest[:4]) % len(choices)])
        else:
            made[-1].append(piece[1:] if len(piece) == 2 and piece[0] == "\\" else piece)
    while parts:  # an opening brace that nothing closes stands for itself
        made[-2].append("{" + "|".join([*parts.pop(), "".join(made.pop())]))
    return "".join(made[0])


def _without_comments(text: str) -> str:
    """Without `/* */` and `// to the end of the line`; an unclosed `/*` stands for itself."""
    kept: list[str] = []
    at, last = 0, text.rfind("*/")
    for found in re.finditer(r"/\*|//[^\n]*", text):
        if found.start() < at:
            continue
        end = found.end()
        if found[0] == "/*":
            end = text.find("*/", end) + 2 if end <= last else 0
            if end < 2:
                continue
        kept.append(text[at : found.start()])
        at = end
    return "".join(kept) + text[at:]


def browser_only(definition: Mapping[str, Any]) -> bool:
    """Does the node hold something only an open editor could make?"""
    return any(spec.type in _BROWSER_TYPES for spec in definitions.inputs(definition))


def _by_name(values: Mapping[str, Any], definition: Mapping[str, Any]) -> dict[str, Any]:
    specs = [spec for spec in definitions.expanded(definition, values) if spec.widget]
    return {s.name: _tidied(s, values[s.name]) if s.name in values else s.default() for s in specs}


def _tidied(spec: Spec, value: Any) -> Any:
    if spec.type == "COMBO":
        if value is None:
            return spec.choices[0] if spec.choices else None
        if isinstance(value, str) and value.startswith("sample_"):
            return value.removeprefix("sample_")
    return "" if spec.type in _BROWSER_TYPES else value


def _control(spec: Spec) -> bool:
    """Is the number followed by "fixed", "randomize", …?"""
    if "." in spec.name or spec.type not in ("INT", "COMBO"):
        return False
    told = spec.options.get("control_after_generate")
    if spec.type == "INT" and told is None:
        return spec.name in ("seed", "noise_seed")
    return bool(told)


class _Reader:
    """Reads one node's positional values."""

    def __init__(self, node: UiNode, definition: Mapping[str, Any]) -> None:
        self.node = node
        self.definition = definition
        self.left: list[Any] = []

    def read(self, values: list[Any]) -> dict[str, Any]:
        self.left = list(reversed(values))
        forced = self._holds_forced(len(values))
        found: dict[str, Any] = {}
        stack = list(reversed(definitions.inputs(self.definition)))
        while stack:
            spec = stack.pop()
            if forced and not spec.widget and spec.options.get("forceInput"):
                self._skip(1 if spec.type in definitions.WIDGET_TYPES else 0)
            elif spec.type == "IMAGECOMPARE":
                found[spec.name] = ["", ""]  # sent wrapped, as every list
            elif spec.widget:
                found[spec.name] = self._take(spec)
                found.update(self._extras(spec))
                stack.extend(reversed(definitions.children(spec, found[spec.name])))
        return found

    def _take(self, spec: Spec) -> Any:
        if spec.type == "AUDIO_RECORD" and not self.left:
            return spec.default()
        return _tidied(spec, self.left.pop()) if self.left else spec.default()

    def _skip(self, count: int) -> None:
        del self.left[len(self.left) - min(count, len(self.left)) :]

    def _extras(self, spec: Spec) -> Iterator[tuple[str, Any]]:
        """Entries after a widget's own: skipped, or sent under a name of their own."""
        if _control(spec):
            self._skip(2 if spec.type == "COMBO" else 1)
        if spec.options.get("remote"):
            self._skip(2)
            yield "refresh", "refresh"
        if spec.type == "BOUNDING_BOX":
            self._skip(_BOX_FIELDS)
        if self.node.type == "CustomCombo" and spec.name == "choice":
            yield from self._options()
        if self.node.type in ("Load3D", "Load3DAdvanced") and spec.name == "model_file":
            for name in ("upload 3d model", "upload extra resources", "clear"):
                yield name, self.left.pop() if self.left else ""
        if self.node.type == "Preview3D" and spec.name == "model_file":
            yield "image", ""
        if self.node.type == "SaveGLB" and spec.name == "filename_prefix":
            yield "image", ""

    def _options(self) -> Iterator[tuple[str, Any]]:
        yield "index", self.left.pop() if self.left else 0
        texts = [value for value in reversed(self.left) if value != ""][:MAX_OPTIONS]
        self.left = []
        for number, text in enumerate([*texts, ""], start=1):
            yield f"option{number}", text

    def _holds_forced(self, count: int) -> bool:
        """Old files keep a value for inputs that are now only wired: told by the number of values."""
        specs = definitions.inputs(self.definition)
        forced = sum(
            1 for spec in specs if spec.options.get("forceInput") and spec.type in definitions.WIDGET_TYPES
        )
        plain = sum(1 for spec in specs if spec.widget and spec.type != "IMAGECOMPARE")
        controls = sum(1 for spec in specs if spec.widget and _control(spec))
        return forced > 0 and count in (plain + forced, plain + forced + controls)
