"""Strict, bounded parsing of a workflow file, and the structure every graph must have.

A graph is `{node id: {"class_type": str, "inputs": {...}}}`; a link is `["source id", slot]`.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from jobs.job_types.base import Problem, Refusal

MAX_BYTES = 2 * 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 5_000
MAX_VALUES = 250_000  # objects, lists and commas: each costs memory far beyond its one byte
MAX_DIGITS = 20  # 2^64 has twenty: seeds need them, nothing needs more
MAX_PROBLEMS = 50
MAX_ID_CHARACTERS = 100

Node = dict[str, Any]
Graph = dict[str, Node]
Link = tuple[str, int]

_HUGE = 10**MAX_DIGITS
_ID = re.compile(rf"[^\x00-\x1f\x7f]{{1,{MAX_ID_CHARACTERS}}}")


def load(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`, nothing in it that JSON cannot carry safely. Raises `Refusal` (empty,
    too_large, not_utf8, not_json, too_deep, duplicate_key, not_a_number, huge_number, nul_character,
    lone_surrogate, too_many_values, not_an_object)."""
    if len(body) > MAX_BYTES:
        _refuse("too_large", f"The file has {len(body):,} bytes; a workflow may have {MAX_BYTES:,}.")
    if not body.strip():
        _refuse("empty", "The file is empty.")
    if body.count(b"{") + body.count(b"[") + body.count(b",") > MAX_VALUES:
        _refuse("too_many_values", f"The file holds more than {MAX_VALUES:,} values.")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse("not_utf8", f"The file is not UTF-8 text (byte {error.start}).")
    try:
        data = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_decimal,
        )
    except RecursionError:
        _refuse("too_deep", f"The file nests deeper than {MAX_DEPTH} levels.")
    except json.JSONDecodeError as error:
        _refuse(
            "not_json", f"The file is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        )
    if not isinstance(data, dict):
        _refuse("not_an_object", "A workflow file is a JSON object: {node id: node}.")
    # Only an escape can bring a NUL or half a surrogate pair: the raw ones are neither UTF-8 nor JSON.
    if "\\u" in text or _nests_deeper(data):
        _inspect(data)
    return data


def bounded(data: dict[str, Any]) -> dict[str, Any]:
    """What `load` gives, of JSON that was decoded strictly before. Raises `Refusal` (too_deep, huge_number,
    too_many_values)."""
    level: list[Any] = [data]
    values = 0
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for each in level:
            values += len(each)
            for one in each.values() if isinstance(each, dict) else each:
                kind = type(one)
                if kind is dict or kind is list:
                    below.append(one)
                elif kind is int and not -_HUGE < one < _HUGE:
                    _integer(str(one))
        if values > MAX_VALUES:
            _refuse("too_many_values", f"The file holds more than {MAX_VALUES:,} values.")
        if not below:
            return data
        level = below
    _inspect(data)
    return data


def unwrapped(data: dict[str, Any]) -> dict[str, Any]:
    """The graph itself, of a file that may be the body posted to ComfyUI: {"prompt": graph, …}."""
    prompt = data.get("prompt")
    if isinstance(prompt, dict) and "class_type" not in prompt:
        return prompt
    return data


def is_ui_format(data: Mapping[str, Any]) -> bool:
    """Is this the editor's own file (nodes in a list), not the API form?"""
    return isinstance(data.get("nodes"), list)


def structured(data: dict[str, Any], max_nodes: int = MAX_NODES) -> Graph:
    """`data` as a graph: only class_type, inputs and a title kept, links normalised to [str, int], every link
    leading to a node, no cycle. Raises `Refusal` naming nodes and fields."""
    if not data:
        _refuse("empty_graph", "The workflow has no nodes.")
    if len(data) > max_nodes:
        _refuse("too_many_nodes", f"The workflow has {len(data):,} nodes; {max_nodes:,} are allowed.")
    problems: list[Problem] = []
    graph: Graph = {}
    for node_id, node in data.items():
        found = _node(node_id, node, data, problems)
        if found is not None:
            graph[node_id] = found
    if not problems:
        problems.extend(_cycle(graph))
    if problems:
        raise Refusal(*problems[:MAX_PROBLEMS])
    return graph


def link(value: object) -> Link | None:
    """The (source id, slot) a normalised input value points to, or None when it is a plain value."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int:
        return value[0], value[1]
    return None


def links(node: Node) -> Iterator[tuple[str, Link]]:
    """(input name, link) of every linked input of a structured node."""
    for name, value in node["inputs"].items():
        if isinstance(value, list) and (found := link(value)) is not None:
            yield name, found


def topological(graph: Graph) -> tuple[list[str], list[str]]:
    """(ids with every source before its users, ids left over because they lie on or behind a cycle)."""
    users: dict[str, list[str]] = {node_id: [] for node_id in graph}
    waiting: dict[str, int] = {}
    for node_id, node in graph.items():
        sources = {source for _, (source, _) in links(node) if source in graph}
        waiting[node_id] = len(sources)
        for source in sources:
            users[source].append(node_id)
    ready = [node_id for node_id, count in waiting.items() if count == 0]
    order: list[str] = []
    while ready:
        node_id = ready.pop()
        order.append(node_id)
        for user in users[node_id]:
            waiting[user] -= 1
            if waiting[user] == 0:
                ready.append(user)
    done = set(order)
    return order, [node_id for node_id in graph if node_id not in done]


# --- values ----------------------------------------------------------------------------------


def _refuse(code: str, message: str, node: str = "", field: str = "") -> NoReturn:
    raise Refusal(Problem(code=code, message=message, node=node, field=field)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        _refuse("duplicate_key", f"The key {twice[:80]!r} stands twice in one object.", field=twice[:80])
    return made


def _constant(name: str) -> NoReturn:
    _refuse("not_a_number", f"{name} is not a JSON number; use a finite one.")


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        _refuse("huge_number", f"The number {digits[:24]}… has more than {MAX_DIGITS} digits.")
    return int(digits)


def _decimal(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        _refuse("huge_number", f"The number {digits[:24]} is too large.")
    return value


def _nests_deeper(data: dict[str, Any]) -> bool:
    """Than MAX_DEPTH: level after level, without recursion."""
    level: list[Any] = [data]
    for _ in range(MAX_DEPTH):
        inside = (each.values() if isinstance(each, dict) else each for each in level)
        level = [one for values in inside for one in values if isinstance(one, dict | list)]
        if not level:
            return False
    return True


def _inspect(data: dict[str, Any]) -> None:
    """Walk all values without recursion: depth, NUL, lone surrogates; the path names node and field."""
    stack: list[tuple[Any, int, tuple[str, ...]]] = [(data, 1, ())]
    while stack:
        value, depth, path = stack.pop()
        if isinstance(value, str):
            _inspect_text(value, path)
        elif isinstance(value, dict | list):
            if depth > MAX_DEPTH:
                node, field = _place(path)
                _refuse("too_deep", f"The file nests deeper than {MAX_DEPTH} levels.", node, field)
            if isinstance(value, dict):
                for key, child in value.items():
                    below = (*path, key) if len(path) < 4 else path
                    _inspect_text(key, below)
                    stack.append((child, depth + 1, below))
            else:
                stack.extend((child, depth + 1, path) for child in value)


def _inspect_text(text: str, path: tuple[str, ...]) -> None:
    if "\x00" in text:
        _refuse("nul_character", "A text holds a NUL character (\\u0000).", *_place(path))
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            _refuse("lone_surrogate", "A text holds half a surrogate pair, not a character.", *_place(path))


def _place(path: tuple[str, ...]) -> tuple[str, str]:
    """(node, field) of a path such as ("prompt", "3", "inputs", "seed")."""
    clean = [part.encode(errors="replace").decode().replace("\x00", "�")[:80] for part in path]
    if clean[:1] == ["prompt"]:
        clean = clean[1:]
    return (clean[0] if clean else ""), (clean[2] if len(clean) > 2 else "")


# --- structure -------------------------------------------------------------------------------


def _node(node_id: str, node: object, data: Mapping[str, Any], problems: list[Problem]) -> Node | None:
    shown = node_id[:MAX_ID_CHARACTERS]
    if not _ID.fullmatch(node_id):
        problems.append(Problem("bad_node_id", f"A node id has 1 to {MAX_ID_CHARACTERS} characters.", shown))
        return None
    if not isinstance(node, dict):
        problems.append(
            Problem("bad_node", f"Node {shown} is not an object with class_type and inputs.", shown)
        )
        return None
    kind = node.get("class_type")
    if not isinstance(kind, str) or not kind.strip() or len(kind) > 200:
        message = (
            f"Node {shown} has no class_type: the editor that saved the file does not know this node. "
            "Remove it, or save the workflow where the node is installed."
        )
        problems.append(Problem("no_class_type", message, shown))
        return None
    inputs = node.get("inputs", {})
    if not isinstance(inputs, dict):
        problems.append(
            Problem("bad_inputs", f"The inputs of node {shown} are not an object.", shown, kind, "inputs")
        )
        return None
    kept = {name: _input(shown, kind, name, value, data, problems) for name, value in inputs.items()}
    made: Node = {"class_type": kind, "inputs": kept}
    meta = node.get("_meta")
    if isinstance(meta, dict) and isinstance(meta.get("title"), str):
        made["_meta"] = {"title": meta["title"][:200]}
    return made


def _input(
    node_id: str, kind: str, name: str, value: Any, data: Mapping[str, Any], problems: list[Problem]
) -> Any:
    """The value; a list of (text, number), ComfyUI's test for a link, comes back as a checked [str, int]."""
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
        return value
    source, slot = value
    if not isinstance(slot, int | float):
        return value
    if isinstance(slot, bool) or slot != int(slot) or not 0 <= slot < 1000:
        problems.append(
            Problem("bad_link", f"Node {node_id}: {name} names no output slot.", node_id, kind, name)
        )
    elif source not in data:
        message = f"Node {node_id}: {name} is linked to node {source[:80]}, which is not in the file."
        problems.append(Problem("missing_link", message, node_id, kind, name))
    return [source, int(slot)]


def _cycle(graph: Graph) -> Iterator[Problem]:
    _, left = topological(graph)
    if not left:
        return
    rest, node_id, seen = set(left), left[0], list[str]()
    while node_id not in seen:
        seen.append(node_id)
        node_id = next(source for _, (source, _) in links(graph[node_id]) if source in rest)
    loop = seen[seen.index(node_id) :]
    shown = " → ".join([*reversed(loop[:8]), loop[-1] if len(loop) <= 8 else "…"])
    yield Problem(
        "cycle", f"These nodes wait for each other: {shown}.", loop[0], graph[loop[0]]["class_type"]
    )
