"""A quote's or a job's workflow sent once more, as it was or with single inputs changed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.job_types import registry
from jobs.job_types.base import Problem, Refusal
from jobs.models import Job
from marketplace.market.models import Quote

Change = Mapping[str, Any]  # {node, input, value}
MAX_CHANGES = 40


def as_submitted(before: Quote | Job) -> bytes:
    """The workflow with its files called as their owner calls them: checking takes uploads by those names."""
    return json.dumps(_payload(before), ensure_ascii=False, indent=2).encode("utf-8", "surrogatepass")


def with_changes(before: Quote | Job, changes: Sequence[Change]) -> bytes:
    """The same with single inputs changed. Raises Refusal."""
    return json.dumps(changed(before.job_type, _payload(before), changes), ensure_ascii=False).encode()


def origin(before: Quote | Job, changes: Sequence[Change] = ()) -> dict[str, Any]:
    """The `template` and `form_values` it came from, as the changes leave them, while that is offered."""
    template = before.template
    if template is None or template.withdrawn_at is not None:
        return {}
    places = {(change["node"], change["input"]): change["value"] for change in changes}
    values = dict(before.form_values)
    for field in template.form:
        for place in (field, *field.get("also", ())):
            where = (place.get("node"), place.get("input"))
            if where in places:
                values[field["name"]] = places[where]
    return {"template": template, "form_values": values}


def changed(job_type: str, payload: dict[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    """A payload with single inputs changed. Raises Refusal."""
    if not changes:
        return payload
    if len(changes) > MAX_CHANGES:
        raise Refusal(Problem("too_many_changes", f"At most {MAX_CHANGES} inputs change at once."))
    # A form made for the occasion: each field offers the one value asked for. What the workflow is then worth
    # is checked as with any other.
    form = [
        {
            "name": f"change_{number}",
            "label": str(change.get("input", ""))[:80],
            "node": str(change.get("node", "")),
            "input": str(change.get("input", "")),
            "kind": "boolean" if isinstance(change.get("value"), bool) else "choice",
            "default": change.get("value"),
            "choices": [change.get("value")],
        }
        for number, change in enumerate(changes)
    ]
    return registry.get(job_type).fill(payload, form, {})


def _payload(before: Quote | Job) -> Any:
    titles = {one["name"]: one.get("title", one["name"]) for one in before.inputs}
    return _renamed(before.payload, titles)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A payload with whole strings replaced."""
    if isinstance(value, dict):
        return {key: _renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    return names.get(value, value) if isinstance(value, str) else value
