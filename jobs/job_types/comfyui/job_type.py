"""ComfyUI workflows as a job type."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobs.job_types.base import Checked, Demand, Place, Problem, Refusal, Surroundings, Variant
from jobs.job_types.comfyui import check, convert, demand, graph, hints, known_models, pictures, proposal
from jobs.job_types.comfyui import form as fields
from jobs.job_types.comfyui.scene import Scene

REQUIREMENT_PARTS = ("folder", "name", "size_bytes", "licence", "commercial")


class ComfyUI:
    """The site half: see JobType for what each method promises.

    `parse` takes the API form, the editor's own file, and PNG or WEBP pictures that carry either. An editor's
    file stays as it is until `check`, since only node definitions say what its values mean.
    """

    name = "comfyui"

    def parse(self, body: bytes) -> dict[str, Any]:
        if not pictures.is_picture(body):
            return _parsed(body)
        refusals: list[Refusal] = []
        for text in pictures.embedded(body):
            try:
                return _parsed(text)
            except Refusal as refusal:
                refusals.append(refusal)
        raise refusals[0]

    def accept(self, decoded: dict[str, Any]) -> dict[str, Any]:
        return _shaped(graph.bounded(decoded))

    def check(self, payload: dict[str, Any], around: Surroundings) -> Checked:
        if not around.node_definitions:
            raise Refusal(Problem("no_agent", "No GPU is connected yet, so nothing says what can run."))
        if not graph.is_ui_format(payload):
            return check.check(payload, around)
        converted = convert.convert(payload, around.node_definitions, around.agents_with)
        checked = check.check(converted.graph, around)
        return replace(checked, warnings=converted.warnings + checked.warnings)

    def demand(self, checked: Checked) -> Demand:
        return demand.demand(checked)

    def bind(self, payload: dict[str, Any], *, output_prefix: str) -> dict[str, Any]:
        return check.bind(payload, output_prefix)

    def cheaper(self, checked: Checked, around: Surroundings) -> tuple[Variant, ...]:
        return hints.cheaper(checked, around)

    def changed(self, checked: Checked, variant: Variant) -> Checked:
        payload, known = hints.changed(checked.payload, variant.changes), checked.found
        # Only values change, and what they feed stays as it is.
        found = Scene(payload, known.files, checked.outputs, like=known) if isinstance(known, Scene) else None
        return replace(checked, payload=payload, found=found)

    def requirements(self, checked: Checked) -> list[dict[str, Any]]:
        told = known_models.rows(checked.model_files)
        return [{part: row[part] for part in REQUIREMENT_PARTS} for row in told]

    def form(self, payload: dict[str, Any], around: Surroundings) -> list[dict[str, Any]]:
        return proposal.fields_of(payload, around.node_definitions)

    def fits(self, form: Sequence[Mapping[str, Any]], payload: dict[str, Any]) -> None:
        fields.validate(form, payload)

    def fill(
        self, payload: dict[str, Any], form: Sequence[Mapping[str, Any]], values: Mapping[str, Any]
    ) -> dict[str, Any]:
        return fields.fill(payload, form, values)

    def editable(self, payload: dict[str, Any], around: Surroundings) -> dict[str, Any]:
        if graph.is_ui_format(payload):
            return convert.convert(payload, around.node_definitions, around.agents_with).graph
        return graph.structured(payload)

    def place(self, payload: dict[str, Any], node: str, field: str, around: Surroundings) -> Place:
        return proposal.place(payload, node, field, around)


def _parsed(body: bytes) -> dict[str, Any]:
    return _shaped(graph.load(body))


def _shaped(loaded: dict[str, Any]) -> dict[str, Any]:
    data = graph.unwrapped(loaded)
    return data if graph.is_ui_format(data) else graph.structured(data)
