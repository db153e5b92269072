"""The editor's own file (schema 0.4 and 1), read into plain records: nodes, links, subgraphs."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from jobs.job_types.base import Problem, Refusal

MUTED, BYPASSED = 2, 4
INPUT_BOUNDARY, OUTPUT_BOUNDARY = "-10", "-20"


@dataclass(frozen=True, slots=True)
class Socket:
    """A stored input: `widget` is the name of the widget it stands for, "" for a plain socket."""

    name: str
    type: str
    link: str | None
    widget: str


@dataclass(frozen=True, slots=True)
class UiNode:
    """A node as stored. `values`: its widgets' values, by position or (some custom nodes) by name."""

    id: str
    type: str
    mode: int
    title: str
    sockets: tuple[Socket, ...]
    outputs: tuple[str, ...]  # types
    values: list[Any] | dict[str, Any]
    properties: Mapping[str, Any]
    named: Mapping[str, Socket]  # the sockets by name
    told: Mapping[str, Any]  # the values again by name, where the file keeps them so; may be out of date

    @property
    def first_value(self) -> Any:
        """What a node that keeps one value keeps: a primitive its number, a Set or Get node its name."""
        return self.values[0] if isinstance(self.values, list) and self.values else None


@dataclass(frozen=True, slots=True)
class Boundary:
    """An input or output of a subgraph, with the links that lead from or to it."""

    name: str
    type: str
    links: tuple[str, ...]


@dataclass(slots=True)
class Level:
    """One graph of the file: the top one, or a subgraph's inside. `links`: id → (origin id, origin slot)."""

    nodes: dict[str, UiNode] = field(default_factory=dict)
    links: dict[str, tuple[str, int]] = field(default_factory=dict)
    inputs: tuple[Boundary, ...] = ()
    outputs: tuple[Boundary, ...] = ()
    fed: dict[int, list[tuple[UiNode, Socket]]] = field(default_factory=dict)
    # (inner node id, widget) → the input it is promoted to; ("-1", name) → the input of that name
    promotions: dict[tuple[str, str], int] = field(default_factory=dict)
    setters: dict[str, UiNode] = field(default_factory=dict)  # name → SetNode

    def promoted(self) -> Iterator[int]:
        """Indices of the inputs that carry a widget's value out to the instance."""
        for index in range(len(self.inputs)):
            if any(socket.widget for _, socket in self.fed.get(index, ())):
                yield index


@dataclass(slots=True)
class UiFile:
    """A whole file."""

    top: Level
    subgraphs: dict[str, Level]


def read(data: Mapping[str, Any]) -> UiFile:
    """The records of a parsed UI file. Raises `Refusal` (bad_ui_file) where it has not that shape."""
    found = data.get("definitions")
    entries = found.get("subgraphs") if isinstance(found, Mapping) else None
    subgraphs: dict[str, Level] = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("id"), str):
            subgraphs[entry["id"]] = _level(entry)
    return UiFile(_level(data), subgraphs)


def proxies(node: UiNode) -> list[tuple[str, str]] | None:
    """(inner node id, widget) of each entry of proxyWidgets, None where the instance has no such list."""
    found = node.properties.get("proxyWidgets")
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            return None
    if not isinstance(found, list):
        return None
    pairs = (entry if isinstance(entry, list) and len(entry) >= 2 else ("", "") for entry in found)
    return [(str(inner), str(widget)) for inner, widget, *_ in pairs]


def _refuse(message: str, node: str = "") -> NoReturn:
    raise Refusal(Problem("bad_ui_file", message, node))


def _level(data: Mapping[str, Any]) -> Level:
    level = Level()
    nodes = data.get("nodes")
    for entry in nodes if isinstance(nodes, list) else ():
        node = _node(entry)
        if node.id in level.nodes:
            _refuse(f"Two nodes have the id {node.id}. Open and save the file in ComfyUI.", node.id)
        level.nodes[node.id] = node
    links = data.get("links")
    level.links = dict(filter(None, map(_link, links if isinstance(links, list) else ())))
    level.inputs = tuple(_boundaries(data.get("inputs")))
    level.outputs = tuple(_boundaries(data.get("outputs")))
    level.fed = _fed(level)
    for index, fed in level.fed.items():
        for node, socket in fed:
            for name in filter(None, (socket.widget, socket.name)):
                level.promotions.setdefault((node.id, name), index)
    for index, boundary in enumerate(level.inputs):
        level.promotions.setdefault(("-1", boundary.name), index)
    for node in level.nodes.values():
        if node.type == "SetNode" and node.mode != MUTED:
            level.setters.setdefault(str(node.first_value), node)
    return level


