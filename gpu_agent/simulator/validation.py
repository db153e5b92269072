"""POST /prompt's checks, answered in ComfyUI's words.

Structure that ComfyUI does not expect makes it fail with a plain 500; here that is `Unexpected`.
"""

import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpu_agent.simulator.inputs import Input, inputs_of, is_model_file

MAX_CHOICES_SHOWN = 20
FREE_CHOICES = {("CustomCombo", "choice")}  # the choices are the author's own


class Unexpected(Exception):
    """The request has a shape the server was not written for: it answers 500."""


@dataclass(slots=True)
class Verdict:
    """`error` is None when at least one output may run."""

    error: dict[str, Any] | None
    outputs: list[str] = field(default_factory=list)
    node_errors: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    definitions: Mapping[str, Any]
    any_model: bool
    file_exists: Callable[[str], bool]  # whether an uploaded file of that (annotated) name is there
    old: bool = False


def validate(prompt: object, targets: Collection[str] | None, rules: Rules) -> Verdict:
    """Check a graph; converts its plain values to their types in place, as ComfyUI does."""
    if isinstance(prompt, list) and rules.old:
        prompt = dict.fromkeys(prompt)
    if not isinstance(prompt, dict):
        raise Unexpected("prompt is not an object")
    outputs = []
    for node_id, node in prompt.items():
        if isinstance(node, str) and rules.old:
            return Verdict(_missing_node(node_id, {}, rules.old))
        if not isinstance(node, dict):
            raise Unexpected(f"node {node_id} is not an object")
        class_type = str(node.get("class_type"))
        if class_type not in rules.definitions:
            return Verdict(_missing_node(node_id, node, rules.old))
        if rules.definitions[class_type].get("output_node") and (targets is None or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return Verdict(_error("prompt_no_outputs", "Prompt has no outputs"))
    return _Walk(prompt, rules).judge(outputs)


def _error(kind: str, message: str, details: str = "", extra: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": extra or {}}


def _missing_node(node_id: str, node: dict[str, Any], old: bool) -> dict[str, Any]:
    class_type = node.get("class_type")
    title = (node.get("_meta") or {}).get("title")
    if old:
        message = f"Cannot execute because node {class_type} does not exist."
        if class_type is None:
            message = "Cannot execute because a node is missing the class_type property."
        return _error("invalid_prompt", message, f"Node ID '#{node_id}'")
    if class_type is None:
        message = (
            f"Node '{title or f'ID #{node_id}'}' has no class_type. The workflow may be corrupted or "
            "a custom node is missing."
        )
    else:
        title = title or class_type
        message = f"Node '{title}' not found. The custom node may not be installed."
    extra = {"node_id": node_id, "class_type": class_type, "node_title": title}
    return _error("missing_node_type", message, f"Node ID '#{node_id}'", extra)


class _Walk:
    """One validation: walks from each output against the links."""

    def __init__(self, prompt: dict[str, Any], rules: Rules) -> None:
        self._prompt = prompt
        self._rules = rules
        self._results: dict[str, tuple[bool, list[dict[str, Any]]]] = {}

    def judge(self, outputs: list[str]) -> Verdict:
        good: list[str] = []
        node_errors: dict[str, Any] = {}
        told: list[dict[str, Any]] = []
        for output in outputs:
            try:
                valid = self._node(output, [])
                reasons = self._results[output][1]
            except Exception as raised:  # whatever a strange graph provokes is reported with its type
                valid, reasons = False, [_raised("exception_during_validation", raised, {})]
                self._results[output] = (False, reasons)
            if valid:
                good.append(output)
                continue
            told += reasons
            self._collect(output, node_errors)
        if good:
            return Verdict(None, good, node_errors)
        details = "\n".join(
            f"{reason['message']}: {reason['details']}" for reason in told if _is_told(reason)
        )
        error = _error("prompt_outputs_failed_validation", "Prompt outputs failed validation", details)
        return Verdict(error, [], node_errors)

    def _collect(self, output: str, node_errors: dict[str, Any]) -> None:
        for node_id, (valid, reasons) in self._results.items():
            if valid or not reasons:
                continue
            entry = node_errors.setdefault(
                node_id,
                {
                    "errors": reasons,
                    "dependent_outputs": [],
                    "class_type": self._prompt[node_id]["class_type"],
                },
            )
            entry["dependent_outputs"].append(output)

    def _node(self, node_id: str, path: list[str]) -> bool:
        if node_id in path:
            self._cycle([*path[path.index(node_id) :], node_id])
            return False
        if node_id in self._results:
            return self._results[node_id][0]
        given = self._prompt[node_id]["inputs"]
        definition = self._rules.definitions[self._prompt[node_id]["class_type"]]
        errors: list[dict[str, Any]] = []
        valid = True
        for one in inputs_of(definition, given):
            found, upstream = self._input(node_id, one, given, path)
            errors += found
            valid = valid and upstream and not found
        if node_id in self._results:  # part of a cycle, found on the way
            return False
        self._results[node_id] = (valid, errors)
        return valid

    def _input(
        self, node_id: str, one: Input, given: dict[str, Any], path: list[str]
    ) -> tuple[list[dict[str, Any]], bool]:
        """Errors of this input, and whether what it links to is valid."""
        if one.name not in given:
            if not one.required:
                return [], True
            extra = {"input_name": one.name}
            return [_error("required_input_missing", "Required input is missing", one.name, extra)], True
        value = given[one.name]
        if isinstance(value, dict) and "__value__" in value:
            value = given[one.name] = value["__value__"]
        elif isinstance(value, list):
            return self._link(node_id, one, value, path)
        if (self._prompt[node_id]["class_type"], one.name) in FREE_CHOICES:
            return [], True
        return self._value(one, value, given), True

    def _link(
        self, node_id: str, one: Input, link: list[Any], path: list[str]
    ) -> tuple[list[dict[str, Any]], bool]:
        extra: dict[str, Any] = {"input_name": one.name, "input_config": one.spec}
        if len(link) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return [_error("bad_linked_input", message, one.name, {**extra, "received_value": link})], True
        source, slot = link
        outputs = tuple(self._rules.definitions[self._prompt[source]["class_type"]]["output"])
        received = outputs[slot]
        if not _fits(received, one):
            details = f"{one.name}, received_type({received}) mismatch input_type({one.kind})"
            message = "Return type mismatch between linked nodes"
            extra |= {"received_type": received, "linked_node": link}
            return [_error("return_type_mismatch", message, details, extra)], True
        try:
            return [], self._node(source, [*path, node_id])
        except Exception as error:
            extra["exception_message"] = str(error)
            reason = _raised("exception_during_inner_validation", error, extra)
            reason["message"] = "Exception when validating inner node"
            reason["extra_info"]["linked_node"] = link
            self._results[source] = (False, [reason])
            return [], False

    def _value(self, one: Input, value: Any, given: dict[str, Any]) -> list[dict[str, Any]]:
        extra: dict[str, Any] = {"input_name": one.name, "input_config": one.spec, "received_value": value}
        try:
            value = given[one.name] = _converted(one.kind, value)
        except (ValueError, TypeError) as error:
            details = f"{one.name}, {value}, {error}"
            message = f"Failed to convert an input value to a {one.kind} value"
            return [
                _error("invalid_input_type", message, details, {**extra, "exception_message": str(error)})
            ]
        extra["received_value"] = value
        if one.upload:
            if isinstance(value, str) and self._rules.file_exists(value):
                return []
            details = f"{one.name} - Invalid {one.upload} file: {value}"
            message = "Custom validation failed for node"
            return [_error("custom_validation_failed", message, details, {"input_name": one.name})]
        low, high = one.config.get("min"), one.config.get("max")
        if low is not None and isinstance(value, int | float) and value < low:
            message = f"Value {value} smaller than min of {low}"
            return [_error("value_smaller_than_min", message, one.name, extra)]
        if high is not None and isinstance(value, int | float) and value > high:
            message = f"Value {value} bigger than max of {high}"
            return [_error("value_bigger_than_max", message, one.name, extra)]
        return self._choice(one, value, extra)

    def _choice(self, one: Input, value: Any, extra: dict[str, Any]) -> list[dict[str, Any]]:
        choices = one.choices
        if choices is None or value in choices:
            return []
        if self._rules.any_model and is_model_file(value):
            return []
        if len(choices) > MAX_CHOICES_SHOWN:
            shown = f"(list of length {len(choices)})"
            extra = {**extra, "input_config": None}
        else:
            shown = str(choices)
        details = f"{one.name}: '{value}' not in {shown}"
        return [_error("value_not_in_list", "Value not in list", details, extra)]

    def _cycle(self, loop: list[str]) -> None:
        names = [f"{node_id} ({self._prompt[node_id]['class_type']})" for node_id in loop]
        members = loop[:-1]
        for node_id in members:
            extra = {"node_id": node_id, "cycle_nodes": members}
            reason = _error("dependency_cycle", "Dependency cycle detected", " -> ".join(names), extra)
            self._results[node_id] = (False, [] if self._rules.old else [reason])


def _is_told(reason: dict[str, Any]) -> bool:
    """Whether the summary repeats an output node's own error: not that of a cycle."""
    return bool(reason["type"] != "dependency_cycle")


def _raised(kind: str, error: Exception, extra: dict[str, Any]) -> dict[str, Any]:
    lines = traceback.format_tb(error.__traceback__)
    extra = {**extra, "exception_type": type(error).__name__, "traceback": lines}
    return _error(kind, "Exception when validating node", str(error), extra)


def _converted(kind: str | list[Any], value: Any) -> Any:
    if kind == "INT":
        return int(value)
    if kind == "FLOAT":
        return float(value)
    if kind == "STRING":
        return str(value)
    if kind == "BOOLEAN":
        return bool(value)
    return value


def _fits(received: Any, one: Input) -> bool:
    """Whether an output of that type may feed the input."""
    if one.choices is not None:
        return received in ("COMBO", "*", "COMFY_MATCHTYPE_V3", "STRING") or received == one.kind
    wanted = str(one.kind)
    if "*" in (received, wanted) or "COMFY_MATCHTYPE_V3" in (received, wanted):
        return True
    return bool(set(str(received).split(",")) & set(wanted.split(",")))
