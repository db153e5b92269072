"""What somebody has typed into a template's form: kept with the session, so that it survives a reload.

A draft is `{"sent": {field: text}, "changes": [{node, input, value}], "title": text, "grid": {field: text}}`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from django.http import HttpRequest, QueryDict

from jobs.job_types.comfyui import form as forms
from jobs.models import Template

SESSION_KEY = "drafts"
MAX_DRAFTS = 12
MAX_CHANGES = 20
MAX_CHANGE_CHARACTERS = 2_000
PREFIX, GRID_PREFIX, SWAP_PREFIX = "f-", "g-", "swap:"


@dataclass(slots=True)
class Draft:
    """`sent`: texts as typed, None before anything was; `changes`: swapped models and applied hints."""

    sent: dict[str, str] | None = None
    changes: list[dict[str, Any]] = field(default_factory=list)
    title: str = ""
    grid: dict[str, str] = field(default_factory=dict)

    def values(self, template: Template) -> dict[str, Any]:
        """What `fill` takes."""
        return {} if self.sent is None else forms.from_text(template.form, self.sent)

    def grid_values(self, template: Template) -> dict[str, list[Any]]:
        """The sweep's grid: a text holds one value a line, or several with commas between where the field
        is no text."""
        found: dict[str, list[Any]] = {}
        for one in forms.fields(template.form):
            text = self.grid.get(one.name, "")
            parts = text.split("\n") if one.kind in ("text", "choice", "image") else _parts(text)
            raw = [part.strip() for part in parts if part.strip()]
            if raw:
                read = (forms.from_text(template.form, {one.name: part}) for part in raw)
                found[one.name] = [each.get(one.name) for each in read]
        return found


def read(request: HttpRequest, template: Template) -> Draft:
    """The draft of this template in this session; an empty one if there is none."""
    kept = request.session.get(SESSION_KEY, {}).get(_key(template))
    return Draft(**kept) if isinstance(kept, dict) else Draft()


def keep(request: HttpRequest, template: Template, draft: Draft) -> None:
    """Keep it; the oldest beyond MAX_DRAFTS are forgotten."""
    drafts = {**request.session.get(SESSION_KEY, {})}
    kept = asdict(draft)
    key = _key(template)
    if drafts.get(key) == kept:
        return
    drafts.pop(key, None)
    drafts[key] = kept
    request.session[SESSION_KEY] = dict(list(drafts.items())[-MAX_DRAFTS:])


def of_values(template: Template, values: Mapping[str, Any], title: str) -> Draft:
    """A draft that says again what an earlier take was made of."""
    known = {**defaults(template), **{name: text(value) for name, value in values.items()}}
    names = [one for one in forms.fields(template.form) if one.kind != "boolean" or known.get(one.name)]
    return Draft({one.name: known.get(one.name, "") for one in names}, [], title[:200])


def forget(request: HttpRequest, template: Template) -> None:
    """Back to the template's own values."""
    drafts = {**request.session.get(SESSION_KEY, {})}
    if drafts.pop(_key(template), None) is not None:
        request.session[SESSION_KEY] = drafts


def posted(request: HttpRequest, template: Template) -> Draft:
    """The draft a form sent: its fields, what was kept before, and what the pressed button does."""
    before, data = read(request, template), request.POST
    sent = _prefixed(data, PREFIX, template)
    draft = Draft(
        sent=sent if data.get("form") == "sent" else before.sent,
        changes=list(before.changes),
        title=data.get("title", before.title)[:200],
        grid=_prefixed(data, GRID_PREFIX, template) if data.get("grid") == "sent" else before.grid,
    )
    if data.get("press") == "swap":
        for change in swaps(data):
            _put(template, draft, change)
    for change in changes(data.get("apply", "")):
        _put(template, draft, change)
    undo = data.get("undo", "")
    if undo.isdecimal() and int(undo) < len(draft.changes):
        del draft.changes[int(undo)]
    return draft


def swaps(data: QueryDict) -> list[dict[str, Any]]:
    """Models chosen in missing ones' places, as changes."""
    found = []
    for name, value in data.items():
        node, _, where = name.removeprefix(SWAP_PREFIX).rpartition(":")
        if name.startswith(SWAP_PREFIX) and isinstance(value, str) and value:
            found.append({"node": node, "input": where, "value": value})
    return found


def changes(raw: str) -> list[dict[str, Any]]:
    """Changes a hint's button carries; nothing where it is none of ours."""
    if not raw or len(raw) > MAX_CHANGE_CHARACTERS:
        return []
    try:
        found = json.loads(raw)
    except ValueError:
        return []
    fit = isinstance(found, list) and len(found) <= MAX_CHANGES
    return [
        {"node": str(one["node"]), "input": str(one["input"]), "value": one["value"]}
        for one in (found if fit else [])
        if isinstance(one, dict)
        and {"node", "input", "value"} <= set(one)
        and isinstance(one["value"], str | int | float | bool)
    ]


def _put(template: Template, draft: Draft, change: dict[str, Any]) -> None:
    """Into the field that sets this input, if there is one; else among the changes, in place of an older."""
    name = forms.field_at(template.form, change["node"], change["input"])
    offered = next((one.choices for one in forms.fields(template.form) if one.name == name), ())
    if name and (not offered or change["value"] in offered):
        draft.sent = {
            **(draft.sent if draft.sent is not None else defaults(template)),
            name: str(change["value"]),
        }
        return
    place = (change["node"], change["input"])
    kept = [one for one in draft.changes if (one["node"], one["input"]) != place]
    draft.changes = [*kept, change][-MAX_CHANGES:]


def defaults(template: Template) -> dict[str, str]:
    """The template's own values as a page would send them."""
    return {
        one.name: text(one.default)
        for one in forms.fields(template.form)
        if one.kind != "seed" and not (one.kind == "boolean" and not one.default)
    }


def text(value: Any) -> str:
    """A value as a page shows it in a field."""
    if isinstance(value, bool):
        return "true" if value else ""
    if isinstance(value, float):
        return f"{value:.10g}"
    return "" if value is None else str(value)


def _key(template: Template) -> str:
    """All versions of a template share their draft: a new one must not cost anybody what they typed."""
    return f"{template.workshop_id}:{template.slug}"


def _prefixed(data: QueryDict, prefix: str, template: Template) -> dict[str, str]:
    """What was sent for the template's own fields."""
    names = (str(one["name"]) for one in template.form)
    return {
        name: str(data[f"{prefix}{name}"])[: forms.MAX_TEXT + 1]
        for name in names
        if f"{prefix}{name}" in data
    }


def _parts(raw: str) -> list[str]:
    """Numbers one below the other, or with commas or blanks between; a comma between digits that would be a
    decimal sign elsewhere parts values here."""
    return raw.replace(",", "\n").replace(";", "\n").replace(" ", "\n").split("\n")
