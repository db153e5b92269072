"""The editor's file made into the graph ComfyUI takes, as the editor itself would.

Rules of the editor that matter: values by position, links followed through reroutes, bypassed nodes and
subgraphs, promoted widgets' values handed in from outside. What the editor would break on is refused.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, NoReturn

from jobs.job_types.base import Problem, Refusal
from jobs.job_types.comfyui import absent, definitions, graph, ui_file, widgets
from jobs.job_types.comfyui.definitions import Spec
from jobs.job_types.comfyui.ui_file import BYPASSED, MUTED, Level, Socket, UiFile, UiNode

MAX_DEPTH = 32  # subgraphs in subgraphs
MAX_STEPS = 300_000  # hops along links in one file
_NOT_SENT = frozenset({"Note", "MarkdownNote", "PrimitiveNode", "Reroute", "SetNode", "GetNode"})
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Converted:
    """The API graph, and what its author should know about the conversion."""

    graph: dict[str, Any]
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What feeds an input: a link, or (`link` is None) a value. `handed_in`: by a promoted widget, to every
    input behind it, plain sockets too; no dynamic prompt any more."""

    link: list[Any] | None = None
    value: Any = None
    handed_in: bool = False


@dataclass(eq=False, slots=True)
class Scope:
    """One placing of a graph: the top, or a subgraph's inside at one instance.

    `hosted`: values the instance gives to promoted inputs, by index; `inside`: values it sets on inner
    widgets directly: node id → widget → value."""

    prefix: str
    level: Level
    parent: "Scope | None" = None
    instance: UiNode | None = None
    hosted: dict[int, Any] = field(default_factory=dict)
    inside: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: dict[str, "Scope"] = field(default_factory=dict)
    own: dict[str, dict[str, Any]] = field(default_factory=dict)


def convert(
    data: Mapping[str, Any],
    node_definitions: Mapping[str, Any],
    agents_with: Mapping[str, Collection[str]] | None = None,
) -> Converted:
    """The graph of a parsed UI file; for `agents_with` see Surroundings. Raises `Refusal`: unknown_node and
    old_group_node (all of them at once), too_many_nodes, too_deep, recursive_subgraph, loop, too_many_links,
    bad_ui_file."""
    return _Converter(data, node_definitions, agents_with or {}).convert()


