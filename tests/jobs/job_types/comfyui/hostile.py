"""Files made to cost as much as they can: each must be refused or priced, quickly and in little memory."""

import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

from tests.jobs.job_types.comfyui.graphs import text_to_image
from tests.jobs.job_types.comfyui.ui_files import Ui, text_to_image_ui

Make = Callable[[], bytes]
MANY = 4_900
MEGABYTE = 1024 * 1024


def _body(graph: dict[str, Any]) -> bytes:
    return json.dumps(graph).encode()


def _chain(kind: str, first: list[Any], count: int, fields: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """A picture's graph, its decoder fed by a chain of nodes; each has the one before in all of `fields`."""
    graph = text_to_image(sampler__latent_image=[f"c{count - 1}", 0])
    for number in range(count):
        source = [f"c{number - 1}", 0] if number else first
        graph[f"c{number}"] = {"class_type": kind, "inputs": {**dict.fromkeys(fields, source), **more}}
    return graph


def long_chain() -> bytes:
    return _body(_chain("LatentUpscaleBy", ["empty", 0], MANY, ("samples",), scale_by=1.0))


def growing_chain() -> bytes:
    return _body(_chain("RepeatLatentBatch", ["empty", 0], MANY, ("samples",), amount=64))


def switch_bomb() -> bytes:
    return _body(_chain("ComfySwitchNode", ["empty", 0], MANY, ("on_true", "on_false"), switch=True))


def switches_on_switches() -> bytes:
    """Each switch's condition is the switch before it."""
    graph = text_to_image(sampler__steps=[f"s{MANY - 1}", 0])
    graph["ten"] = {"class_type": "PrimitiveInt", "inputs": {"value": 10}}
    for number in range(MANY):
        before: list[Any] = [f"s{number - 1}", 0] if number else ["ten", 0]
        inputs = {"switch": before, "on_false": before, "on_true": before}
        graph[f"s{number}"] = {"class_type": "ComfySwitchNode", "inputs": inputs}
    return _body(graph)


def lists_of_lists() -> bytes:
    return _body(_chain("CreateList", ["empty", 0], MANY, tuple(f"inputs.input{n}" for n in range(9))))


def everything_linked_to_everything() -> bytes:
    graph = text_to_image(sampler__latent_image=["l339", 0])
    for number in range(340):
        inputs = {f"inputs.input{n}": [f"l{n}", 0] for n in range(number)} or {"inputs.input0": ["empty", 0]}
        graph[f"l{number}"] = {"class_type": "CreateList", "inputs": inputs}
    return _body(graph)


def circle() -> bytes:
    graph = _chain("LatentUpscaleBy", [f"c{MANY - 1}", 0], MANY, ("samples",), scale_by=1.0)
    return _body(graph)


def exponents() -> bytes:
    graph = text_to_image(sampler__steps=["math499", 1])
    for number in range(500):
        before: Any = [f"math{number - 1}", 0] if number else 9
        inputs = {"expression": "(" * 120 + "a**a**a" + ")" * 120, "values.a": before}
        graph[f"math{number}"] = {"class_type": "ComfyMathExpression", "inputs": inputs}
    return _body(graph)


def thousands_of_problems() -> bytes:
    graph = text_to_image()
    for number in range(MANY):
        graph[f"x{number}"] = {"class_type": "N" * 190 + str(number), "inputs": {}}
    return _body(graph)


def many_values() -> bytes:
    return b'{"1": {"class_type": "PreviewImage", "inputs": {"a": [' + b"0," * 249_000 + b"0]}}}"


def deep_nesting() -> bytes:
    return b"[" * MEGABYTE


def long_keys() -> bytes:
    return b"{" + b",".join(b'"%d%s": 1' % (n, b"k" * 500) for n in range(3500)) + b"}"


def long_text() -> bytes:
    graph = text_to_image(good__text="{a|" * 80_000 + "//" * 100_000 + "/*" * 200_000)
    return _body(graph)


def dynamic_prompts() -> bytes:
    ui = text_to_image_ui()
    ui.nodes[1]["widgets_values"] = ["{a|" * 100_000 + "/*" * 300_000 + "}" * 100_000]
    for number in range(100, 300):
        ui.add(number, "CLIPTextEncode", "/*{a|b}" * 500)
    return _body(ui.data)


def subgraph_bomb() -> bytes:
    ui = Ui().add(1, "s0")
    for depth in range(30):
        inner = Ui()
        for copy in range(10):
            inner.add(copy, f"s{depth + 1}" if depth < 29 else "PrimitiveInt")
        ui.subgraphs.append(inner.as_subgraph(f"s{depth}", [], {}))
    return _body(ui.data)


def subgraph_in_itself() -> bytes:
    ui = Ui().add(1, "a")
    ui.subgraphs.append(Ui().add(1, "b").as_subgraph("a", [], {}))
    ui.subgraphs.append(Ui().add(1, "a").as_subgraph("b", [], {}))
    return _body(ui.data)


def wide_subgraphs() -> bytes:
    """Thirty levels that all hand two hundred promoted values on."""
    names = [f"w{n}" for n in range(200)]
    ui = Ui().add(1, "s0", *range(200))
    for depth in range(30):
        inner = Ui()
        kind = f"s{depth + 1}" if depth < 29 else "EmptyLatentImage"
        inner.add(1, kind, *range(200), properties={"proxyWidgets": [["-1", name] for name in names]})
        for slot, name in enumerate(names):
            inner.wire(-10, slot, 1, name, "INT", widget=True)
        ui.subgraphs.append(inner.as_subgraph(f"s{depth}", names, {}))
    return _body(ui.data)


def reroutes_for_everyone() -> bytes:
    """Thousands of nodes behind one chain of thousands of reroutes."""
    ui = Ui().add(0, "EmptyLatentImage", 64, 64, 1)
    for number in range(1, 2400):
        ui.nodes.append({"id": number, "type": "Reroute", "inputs": [{"name": "", "link": number}]})
        ui.links.append([number, number - 1, 0, number, 0, "*"])
    for number in range(3000, 5300):
        ui.add(number, "LatentUpscaleBy", 1.0).wire(2399, 0, number, "samples", "LATENT")
    return _body(ui.data)


def packed_text() -> bytes:
    """A PNG whose workflow unpacks to hundreds of megabytes."""
    packed = zlib.compress(b" " * (200 * MEGABYTE), 9)
    chunk = b"workflow\x00\x00" + packed
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", len(chunk), b"zTXt") + chunk + b"\0\0\0\0"


def many_chunks() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sI", 0, b"tEXt", 0) * 2_000_000


FILES: tuple[Make, ...] = (
    long_chain, growing_chain, switch_bomb, switches_on_switches, lists_of_lists,
    everything_linked_to_everything, circle, exponents, thousands_of_problems, many_values, deep_nesting,
    long_keys, long_text, dynamic_prompts, subgraph_bomb, subgraph_in_itself, wide_subgraphs,
    reroutes_for_everyone, packed_text, many_chunks,
)  # fmt: skip
