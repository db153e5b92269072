"""ComfyUI workflows as a job type."""

from typing import Any

from jobs.job_types.base import Checked, Demand, Problem, Refusal, Surroundings
from jobs.job_types.comfyui import check, demand, graph


class ComfyUI:
    """The site half: see JobType for what each method promises."""

    name = "comfyui"

    def parse(self, body: bytes) -> dict[str, Any]:
        data = graph.unwrapped(graph.load(body))
        if graph.is_ui_format(data):
            message = "This is the editor's own format. In ComfyUI choose Export (API) and send that file."
            raise Refusal(Problem("ui_format", message))
        return graph.structured(data)

    def check(self, payload: dict[str, Any], around: Surroundings) -> Checked:
        return check.check(payload, around)

    def demand(self, checked: Checked) -> Demand:
        return demand.demand(checked)

    def bind(self, payload: dict[str, Any], *, output_prefix: str) -> dict[str, Any]:
        return check.bind(payload, output_prefix)
