"""The inputs a node has, read from its definition; some exist only because of what was given."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")


@dataclass(frozen=True, slots=True)
class Input:
    """One input: `kind` is a type name such as INT, or a list of choices."""

    name: str
    kind: str | list[Any]
    config: dict[str, Any]
    required: bool
    spec: list[Any]  # as /object_info shows it

    @property
    def choices(self) -> list[Any] | None:
        """The values allowed, None for anything but a choice."""
        if isinstance(self.kind, list):
            return self.kind
        if self.kind == "COMBO":
            options = self.config.get("options", [])
            return options if isinstance(options, list) else []
        return None

    @property
    def upload(self) -> str:
        """image, video, audio … for an input that names an uploaded file, else ""."""
        return next((key[:-7] for key, on in self.config.items() if key.endswith("_upload") and on), "")

    @property
    def lazy(self) -> bool:
        return bool(self.config.get("lazy"))


def inputs_of(definition: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[Input]:
    """All inputs of a node for what it was given, hidden ones left out."""
    yield from _expand(definition.get("input", {}), given, "")


def _expand(sections: Mapping[str, Any], given: Mapping[str, Any], prefix: str) -> Iterator[Input]:
    for section in ("required", "optional"):
        for name, spec in sections.get(section, {}).items():
            one = _input(prefix + name, list(spec), section == "required")
            if one.kind == "COMFY_AUTOGROW_V3":
                yield from _grown(one, given)
                continue
            yield one
            if one.kind == "COMFY_DYNAMICCOMBO_V3":
                yield from _chosen(one, given)


def _input(name: str, spec: list[Any], required: bool) -> Input:
    config = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    return Input(name, spec[0], config, required, spec)


def _chosen(one: Input, given: Mapping[str, Any]) -> Iterator[Input]:
    """The inputs that come with the chosen option: `format` = "mp4" brings `format.codec`."""
    for option in one.config.get("options", []):
        if option.get("key") == given.get(one.name):
            yield from _expand(option.get("inputs", {}), given, one.name + ".")


def _grown(one: Input, given: Mapping[str, Any]) -> Iterator[Input]:
    """The members of a list that grows: `values.a`, `values.b` …, the first `min` of them required."""
    template = one.config.get("template", {})
    sections = template.get("input", {})
    spec = next((spec for part in sections.values() for spec in part.values()), ["*"])
    least = int(template.get("min", 0)) if one.required else 0
    names = template.get("names") or [f"{template.get('prefix', '')}{n}" for n in range(least)]
    needed = [f"{one.name}.{name}" for name in names[:least]]
    for name in needed:
        yield _input(name, list(spec), True)
    for name in given:
        if name.startswith(one.name + ".") and name not in needed:
            yield _input(name, list(spec), False)


def is_link(value: object) -> bool:
    """Whether an input's value is taken for a link to another node: any list is."""
    return isinstance(value, list)


def is_model_file(value: object) -> bool:
    return isinstance(value, str) and value.lower().endswith(MODEL_SUFFIXES)