class _Converter:
    def __init__(
        self,
        data: Mapping[str, Any],
        node_definitions: Mapping[str, Any],
        agents_with: Mapping[str, Collection[str]],
    ) -> None:
        self.data = data
        self.file: UiFile = ui_file.read(data)
        self.node_definitions = node_definitions
        self.agents_with = agents_with
        self.steps = 0
        self.placed = 0
        self.warnings: dict[tuple[str, str, str], Problem] = {}

    def convert(self) -> Converted:
        top = Scope("", self.file.top)
        scopes = list(self._scopes(top))
        active = ((scope, node) for scope in scopes for node in _active(scope))
        strange = [problem for scope, node in active for problem in self._strange(scope, node)]
        if strange:
            raise Refusal(*strange[: graph.MAX_PROBLEMS])
        made: dict[str, Any] = {}
        for scope in scopes:
            for node in _active(scope):
                if node.type not in self.file.subgraphs and node.type not in _NOT_SENT:
                    made[scope.prefix + node.id] = self._node(scope, node)
        return Converted(made, tuple(self.warnings.values())[: graph.MAX_PROBLEMS])

    def _step(self, count: int = 1) -> None:
        self.steps += count
        if self.steps > MAX_STEPS:
            _refuse("too_many_links", "The workflow's links and subgraphs are too many to follow.")

    # --- placing subgraphs -----------------------------------------------------------------

    def _scopes(self, top: Scope) -> Iterator[Scope]:
        """Every placing of a graph that runs, outer ones first."""
        stack: list[tuple[Scope, tuple[str, ...]]] = [(top, ())]
        while stack:
            scope, within = stack.pop()
            yield scope
            for node in scope.level.nodes.values():
                self.placed += 1
                if self.placed > graph.MAX_NODES:
                    limit = f"{graph.MAX_NODES:,}"
                    _refuse("too_many_nodes", f"With its subgraphs the workflow has more than {limit} nodes.")
                if node.type in self.file.subgraphs and node.mode not in (MUTED, BYPASSED):
                    place = scope.prefix + node.id
                    if node.type in within:
                        _refuse("recursive_subgraph", f"The subgraph of node {place} holds itself.", place)
                    if len(within) >= MAX_DEPTH:
                        _refuse("too_deep", f"Subgraphs nest deeper than {MAX_DEPTH} levels.", place)
                    scope.children[node.id] = self._placed(scope, node)
                    stack.append((scope.children[node.id], (*within, node.type)))

    def _placed(self, scope: Scope, node: UiNode) -> Scope:
        """The inside of an instance, with the values its widgets hand in."""
        level = self.file.subgraphs[node.type]
        child = Scope(f"{scope.prefix}{node.id}:", level, scope, node)
        values = node.values if isinstance(node.values, list) else []
        entries = ui_file.proxies(node)
        self._step(len(level.inputs) + len(entries or ()))
        for index, value in zip(level.promoted(), values, strict=False):
            if value is not None:
                child.hosted[index] = value
        for entry, value in zip(entries or (), values, strict=False):
            if value is not None:
                self._proxied(child, entry, value)
        for widget, value in scope.inside.get(node.id, {}).items():
            self._set_from_outside(child, entries, widget, value)
        return child

    def _proxied(self, child: Scope, entry: tuple[str, str], value: Any) -> None:
        index = child.level.promotions.get(entry)
        if index is not None:
            child.hosted[index] = value
        elif entry[0] != "-1":
            child.inside.setdefault(entry[0], {})[entry[1]] = value

    def _set_from_outside(
        self, child: Scope, entries: list[tuple[str, str]] | None, widget: str, value: Any
    ) -> None:
        """An outer instance sets a widget of this one: a promoted input by name, else what it proxies."""
        index = child.level.promotions.get(("-1", widget))
        if index is not None:
            child.hosted[index] = value
            return
        for entry in entries or ():
            if entry[1] == widget:
                self._proxied(child, entry, value)
                return

    # --- nodes -----------------------------------------------------------------------------

    def _strange(self, scope: Scope, node: UiNode) -> Iterator[Problem]:
        if node.type in self.node_definitions or node.type in self.file.subgraphs or node.type in _NOT_SENT:
            return
        node_id = scope.prefix + node.id
        if _UUID.fullmatch(node.type) or node.type.startswith("workflow>"):
            message = f"Node {node_id} is a group the file does not hold: save it in a current ComfyUI."
            yield Problem("old_group_node", message, node_id, node.type)
            return
        package = node.properties.get("cnr_id")
        agents = self.agents_with.get(node.type, ())
        yield absent.unknown_node(node_id, node.type, agents, package if isinstance(package, str) else "")

    def _node(self, scope: Scope, node: UiNode) -> dict[str, Any]:
        definition = self.node_definitions[node.type]
        node_id = scope.prefix + node.id
        own = self._own(scope, node)
        specs = {spec.name: spec for spec in definitions.expanded(definition, own)}
        inputs: dict[str, Any] = {}
        for name, value in own.items():
            spec = specs.get(name)
            raw = name in scope.inside.get(node.id, {}) or spec is None
            inputs[name] = widgets.sent(value if raw or spec is None else self._said(value, spec, node_id))
        for socket in node.sockets:
            if socket.link is None or not _counts(socket, specs):
                continue
            spec = specs.get(socket.name)
            found = self._feeding(scope, node, socket.link, spec.type if spec else socket.type)
            if found is not None and found.link is not None:
                inputs[socket.name] = found.link
            elif found is not None and spec is not None and (spec.widget or found.handed_in):
                inputs[socket.name] = widgets.sent(
                    found.value if found.handed_in else self._said(found.value, spec, node_id)
                )
        if widgets.browser_only(definition):
            self._warn("needs_browser", node_id, node.type, "holds a view that only an open editor can draw.")
        title = node.title or definition.get("display_name") or node.type
        return {"class_type": node.type, "inputs": inputs, "_meta": {"title": str(title)}}

    def _said(self, value: Any, spec: Spec, node_id: str) -> Any:
        if not spec.options.get("dynamicPrompts"):
            return value
        chosen = isinstance(value, str) and "{" in value  # the salt, costly to make, is for choices alone
        return widgets.plain_text(value, f"{self._salt}:{node_id}:{spec.name}" if chosen else "")

    @cached_property
    def _salt(self) -> str:
        text = json.dumps(self.data, sort_keys=True)
        return sha256(text.encode(errors="replace")).hexdigest()

    def _own(self, scope: Scope, node: UiNode) -> dict[str, Any]:
        """The values a node's widgets hold, with those its subgraph's instance sets directly."""
        if node.id not in scope.own:
            definition = self.node_definitions[node.type]
            values = widgets.own_values(node, definition)
            if widgets.other_version(node, values):
                values = self._amended(scope.prefix + node.id, node, values)
            inside = scope.inside.get(node.id, {})
            values.update({name: value for name, value in inside.items() if name in values})
            scope.own[node.id] = values
        return scope.own[node.id]

    def _amended(self, node_id: str, node: UiNode, values: dict[str, Any]) -> dict[str, Any]:
        """Another version of the node wrote the file, so positions may have shifted. Where they no longer
        make sense, the names beside them are gone by, and what fits nothing here becomes the default."""
        self._warn("other_version", node_id, node.type, "was saved by another version of it.")
        definition = self.node_definitions[node.type]
        if widgets.sensible(definition, values):
            return values
        amended, replaced = widgets.by_name_or_default(definition, node.told)
        for name, value in replaced.items():
            told = f"has no {name} {str(node.told.get(name))[:60]!r} here: {value!r} stands in."
            self._warn("value_replaced", node_id, node.type, told)
        return amended

    def _warn(self, code: str, node_id: str, kind: str, message: str) -> None:
        said = f"{kind} (node {node_id}) {message}"
        self.warnings.setdefault((code, node_id, message), Problem(code, said, node_id, kind))

    # --- links -----------------------------------------------------------------------------

    def _feeding(self, scope: Scope, node: UiNode, link: str, wanted: str) -> Found | None:
        """What a link brings; None where it leads nowhere, so that a widget keeps its own value."""
        seen: set[tuple[int, str]] = set()
        rerouted = False
        at: Scope = scope
        next_link: str | None = link
        while next_link is not None:
            self._step()
            if (id(at), next_link) in seen:
                place = scope.prefix + node.id
                _refuse("loop", f"The links behind node {place} run in a circle.", place)
            seen.add((id(at), next_link))
            origin = at.level.links.get(next_link)
            if origin is None:
                break
            if origin[0] == ui_file.INPUT_BOUNDARY and at.parent is not None and at.instance is not None:
                outer = _outer_link(at, origin[1])
                if outer is None:
                    return self._handed_in(at, origin[1])
                at, next_link = at.parent, outer
                continue
            source = at.level.nodes.get(origin[0])
            if source is None:
                break
            if source.type == "PrimitiveNode":
                return Found(value=source.first_value) if source.values and not rerouted else None
            if source.mode == MUTED:
                return None
            if source.type in ("Reroute", "SetNode"):
                rerouted = rerouted or source.type == "Reroute"
                next_link = source.sockets[0].link if source.sockets else None
            elif source.type == "GetNode":
                at, next_link = self._set_node(at, source)
            elif source.mode == BYPASSED:
                next_link = self._passed(source, origin[1], wanted)
            elif source.id in at.children:
                at = at.children[source.id]
                outputs = at.level.outputs
                leading = outputs[origin[1]].links if origin[1] < len(outputs) else ()
                next_link = next((each for each in leading if each in at.level.links), None)
            else:
                return Found(link=[at.prefix + source.id, origin[1]])
        else:
            return None
        self._warn("broken_link", scope.prefix + node.id, node.type, "had a link to nothing: dropped.")
        return None

    def _set_node(self, at: Scope, getter: UiNode) -> tuple[Scope, str | None]:
        """The link into the SetNode of a GetNode's name, in this graph, then outwards."""
        scope: Scope | None = at
        while scope is not None:
            setter = scope.level.setters.get(str(getter.first_value))
            if setter is not None:
                return scope, setter.sockets[0].link if setter.sockets else None
            scope = scope.parent
        return at, None

    def _passed(self, node: UiNode, slot: int, wanted: str) -> str | None:
        """The link that a bypassed node lets through to its output `slot`."""
        self._step(20)  # the whole definition is gone through
        ways = self._ways(node)
        if wanted == "*":
            chosen = ways[slot] if slot < len(ways) else next(iter(ways), None)
            return chosen[1] if chosen else None
        given = self._output_type(node, slot)
        if slot < len(ways) and _fits(ways[slot][0], given):
            return ways[slot][1]
        return next((link for kind, link in ways if kind == wanted), None)

    def _ways(self, node: UiNode) -> list[tuple[str, str | None]]:
        """(type, link) of a node's inputs in the order bypassing goes by."""
        stored = {socket.name: socket for socket in node.sockets}
        if node.type in self.file.subgraphs:
            inputs = self.file.subgraphs[node.type].inputs
            return [(b.type, stored[b.name].link if b.name in stored else None) for b in inputs]
        definition = self.node_definitions.get(node.type)
        if not isinstance(definition, Mapping):
            return [(socket.type, socket.link) for socket in node.sockets]
        specs = list(definitions.expanded(definition, widgets.own_values(node, definition)))
        ways: list[tuple[str, str | None]] = []
        for spec in [*(s for s in specs if not s.widget), *(s for s in specs if s.widget)]:
            if spec.type == definitions.AUTOGROW:
                grown = [name for name in stored if name.startswith(f"{spec.name}.")]
                ways.extend((stored[name].type, stored.pop(name).link) for name in grown)
            elif not (spec.widget and spec.options.get("socketless")):
                socket = stored.pop(spec.name, None)
                ways.append((spec.type, socket.link if socket else None))
        return [*ways, *((socket.type, socket.link) for socket in stored.values())]

    def _output_type(self, node: UiNode, slot: int) -> str:
        if slot < len(node.outputs):
            return node.outputs[slot]
        definition = self.node_definitions.get(node.type)
        types = definitions.output_types(definition) if isinstance(definition, Mapping) else []
        return types[slot] if slot < len(types) else "*"

    # --- promoted widgets -------------------------------------------------------------------

    def _handed_in(self, scope: Scope, index: int) -> Found | None:
        """The value of a subgraph's unlinked input: the instance's, else that of the first inner widget."""
        if index in scope.hosted:
            return Found(value=scope.hosted[index], handed_in=True)
        return self._first_inner(scope, index)

    def _first_inner(self, scope: Scope, index: int) -> Found | None:
        for _ in range(MAX_DEPTH + 1):
            fed = scope.level.fed.get(index, ())
            node, socket = next(((n, s) for n, s in fed if s.widget), (None, None))
            if node is None or socket is None:
                return None
            child = scope.children.get(node.id)
            if child is None:
                if node.type not in self.node_definitions:
                    return None
                own = self._own(scope, node)
                held = socket.widget in own
                return Found(value=own[socket.widget], handed_in=True) if held else None
            inner = child.level.promotions.get(("-1", socket.name))
            if inner is None:
                return None
            if inner in child.hosted:
                return Found(value=child.hosted[inner], handed_in=True)
            scope, index = child, inner
        return None


def _active(scope: Scope) -> Iterator[UiNode]:
    return (node for node in scope.level.nodes.values() if node.mode not in (MUTED, BYPASSED))


def _refuse(code: str, message: str, node: str = "") -> NoReturn:
    raise Refusal(Problem(code, message, node))


def _outer_link(at: Scope, index: int) -> str | None:
    """The link outside into a subgraph's input: instances name their inputs, in any order."""
    if at.instance is None or index >= len(at.level.inputs):
        return None
    socket = at.instance.named.get(at.level.inputs[index].name)
    return socket.link if socket else None


def _counts(socket: Socket, specs: Mapping[str, Spec]) -> bool:
    """Does a stored input exist for the definition's present shape?"""
    if socket.name in specs:
        return True
    parent = specs.get(socket.name.partition(".")[0])
    if parent is not None and "." in socket.name:
        return parent.type == definitions.AUTOGROW
    return not socket.widget


def _fits(given: str, wanted: str) -> bool:
    if "*" in (given, wanted):
        return True
    return bool({part.strip() for part in given.split(",")} & {part.strip() for part in wanted.split(",")})
