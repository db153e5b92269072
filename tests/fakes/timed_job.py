"""A job type whose submissions say outright what they need: the market's tests depend on no workflow."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobs.job_types.base import (
    Change,
    Checked,
    Demand,
    DemandLine,
    Place,
    Problem,
    Refusal,
    Surroundings,
    Variant,
)


class TimedJob:
    """Body: {"seconds": 2, "gib": 8, "model": "sdxl.safetensors", "node": "Sampler"}; all may be left out."""

    name = "timed"

    def parse(self, body: bytes) -> dict[str, Any]:
        try:
            payload = json.loads(body)
        except ValueError as error:
            raise Refusal(Problem("not_json", f"not JSON: {error}")) from error
        if not isinstance(payload, dict):
            raise Refusal(Problem("not_object", "an object is needed"))
        return payload

    def accept(self, decoded: dict[str, Any]) -> dict[str, Any]:
        return decoded

    def check(self, payload: dict[str, Any], around: Surroundings) -> Checked:
        node = str(payload.get("node", "Sampler"))
        if node not in around.node_definitions:
            raise Refusal(Problem("unknown_node", f"no GPU knows the node {node}", node="1", node_type=node))
        model = str(payload.get("model", ""))
        return Checked(
            payload=payload,
            inputs=(),
            titles={"1": "Work"},
            model_files=(("checkpoints", model),) if model else (),
            node_types=(node,),
        )

    def demand(self, checked: Checked) -> Demand:
        seconds = float(checked.payload.get("seconds", 2))
        node = checked.node_types[0]
        return Demand(
            lines=(
                DemandLine("Load", "0", "Loader", 1.0, "1 s", loader=True),
                DemandLine("Work", "1", node, seconds, f"{seconds:g} s", sampler=True),
            ),
            gpu_seconds=seconds,
            loading_seconds=1.0,
            vram_bytes=int(float(checked.payload.get("gib", 8)) * 1024**3),
            model_key=str(checked.payload.get("model", "")),
            model_class="",
            band=1.5,
            summary=f"{seconds:g} s of work",
        )

    def bind(self, payload: dict[str, Any], *, output_prefix: str) -> dict[str, Any]:
        return {**payload, "prefix": output_prefix}

    def cheaper(self, checked: Checked, around: Surroundings) -> tuple[Variant, ...]:
        """Half the seconds, or a thousandth less: one worth telling, one not."""
        seconds = float(checked.payload.get("seconds", 2))
        return (
            Variant("a little less", (Change("1", "seconds", seconds * 0.999),)),
            Variant("half the seconds", (Change("1", "seconds", seconds / 2),)),
        )

    def changed(self, checked: Checked, variant: Variant) -> Checked:
        values = {change.input: change.value for change in variant.changes}
        return replace(checked, payload={**checked.payload, **values})

    def requirements(self, checked: Checked) -> list[dict[str, Any]]:
        """A model called closed… may not be used commercially."""
        return [
            {
                "folder": folder,
                "name": name,
                "size_bytes": 10,
                "licence": "Closed" if name.startswith("closed") else "",
                "commercial": False,
            }
            for folder, name in checked.model_files
        ]

    def form(self, payload: dict[str, Any], around: Surroundings) -> list[dict[str, Any]]:
        return [{"name": name, "kind": "number", "default": value} for name, value in payload.items()]

    def fits(self, form: Sequence[Mapping[str, Any]], payload: dict[str, Any]) -> None:
        """Any form fits."""

    def fill(
        self, payload: dict[str, Any], form: Sequence[Mapping[str, Any]], values: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {**payload, **values}

    def editable(self, payload: dict[str, Any], around: Surroundings) -> dict[str, Any]:
        return payload

    def place(self, payload: dict[str, Any], node: str, field: str, around: Surroundings) -> Place:
        return Place()
