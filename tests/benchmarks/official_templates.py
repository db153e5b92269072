"""How many of ComfyUI's official templates convert, check and get a price here, and why the others don't.

Templates are taken from `OFFICIAL_TEMPLATES` (a folder) or from the installed package
`comfyui_workflow_templates_json`; node definitions from `NODE_DEFINITIONS` (a file of /object_info, plain or
gzipped) or the recordings beside the repository. Files whose nodes are all known to those definitions count;
any model counts as present, any upload they name as made.
"""

import gzip
import importlib.util
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jobs.job_types.base import AssumedUploads, Refusal, Surroundings
from jobs.job_types.comfyui import graph
from jobs.job_types.comfyui.job_type import ComfyUI
from marketplace.pricing.quote import price
from marketplace.pricing.rates import DEFAULT_RATE

PACKAGE = "comfyui_workflow_templates_json"
RECORDED = Path(__file__).parents[3] / "shared" / "comfyui" / "object_info.json.gz"
COMFYUI = ComfyUI()
# Refusals that are the file's own doing, or that of a newer ComfyUI than the definitions come from.
_NEWER = frozenset({"unknown_node", "old_group_node", "not_a_choice"})
_BROKEN = frozenset({"missing_input", "output_not_linked"})


def folder() -> Path | None:
    """Where the templates lie, None where they are not installed."""
    if os.environ.get("OFFICIAL_TEMPLATES"):
        return Path(os.environ["OFFICIAL_TEMPLATES"])
    found = importlib.util.find_spec(PACKAGE)
    return Path(found.origin).parent / "templates" if found is not None and found.origin else None


def surroundings() -> Surroundings | None:
    """A host with those definitions and every model, None where no definitions are at hand."""
    path = Path(os.environ.get("NODE_DEFINITIONS") or RECORDED)
    if not path.is_file():
        return None
    body = path.read_bytes()
    told = json.loads(gzip.decompress(body) if path.suffix == ".gz" else body)
    return Surroundings(node_definitions=told, any_model=True, uploads=AssumedUploads())


def templates(where: Path) -> Iterator[tuple[str, bytes]]:
    """(name, file) of every workflow; the package's indexes and schemas are none."""
    for path in sorted(where.rglob("*.json")):
        body = path.read_bytes()
        found = json.loads(body)
        if isinstance(found, dict) and graph.is_ui_format(found):
            yield path.stem, body


def outcome(body: bytes, around: Surroundings) -> tuple[float, Refusal | None]:
    """(milliseconds from file to price, the refusal where there is no price)."""
    began = time.perf_counter()
    refusal: Refusal | None = None
    try:
        price(COMFYUI.demand(COMFYUI.check(COMFYUI.parse(body), around)), DEFAULT_RATE)
    except Refusal as refused:
        refusal = refused
    return 1000 * (time.perf_counter() - began), refusal


def cause(refusal: Refusal, paid: bool) -> str:
    """Why a template is refused, in a word or two for the table."""
    codes = {problem.code for problem in refusal.problems}
    if "unknown_node" in codes:
        return "partner node" if paid else "node unknown to these definitions"
    if codes <= _NEWER:
        return "value unknown to these definitions"
    if codes <= _BROKEN:
        return "file is broken: an input leads nowhere"
    return "refused by us: " + ", ".join(sorted(codes))


def run() -> Iterable[dict[str, Any]]:
    """One dict a figure: name, value, unit, reference, ratio, goal, met."""
    where, around = folder(), surroundings()
    if where is None or around is None:
        missing = "templates" if where is None else "node definitions"
        yield _figure("official_templates", None, f"not run: no {missing} installed", "all priced", None)
        return
    paid = _paid(where)
    known = priced = 0
    slowest_ms, slowest = 0.0, ""
    causes: dict[str, list[str]] = {}
    for name, body in templates(where):
        spent_ms, refusal = outcome(body, around)
        if spent_ms > slowest_ms:
            slowest_ms, slowest = spent_ms, name
        if refusal is None:
            priced, known = priced + 1, known + 1
            continue
        why = cause(refusal, name in paid)
        known += why.startswith(("refused", "value", "file"))
        causes.setdefault(why, []).append(f"{name}: {refusal.problems[0].message}"[:160])
    ours = sum(len(names) for why, names in causes.items() if why.startswith("refused"))
    yield _figure(
        "official_templates", priced, f"of {known} with only known nodes", "0 refused by us", not ours
    )
    yield _figure(
        "official_templates_slowest",
        round(slowest_ms, 2),
        f"ms ({slowest})",
        "<= 1000 ms",
        slowest_ms <= 1000,
    )
    for why, names in sorted(causes.items(), key=lambda pair: -len(pair[1])):
        shown = Counter(_types(name) for name in names) if "node" in why else names
        detail = (
            ", ".join(f"{kind} {count}" for kind, count in shown.most_common(12))
            if isinstance(shown, Counter)
            else "; ".join(shown)
        )
        yield _figure(f"official_templates_refused ({why})", len(names), detail, None, None)


def _types(line: str) -> str:
    """The node type a refusal's line names first."""
    return line.partition(": ")[2].partition(" ")[0]


def _paid(where: Path) -> frozenset[str]:
    """Templates the package's own index calls not open source: they run on paid services."""
    index = where / "index.json"
    if not index.is_file():
        return frozenset()
    groups = json.loads(index.read_bytes())
    listed = (each for group in groups for each in group.get("templates", ()))
    return frozenset(each["name"] for each in listed if each.get("openSource") is False)


def _figure(name: str, value: Any, unit: str, goal: str | None, met: bool | None) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "reference": None,
        "ratio": None,
        "goal": goal,
        "met": met,
    }
