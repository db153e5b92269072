"""Fields of a template: chosen inputs of a workflow, as a form that people fill in.

A field is `{name, node, input, label, help, kind, minimum, maximum, step, default, choices, also}`. `also`
lists further places, `[{node, input}]`, that get the same value: a width that stands in two nodes. `kind` is
one of KINDS; `minimum`, `maximum` and `step` belong to numbers, `choices` to a choice; the
rest may be left out.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.job_types.base import Problem, Refusal
from jobs.job_types.comfyui import graph
from jobs.job_types.comfyui.traits import as_number

KINDS = ("text", "integer", "number", "choice", "boolean", "image", "seed")
MAX_FIELDS = 60
MAX_PLACES = 50
MAX_CHOICES = 500
MAX_TEXT = 10_000  # characters of a value
MAX_SEED = 2**64 - 1
MAX_DIGITS = 40  # of a typed number
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
_TIDY = 1e-6  # of a step: decimals such as 0.1 aren't exact in binary


@dataclass(frozen=True, slots=True)
class Field:
    """A field as read from a stored form. `places`: (node, input) of everything it sets."""

    name: str
    places: tuple[tuple[str, str], ...]
    label: str
    help: str
    kind: str
    default: Any
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] = ()


def fields(form: Sequence[Mapping[str, Any]]) -> tuple[Field, ...]:
    """The fields of a stored form. Raises `Refusal` naming the field that can't be read."""
    if not isinstance(form, list | tuple) or len(form) > MAX_FIELDS:
        raise Refusal(Problem("bad_form", f"A form is a list of at most {MAX_FIELDS} fields."))
    problems: list[Problem] = []
    found = tuple(one for raw in form if (one := _field(raw, problems)) is not None)
    seen: set[str] = set()
    for one in found:
        if one.name in seen:
            problems.append(_said(one, "twice", "stands twice in the form."))
        seen.add(one.name)
    if problems:
        raise Refusal(*problems[: graph.MAX_PROBLEMS])
    return found


def validate(form: Sequence[Mapping[str, Any]], payload: Mapping[str, Any]) -> tuple[Field, ...]:
    """The fields of a form that fits the workflow: every place is a typed-in input of it, every default fits
    its own limits. Raises `Refusal`."""
    found = fields(form)
    problems = [problem for one in found for problem in _misplaced(one, payload)]
    for one in found:
        blank = one.kind == "image" and one.default in ("", None)  # chosen by who fills it in
        problems.extend(() if blank else _misfit(one, one.default))
    if problems:
        raise Refusal(*problems[: graph.MAX_PROBLEMS])
    return found


def fill(
    payload: Mapping[str, Any], form: Sequence[Mapping[str, Any]], values: Mapping[str, Any]
) -> dict[str, Any]:
    """A copy of the workflow with these values in place; fields without one keep their default.

    Strict: raises `Refusal` with a problem, its `field` the field's name, for everything that doesn't fit
    (unknown_field, wrong_type, too_small, too_large, not_a_step, not_a_choice, too_long, no_image).
    """
    known = fields(form)
    names = {one.name for one in known}
    problems = [
        Problem("unknown_field", f"There is no field {str(name)[:60]!r}.", field=str(name)[:60])
        for name in values
        if name not in names
    ]
    filled = {
        node: {**body, "inputs": dict(body["inputs"])} if _is_node(body) else body
        for node, body in payload.items()
    }
    for one in known:
        value = values.get(one.name, one.default)
        wrong = [*_misfit(one, value), *_misplaced(one, payload)]
        problems.extend(wrong)
        if not wrong:
            for node, name in one.places:
                filled[node]["inputs"][name] = _stored(one, value)
    if problems:
        raise Refusal(*problems[: graph.MAX_PROBLEMS])
    return filled


def from_text(form: Sequence[Mapping[str, Any]], sent: Mapping[str, str]) -> dict[str, Any]:
    """Values of what a page's form sent: texts made into what their fields hold.

    A blank field is left out (it keeps its default, a seed is drawn), a text stays as it is, a number nobody
    can read is handed on for `fill` to name. A box that isn't ticked sends nothing, and so is False.
    """
    values: dict[str, Any] = {}
    for one in fields(form):
        text = sent.get(one.name)
        if one.kind == "boolean":
            values[one.name] = text not in (None, "", "false", "off", "0")
        elif text is None or (one.kind not in ("text", "image") and not text.strip()):
            continue
        elif one.kind in ("integer", "seed", "number"):
            values[one.name] = _number(text, whole=one.kind != "number")
        elif one.kind == "choice":
            values[one.name] = next((each for each in one.choices if str(each) == text), text)
        else:
            values[one.name] = text.replace("\r\n", "\n")
    return values


def field_at(form: Sequence[Mapping[str, Any]], node: str, name: str) -> str:
    """The field that sets this input; "" where none does."""
    return next((one.name for one in fields(form) if (node, name) in one.places), "")


# --- reading a form --------------------------------------------------------------------------