def _id(value: object) -> str | None:
    """Ids are numbers in some files, texts in others."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value)


def _node(entry: object) -> UiNode:
    node_id = _id(entry.get("id")) if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or node_id is None or not isinstance(entry.get("type"), str):
        _refuse("A node of the file has no id or no type. Open and save the file in ComfyUI.", node_id or "")
    stored = entry.get("widgets_values")
    outputs = entry.get("outputs")
    sockets = entry.get("inputs")
    properties = entry.get("properties")
    mode = entry.get("mode")
    told = entry.get("widgets_values_named")
    read = tuple(filter(None, map(_socket, sockets if isinstance(sockets, list) else ())))
    return UiNode(
        id=node_id,
        type=entry["type"],
        mode=mode if isinstance(mode, int) else 0,
        title=str(entry.get("title") or "")[:200],
        sockets=read,
        outputs=tuple(
            str(output.get("type")) if isinstance(output, Mapping) else "*"
            for output in (outputs if isinstance(outputs, list) else ())
        ),
        values=stored if isinstance(stored, list | dict) else [],
        properties=properties if isinstance(properties, Mapping) else {},
        named={socket.name: socket for socket in reversed(read)},
        told=told if isinstance(told, Mapping) else {},
    )


def _socket(entry: object) -> Socket | None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        return None
    widget = entry.get("widget")
    name = widget.get("name") if isinstance(widget, Mapping) else None
    kind = entry.get("type")
    return Socket(
        name=entry["name"],
        type=kind if isinstance(kind, str) else "*",
        link=_id(entry.get("link")),
        widget=(name if isinstance(name, str) else entry["name"]) if widget else "",
    )


def _link(entry: object) -> tuple[str, tuple[str, int]] | None:
    """[id, origin id, origin slot, …] at the top, an object with those names in subgraphs and schema 1."""
    if isinstance(entry, list) and len(entry) >= 3:
        found, origin, slot = entry[:3]
    elif isinstance(entry, Mapping):
        found, origin, slot = entry.get("id"), entry.get("origin_id"), entry.get("origin_slot")
    else:
        return None
    link_id, origin_id = _id(found), _id(origin)
    number = int(slot) if isinstance(slot, str) and slot.isdecimal() and len(slot) < 6 else slot
    if link_id is None or origin_id is None or type(number) is not int or not 0 <= number < 100_000:
        return None
    return link_id, (origin_id, number)


def _boundaries(entries: object) -> Iterator[Boundary]:
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping):
            links = entry.get("linkIds")
            ids = tuple(filter(None, map(_id, links if isinstance(links, list) else ())))
            yield Boundary(str(entry.get("name")), str(entry.get("type")), ids)
        else:
            yield Boundary("", "*", ())


def _fed(level: Level) -> dict[int, list[tuple[UiNode, Socket]]]:
    """Which inner inputs each input of a subgraph feeds, in the order its links were drawn."""
    fed: dict[int, list[tuple[int, UiNode, Socket]]] = {}
    places = [{link: place for place, link in enumerate(boundary.links)} for boundary in level.inputs]
    for node in level.nodes.values():
        for socket in node.sockets:
            origin = level.links.get(socket.link) if socket.link else None
            if origin is None or origin[0] != INPUT_BOUNDARY or origin[1] >= len(level.inputs):
                continue
            drawn = places[origin[1]]
            place = drawn.get(socket.link or "", len(drawn))
            fed.setdefault(origin[1], []).append((place, node, socket))
    return {index: [pair[1:] for pair in sorted(pairs, key=lambda p: p[0])] for index, pairs in fed.items()}
