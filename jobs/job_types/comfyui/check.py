"""May this graph run here, and what must be rewritten before it does? All problems are told at once."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jobs.job_types.base import Checked, Problem, Refusal, Surroundings, UploadedFile, stored_name
from jobs.job_types.comfyui import absent, definitions, graph, limits, stock
from jobs.job_types.comfyui.definitions import Spec
from jobs.job_types.comfyui.scene import Scene
from jobs.job_types.comfyui.traits import as_number

# Types that are only ever wired, so a literal or a foreign type there is surely a mistake.
WIRES = frozenset(
    {
        "AUDIO", "CLIP", "CLIP_VISION", "CLIP_VISION_OUTPUT", "CONDITIONING", "CONTROL_NET", "GUIDER",
        "IMAGE", "LATENT", "MASK", "MODEL", "NOISE", "SAMPLER", "SIGMAS", "STYLE_MODEL", "UPSCALE_MODEL",
        "VAE", "VIDEO",
    }
)  # fmt: skip
_FOLDER_ALIASES = {"diffusion_models": ("unet",), "text_encoders": ("clip",)}
_MODEL_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".sft", ".onnx")
_ANNOTATED = re.compile(r"\[(input|output|temp)\]\s*$")
_PATHLIKE = re.compile(r"path|folder|director|file", re.IGNORECASE)


def check(data: dict[str, Any], around: Surroundings) -> Checked:
    """See JobType.check; `data` is a graph in API form."""
    limit = limits.of(around)
    nodes = graph.structured(data, max_nodes=limit.nodes)
    strange = list(_strangers(nodes, around))
    if strange:
        raise Refusal(*strange[: graph.MAX_PROBLEMS])
    outputs, warnings = _outputs(nodes, around.node_definitions)
    nodes = _behind(nodes, outputs)
    bench = _Bench(nodes, around)
    for node_id in nodes:
        bench.node(node_id)
    unfamiliar = frozenset(n for n, node in nodes.items() if node["class_type"] not in stock.STOCK)
    scene = None
    if not bench.problems:
        scene = Scene(nodes, bench.files, outputs)
        bench.problems.extend(limits.exceeded(scene, limit, around.node_definitions, unfamiliar))
    if bench.problems:
        raise Refusal(*bench.problems[: graph.MAX_PROBLEMS])
    return Checked(
        payload=nodes,
        inputs=tuple(dict.fromkeys(bench.files.values())),
        titles={n: _title(node) for n, node in nodes.items()},
        model_files=tuple(dict.fromkeys(bench.models)),
        node_types=tuple(sorted({node["class_type"] for node in nodes.values()})),
        outputs=tuple(outputs),
        wires={n: frozenset(bench.wired(n)) for n in nodes},
        unfamiliar=unfamiliar,
        warnings=tuple(warnings),
        found=scene,
    )


def bind(payload: Mapping[str, Any], output_prefix: str) -> dict[str, Any]:
    """See JobType.bind: every filename_prefix becomes `<output_prefix>/<node id>`, no two alike."""
    taken: set[str] = set()
    bound: dict[str, Any] = {}
    for node_id, node in payload.items():
        inputs = dict(node["inputs"])
        if "filename_prefix" in inputs:
            inputs["filename_prefix"] = f"{output_prefix}/{_safe(node_id, taken)}"
        bound[node_id] = {**node, "inputs": inputs}
    return bound


def _safe(node_id: str, taken: set[str]) -> str:
    plain = re.sub(r"[^A-Za-z0-9]+", "-", node_id)[:60].strip("-") or "node"
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}-{number}", number + 1
    taken.add(name)
    return name


def _title(node: graph.Node) -> str:
    title = node.get("_meta", {}).get("title", "").strip()
    return title or str(node["class_type"])


# --- which nodes -----------------------------------------------------------------------------


def _strangers(nodes: graph.Graph, around: Surroundings) -> Iterator[Problem]:
    """A problem for every node that is unknown or not allowed."""
    for node_id, node in nodes.items():
        kind = node["class_type"]
        definition = around.node_definitions.get(kind)
        said = f"{kind} (node {node_id})"
        if not isinstance(definition, Mapping):
            yield absent.unknown_node(node_id, kind, around.agents_with.get(kind, ()))
        elif kind in around.allowed_node_types:
            continue
        elif _partner(definition):
            message = f"{said} calls a paid service outside, which this workshop has not switched on."
            yield Problem("partner_node", message, node_id, kind)
        elif kind not in stock.STOCK or str(definition.get("python_module", "")).startswith("custom_nodes"):
            why = stock.WITHHELD.get(kind, "it is not among the nodes this workshop has let in")
            message = f"{said} may not run: {why}. Your instructor can allow it by name."
            yield Problem("node_not_allowed", message, node_id, kind)


def _outputs(nodes: graph.Graph, node_definitions: Mapping[str, Any]) -> tuple[list[str], list[Problem]]:
    """Nodes that give something out, without those left unlinked while others are linked (ComfyUI skips
    them too): each of these is a warning. Raises `Refusal` (no_output)."""
    found: list[str] = []
    unlinked: list[str] = []
    for node_id, node in nodes.items():
        definition = node_definitions[node["class_type"]]
        if definition.get("output_node"):
            specs = definitions.inputs(definition)
            wires = [s.name for s in specs if s.required and not s.widget and s.type != definitions.AUTOGROW]
            loose = any(name not in node["inputs"] for name in wires)
            (unlinked if loose else found).append(node_id)
    if not found and not unlinked:
        raise Refusal(Problem("no_output", "Nothing is saved or shown: add a SaveImage node."))
    if not found:
        return unlinked, []
    kinds = {node_id: nodes[node_id]["class_type"] for node_id in unlinked}
    left_out = "is linked to nothing and was left out."
    return found, [
        Problem("output_not_linked", f"{kind} (node {node_id}) {left_out}", node_id, kind)
        for node_id, kind in list(kinds.items())[: graph.MAX_PROBLEMS]
    ]


def _behind(nodes: graph.Graph, outputs: list[str]) -> graph.Graph:
    """The outputs and all they depend on: ComfyUI looks at no other node."""
    seen, stack = set(outputs), list(outputs)
    while stack:
        for _, (source, _) in graph.links(nodes[stack.pop()]):
            if source not in seen:
                seen.add(source)
                stack.append(source)
    return {node_id: node for node_id, node in nodes.items() if node_id in seen}


def _partner(definition: Mapping[str, Any]) -> bool:
    category = str(definition.get("category", "")).lower()
    module = str(definition.get("python_module", ""))
    named = category.startswith(("api node", "partner"))
    return bool(definition.get("api_node")) or named or module.startswith("comfy_api_nodes")


# --- values ----------------------------------------------------------------------------------


@dataclass
class _Bench:
    """Checks values in place, node by node, and gathers what it finds."""

    nodes: graph.Graph
    around: Surroundings
    problems: list[Problem] = field(default_factory=list)
    files: dict[str, UploadedFile] = field(default_factory=dict)  # stored name → upload
    models: list[tuple[str, str]] = field(default_factory=list)
    carried: dict[graph.Link, str] = field(default_factory=dict)  # output → type of what it carries

    @cached_property
    def scene(self) -> Scene:
        """For the rare name that comes through a link; no node whose inputs are rewritten passes one on."""
        return Scene(self.nodes, {})

    def _constant(self, node_id: str, field: str) -> Any:
        value = self.nodes[node_id]["inputs"][field]
        return self.scene.value(node_id, field) if graph.link(value) else value

    def node(self, node_id: str) -> None:
        node = self.nodes[node_id]
        kind, inputs = node["class_type"], node["inputs"]
        for spec in definitions.expanded(self.around.node_definitions[kind], inputs):
            if spec.name == "filename_prefix":
                inputs[spec.name] = "output"  # bind() says where, for each attempt
                continue
            if spec.name not in inputs and not self._absent(node_id, spec):
                continue
            value = inputs[spec.name]
            if (kind in stock.FILE_INPUTS and spec.name == stock.FILE_INPUTS[kind]) or spec.uploads:
                inputs[spec.name] = self._file(node_id, spec, value)
            elif (folder := self._model_folder(kind, spec, value)) is not None:
                inputs[spec.name] = self._model(node_id, spec, value, folder)
            elif (link := graph.link(value)) is not None:
                self._link(node_id, spec, link)
            else:
                inputs[spec.name] = self._literal(node_id, spec, value)

    def wired(self, node_id: str) -> Iterator[str]:
        """Types of the outputs linked into a node, seen through switches and lists, which take any."""
        for _, link in graph.links(self.nodes[node_id]):
            yield self._carried(link)

    def _carried(self, link: graph.Link) -> str:
        """The type at an output; "*" where it can't be told."""
        passed: list[graph.Link] = []
        while link not in self.carried:
            source = self.nodes[link[0]]
            definition = self.around.node_definitions[source["class_type"]]
            types = definitions.output_types(definition)
            self.carried[link] = types[link[1]] if link[1] < len(types) else "*"
            if self.carried[link] != definitions.MATCH:
                break
            passed.append(link)
            any_type = {s.name for s in definitions.inputs(definition) if s.type in definitions.ANY_TYPES}
            within = (into for name, into in graph.links(source) if name.partition(".")[0] in any_type)
            link = next(within, link)
        found = self.carried[link]
        for each in passed:  # a long chain is walked once, not once for each user
            self.carried[each] = found
        return found

    def _say(self, node_id: str, spec: Spec, code: str, message: str) -> None:
        kind = self.nodes[node_id]["class_type"]
        said = f"{kind} (node {node_id}): {spec.name} {message}"
        self.problems.append(Problem(code, said, node_id, kind, spec.name))

    def _absent(self, node_id: str, spec: Spec) -> bool:
        """Fill a value an older file lacks, as the editor would. Is there one now?"""
        inputs = self.nodes[node_id]["inputs"]
        if spec.type == definitions.AUTOGROW:
            least = spec.options.get("template")
            wanted = least.get("min", 0) if isinstance(least, Mapping) and spec.required else 0
            if wanted and not any(name.startswith(f"{spec.name}.") for name in inputs):
                self._say(node_id, spec, "missing_input", "is not linked.")
        elif spec.required and spec.widget and not spec.uploads:
            inputs[spec.name] = spec.default()
            return True
        elif spec.required:
            self._say(node_id, spec, "missing_input", "is missing.")
        return False

    def _link(self, node_id: str, spec: Spec, link: graph.Link) -> None:
        source = self.nodes[link[0]]["class_type"]
        types = definitions.output_types(self.around.node_definitions[source])
        if link[1] >= len(types):
            self._say(node_id, spec, "bad_link", f"is linked to output {link[1]} of {source}: none.")
        elif spec.type in WIRES and types[link[1]] in WIRES and types[link[1]] != spec.type:
            self._say(node_id, spec, "wrong_type", f"takes {spec.type}, but {source} gives {types[link[1]]}.")

    # --- literals ---------------------------------------------------------------------------

    def _literal(self, node_id: str, spec: Spec, value: Any) -> Any:
        if isinstance(value, dict) and list(value) == ["__value__"] and isinstance(value["__value__"], list):
            # a list, wrapped so that ComfyUI doesn't take it for a link
            return {"__value__": self._literal(node_id, spec, value["__value__"])}
        if spec.type in ("INT", "FLOAT"):
            return self._number(node_id, spec, value)
        if spec.type in ("COMBO", definitions.DYNAMIC_COMBO):
            return self._choice(node_id, spec, value)
        if spec.type == "BOOLEAN":
            return self._boolean(node_id, spec, value)
        if spec.type == "STRING":
            return self._text(node_id, spec, value)
        if spec.type in WIRES and (spec.required or value is not None):
            self._say(node_id, spec, "not_linked", f"must be linked to a {spec.type}.")
        return value

    def _number(self, node_id: str, spec: Spec, value: Any) -> Any:
        number = None if isinstance(value, bool) else as_number(value)
        if number is None:
            self._say(node_id, spec, "not_a_number", "is not a number.")
            return value
        exact: int | float = number
        if spec.type == "INT":  # a seed above 2^53 must not pass through a float
            exact = value if isinstance(value, int) else int(number)
        low, high = as_number(spec.options.get("min")), as_number(spec.options.get("max"))
        if low is not None and exact < low:
            self._say(node_id, spec, "too_small", f"is {exact:g}; at least {low:g} is needed.")
        elif high is not None and exact > spec.options["max"]:
            self._say(node_id, spec, "too_large", f"is {exact:g}; at most {high:g} is possible.")
        return exact

    def _choice(self, node_id: str, spec: Spec, value: Any) -> Any:
        choices = spec.choices or ()
        if isinstance(value, list) and spec.options.get("multiselect"):
            return [self._choice(node_id, spec, one) for one in value[:100]]
        if not isinstance(value, str | int | float):
            self._say(node_id, spec, "not_a_choice", "is not one of the choices.")
        elif choices and value not in choices and not self._elsewhere(node_id, spec):
            offered = ", ".join(str(choice) for choice in choices[:8])
            shown = str(value)[:80]
            self._say(
                node_id,
                spec,
                "not_a_choice",
                f"is {shown!r}; there are: {offered}" + "…" * (len(choices) > 8),
            )
        return value

    def _elsewhere(self, node_id: str, spec: Spec) -> bool:
        """May the choice be one that only another host or a service knows?"""
        kind = self.nodes[node_id]["class_type"]
        return bool(spec.options.get("remote")) or (
            self.around.any_model and (kind, spec.name) in stock.HOST_CHOICES
        )

    def _boolean(self, node_id: str, spec: Spec, value: Any) -> Any:
        if not isinstance(value, bool | int | float):
            self._say(node_id, spec, "not_a_boolean", "is neither true nor false.")
            return value
        return bool(value)

    def _text(self, node_id: str, spec: Spec, value: Any) -> Any:
        if isinstance(value, int | float):
            return str(value)
        if not isinstance(value, str):
            self._say(node_id, spec, "not_a_text", "is not a text.")
        elif self._foreign_path(node_id, spec, value):
            self._say(node_id, spec, "foreign_path", "leads outside the folders of a job.")
        return value

    def _foreign_path(self, node_id: str, spec: Spec, value: str) -> bool:
        """Nodes let in by name may take paths; none may leave ComfyUI's own folders."""
        if self.nodes[node_id]["class_type"] in stock.STOCK or not _PATHLIKE.search(spec.name):
            return False
        return ".." in value or bool(re.match(r"\s*([/\\~]|[A-Za-z]:|file:)", value))

    # --- files ------------------------------------------------------------------------------

    def _file(self, node_id: str, spec: Spec, value: Any) -> Any:
        """The stored name of the upload a file input names."""
        link = graph.link(value)
        if link is not None and spec.type not in ("COMBO", "STRING"):
            self._link(node_id, spec, link)
            return value
        name = self._constant(node_id, spec.name)
        if name == "" and spec.type != "COMBO":
            return name
        if isinstance(name, str) and self.nodes[node_id]["class_type"] in stock.DRAWN_FILES:
            name = _ANNOTATED.sub("", name).strip()  # kept by the editor in a folder of its own
        if not isinstance(name, str):
            self._say(node_id, spec, "file_not_named", "must name one of your uploads.")
        elif _ANNOTATED.search(name) or ".." in name or name.startswith(("/", "\\", "~")) or ":" in name[:3]:
            self._say(node_id, spec, "foreign_file", f"is {name[:120]!r}: only your own uploads can be read.")
        else:
            uploads = self.around.uploads
            upload = uploads.get(name) or uploads.get(name.replace("\\", "/").rsplit("/", 1)[-1])
            if upload is not None:
                self.files[stored_name(upload)] = upload
                return stored_name(upload)
            self._say(node_id, spec, "missing_upload", f"names {name[:120]!r}, which you have not uploaded.")
        return value

    # --- models -----------------------------------------------------------------------------

    def _model_folder(self, kind: str, spec: Spec, value: Any) -> str | None:
        """The models folder an input's name is looked up in; "" where only its suffix tells a model."""
        known = stock.MODEL_INPUTS.get(kind, {}).get(spec.name)
        if known is not None:
            return known
        looks = isinstance(value, str) and value.lower().endswith(_MODEL_SUFFIXES)
        return "" if looks and spec.type == "COMBO" else None

    def _model(self, node_id: str, spec: Spec, value: Any, folder: str) -> Any:
        name = self._constant(node_id, spec.name)
        if not isinstance(name, str) or not name:
            self._say(node_id, spec, "model_not_named", "must name a model file.")
            return value
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or ":" in name:
            self._say(node_id, spec, "foreign_model", f"is {name[:120]!r}, which is no model's name.")
            return value
        if name in stock.BUILT_IN_MODELS:
            return name
        self.models.append((folder, name))
        if not (self.around.any_model or name in (spec.choices or ()) or self._present(folder, name)):
            kind = self.nodes[node_id]["class_type"]
            self.problems.append(absent.missing_model(node_id, kind, spec.name, name, folder))
        return name

    def _present(self, folder: str, name: str) -> bool:
        wanted = name.replace("\\", "/")
        folders: Collection[str] = (
            (folder, *_FOLDER_ALIASES.get(folder, ())) if folder else self.around.models
        )
        held = (one for each in folders for one in self.around.models.get(each, ()))
        return any(one.replace("\\", "/") == wanted for one in held)
