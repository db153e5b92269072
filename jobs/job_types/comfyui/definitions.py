"""Reading ComfyUI's node definitions (/object_info): inputs of a node in order, old and new spelling."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
AUTOGROW = "COMFY_AUTOGROW_V3"
MATCH = "COMFY_MATCHTYPE_V3"
ANY_TYPES = frozenset({MATCH, AUTOGROW, "*"})  # inputs that take whatever is wired to them
# Types whose value is typed in rather than wired, unless forceInput says otherwise.
WIDGET_TYPES = frozenset(
    "INT FLOAT STRING BOOLEAN COMBO COLOR COLORS CURVE BOUNDING_BOX BOUNDING_BOXES COMPOSITOR IMAGECOMPARE "
    f"LOAD_3D WEBCAM AUDIO_RECORD {DYNAMIC_COMBO}".split()
)
UPLOAD_OPTIONS = ("image_upload", "video_upload", "audio_upload", "file_upload")

MOST_READ = 5_000  # definitions whose inputs are kept


@dataclass(frozen=True, slots=True)
class Spec:
    """One input of a node definition."""

    name: str
    type: str  # COMBO also where the definition has a list of choices in the type's place
    options: Mapping[str, Any]
    choices: tuple[Any, ...] | None  # of a COMBO; keys of a dynamic combo
    required: bool

    @property
    def widget(self) -> bool:
        """Is its value typed in (and so has a default), not only wired?"""
        if self.options.get("forceInput"):
            return False
        return self.type in WIDGET_TYPES or bool(self.options.get("widgetType"))

    @property
    def uploads(self) -> bool:
        """Does it name a file of ComfyUI's input folder?"""
        return any(self.options.get(option) for option in UPLOAD_OPTIONS)

    def default(self) -> Any:
        """What the editor would send where the file says nothing."""
        if "default" in self.options:
            return self.options["default"]
        if self.choices is not None:
            return self.choices[0] if self.choices else None
        return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(self.type, "")


# By identity, beside the definition itself: that keeps the identity from being given to another.
_read: dict[int, tuple[Mapping[str, Any], tuple[Spec, ...]]] = {}


def inputs(definition: Mapping[str, Any]) -> tuple[Spec, ...]:
    """Required, then optional inputs, each in `input_order` where given. Neither the definition nor what is
    returned may be changed afterwards: a workflow asks for the same few again and again."""
    known = _read.get(id(definition))
    if known is None or known[0] is not definition:
        if len(_read) >= MOST_READ:
            _read.clear()
        known = definition, tuple(_sections(definition.get("input"), definition.get("input_order")))
        _read[id(definition)] = known
    return known[1]


def children(spec: Spec, value: Any) -> list[Spec]:
    """Inputs the chosen option of a dynamic combo brings, named `parent.child`."""
    if spec.type != DYNAMIC_COMBO or not isinstance(value, str):
        return []
    for option in spec.options.get("options") or ():
        if isinstance(option, Mapping) and option.get("key") == value:
            return [
                Spec(f"{spec.name}.{child.name}", child.type, child.options, child.choices, child.required)
                for child in _sections(option.get("inputs"), None)
            ]
    return []


def expanded(definition: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Spec]:
    """All inputs a node with these values has, children of dynamic combos right after their parent."""
    stack = list(reversed(inputs(definition)))
    while stack:
        spec = stack.pop()
        yield spec
        if spec.type == DYNAMIC_COMBO:
            stack.extend(reversed(children(spec, values.get(spec.name, spec.default()))))


def output_types(definition: Mapping[str, Any]) -> list[str]:
    """Type of each output slot; a list of choices counts as COMBO."""
    found = definition.get("output")
    return [kind if isinstance(kind, str) else "COMBO" for kind in found] if isinstance(found, list) else []


def _sections(found: Any, order: Any) -> list[Spec]:
    specs: list[Spec] = []
    for section in ("required", "optional"):
        entries = found.get(section) if isinstance(found, Mapping) else None
        if not isinstance(entries, Mapping):
            continue
        names = order.get(section) if isinstance(order, Mapping) else None
        listed = [name for name in names if name in entries] if isinstance(names, list) else []
        for name in [*listed, *(name for name in entries if name not in set(listed))]:
            specs.append(_spec(name, entries[name], required=section == "required"))
    return specs


def _spec(name: str, entry: Any, *, required: bool) -> Spec:
    kind: Any = entry[0] if isinstance(entry, list) and entry else "*"
    options = entry[1] if isinstance(entry, list) and len(entry) > 1 and isinstance(entry[1], Mapping) else {}
    choices: tuple[Any, ...] | None = None
    if isinstance(kind, list):
        kind, choices = "COMBO", tuple(kind)
    elif kind == "COMBO":
        choices = tuple(options.get("options") or ())
    elif kind == DYNAMIC_COMBO:
        choices = tuple(
            option.get("key") for option in options.get("options") or () if isinstance(option, Mapping)
        )
    return Spec(name, kind if isinstance(kind, str) else "*", options, choices, required)