def _field(raw: Any, problems: list[Problem]) -> Field | None:
    name = raw.get("name") if isinstance(raw, Mapping) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        shown = str(name)[:60]
        message = f"{shown!r} is no name for a field: small letters, digits and _ make one."
        problems.append(Problem("bad_name", message, field=shown))
        return None
    places = tuple(_places(raw))
    kind = raw.get("kind")
    choices = raw.get("choices") or ()
    label = str(raw.get("label") or name)[:120]
    wrong = ""
    if kind not in KINDS:
        wrong = f"has no such kind; there are: {', '.join(KINDS)}."
    elif not 0 < len(places) <= MAX_PLACES or not all(node and where for node, where in places):
        wrong = "says no node and input that it sets."
    elif not isinstance(choices, list | tuple) or len(choices) > MAX_CHOICES:
        wrong = f"has no list of at most {MAX_CHOICES} choices."
    elif kind == "choice" and not choices:
        wrong = "is a choice without anything to choose."
    low, high, step = (_limit(raw.get(which)) for which in ("minimum", "maximum", "step"))
    if not wrong and low is not None and high is not None and low > high:
        wrong = "has a minimum above its maximum."
    elif not wrong and step is not None and step <= 0:
        wrong = "has a step that leads nowhere."
    if wrong:
        problems.append(Problem("bad_field", f"{label}: the field {wrong}", field=name))
        return None
    return Field(
        name=name,
        places=places,
        label=label,
        help=str(raw.get("help") or "")[:500],
        kind=str(kind),
        default=raw.get("default"),
        minimum=low,
        maximum=high,
        step=step,
        choices=tuple(choices),
    )


def _places(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    also = raw.get("also") or ()
    for place in (raw, *(also if isinstance(also, list | tuple) else ())):
        if isinstance(place, Mapping):
            yield str(place.get("node", "")), str(place.get("input", ""))


def _limit(value: Any) -> float | None:
    number = None if isinstance(value, bool) else as_number(value)
    return number if number is not None and math.isfinite(number) else None


def _misplaced(one: Field, payload: Mapping[str, Any]) -> Iterator[Problem]:
    for node, name in one.places:
        body = payload.get(node)
        if body is None or not _is_node(body) or name not in body["inputs"]:
            yield _said(one, "no_such_input", f"sets {name} of node {node}, which the workflow hasn't.", node)
        elif graph.link(body["inputs"][name]) is not None:
            yield _said(one, "linked_input", f"sets {name} of node {node}, which another node feeds.", node)


def _is_node(body: Any) -> bool:
    return isinstance(body, Mapping) and isinstance(body.get("inputs"), Mapping)


# --- values ----------------------------------------------------------------------------------


def _misfit(one: Field, value: Any) -> Iterator[Problem]:
    """At most one problem: what is wrong with the value, and what would do."""
    if one.kind in ("integer", "number", "seed"):
        yield from _misfit_number(one, value)
    elif one.kind == "boolean":
        if not isinstance(value, bool):
            yield _said(one, "wrong_type", "say yes or no.")
    elif one.kind == "choice":
        if isinstance(value, bool) or value not in one.choices:
            offered = ", ".join(str(each) for each in one.choices[:6]) + "…" * (len(one.choices) > 6)
            yield _said(one, "not_a_choice", f"choose one of {offered}.")
    elif not isinstance(value, str):
        yield _said(one, "wrong_type", "use a text.")
    elif len(value) > MAX_TEXT:
        yield _said(one, "too_long", f"use at most {MAX_TEXT:,} characters.")
    elif one.kind == "image" and not value.strip():
        yield _said(one, "no_image", "choose a picture.")


def _misfit_number(one: Field, value: Any) -> Iterator[Problem]:
    whole = one.kind in ("integer", "seed")
    low = one.minimum if one.minimum is not None else (0 if one.kind == "seed" else None)
    high: float | None = one.maximum
    if one.kind == "seed":
        high = MAX_SEED if high is None else min(MAX_SEED, high)
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        yield _said(one, "wrong_type", f"use a {'whole ' * whole}number.")
    elif whole and value != int(value):
        yield _said(one, "wrong_type", "use a whole number.")
    elif (low is not None and value < low) or (high is not None and value > high):
        code = "too_small" if low is not None and value < low else "too_large"
        yield _said(one, code, _range_words(low, high))
    elif one.step is not None and one.kind != "seed":
        start = low or 0.0
        steps = (value - start) / one.step
        if abs(steps - round(steps)) > _TIDY * max(1.0, abs(steps)):
            near = start + math.floor(steps) * one.step
            yield _said(one, "not_a_step", f"use {near:g} or {near + one.step:g}: steps are {one.step:g}.")


def _range_words(low: float | None, high: float | None) -> str:
    if low is None:
        return f"use {high:g} at most."
    return f"use {low:g} at least." if high is None else f"use {low:g} to {high:g}."


def _finite(value: int | float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _stored(one: Field, value: Any) -> Any:
    if one.kind in ("integer", "seed"):
        return int(value)
    return float(value) if one.kind == "number" else value


def _number(text: str, *, whole: bool) -> Any:
    """The number a text says, the text where it says none. A comma may stand for the point."""
    plain = text.strip().replace(",", ".").replace("−", "-")
    if len(plain) > MAX_DIGITS:
        return text
    try:
        return int(plain)
    except ValueError:
        pass  # not whole: a decimal perhaps
    try:
        value = float(plain)
    except ValueError:
        return text
    if not math.isfinite(value):
        return text
    return int(value) if whole and value == int(value) else value


def _said(one: Field, code: str, message: str, node: str = "") -> Problem:
    return Problem(code, f"{one.label}: {message}", node, field=one.name)
