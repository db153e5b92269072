"""Primitives, arithmetic, and nodes that choose between their inputs."""

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from gpu_agent.simulator.nodes.base import Inputs, NodeRun, handles


def _switched(inputs: Inputs) -> list[str]:
    return ["on_true" if inputs.get("switch") else "on_false"]


# Which of its lazy inputs a node needs, once the others are known.
LAZY_NEEDS: dict[str, Callable[[Inputs], list[str]]] = {"ComfySwitchNode": _switched}


@handles("ComfySwitchNode")
def comfy_switch(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (inputs.get(_switched(inputs)[0]),)


@handles("PrimitiveInt", "PrimitiveFloat", "PrimitiveString", "PrimitiveStringMultiline", "PrimitiveBoolean")
def primitive(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (inputs["value"],)


@handles("StringConcatenate")
def string_concatenate(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (str(inputs["delimiter"]).join((str(inputs["string_a"]), str(inputs["string_b"]))),)


@handles("CustomCombo")
def custom_combo(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return inputs.get("choice", ""), 0


@handles("ComfyMathExpression")
def math_expression(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    """Arithmetic over the inputs `values.a`, `values.b` …"""
    values = {name.partition(".")[2]: value for name, value in inputs.items() if name.startswith("values.")}
    result = _evaluated(ast.parse(str(inputs["expression"]), mode="eval").body, values)
    return float(result), int(result), bool(result)


_OPERATIONS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
    ast.GtE: operator.ge,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "round": round,
    "abs": abs,
    "int": int,
    "float": float,
    "floor": math.floor,
    "ceil": math.ceil,
    "sqrt": math.sqrt,
}


def _evaluated(part: ast.expr, values: dict[str, Any]) -> Any:
    match part:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_evaluated(left, values), _evaluated(right, values))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_evaluated(operand, values))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_evaluated(left, values), _evaluated(right, values))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _evaluated(body if _evaluated(test, values) else orelse, values)
        case ast.Call(func=ast.Name(id=name), args=args) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_evaluated(argument, values) for argument in args))
    raise ValueError(f"cannot evaluate {ast.unparse(part)}")
