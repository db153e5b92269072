"""ComfyUI's math expressions, evaluated for a price: numbers only and bounded; None for all else."""

import ast
import math
import operator
from collections.abc import Callable, Mapping

MAX_CHARACTERS = 500
MAX_RESULT = 1e15

_BINARY: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
# On whole numbers only; no shift to the left, which grows without bound.
_BITWISE: dict[type, Callable[[int, int], int]] = {
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.RShift: operator.rshift,
}
_COMPARE: dict[type, Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_CALLS: dict[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "sqrt": math.sqrt,
    "int": int,
    "float": float,
    "log": math.log,
    "log2": math.log2,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
}


def evaluate(expression: str, names: Mapping[str, float]) -> float | None:
    """The value, or None where the expression is longer, larger or richer than an estimate follows."""
    if len(expression) > MAX_CHARACTERS:
        return None
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        value = float(_value(tree.body, names))
    except (SyntaxError, ValueError, TypeError, ArithmeticError, KeyError, RecursionError, MemoryError):
        return None
    return value if math.isfinite(value) and abs(value) <= MAX_RESULT else None


def _value(node: ast.expr, names: Mapping[str, float]) -> float:
    """Raises KeyError or ValueError for anything but numbers, names and the operations above."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return _bounded(node.value)
    if isinstance(node, ast.Name):
        return _bounded(names[node.id])
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, names), _value(node.right, names)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        if type(node.op) in _BITWISE:
            return _BITWISE[type(node.op)](_whole(left), _whole(right))
        return _bounded(_BINARY[type(node.op)](left, right))
    if isinstance(node, ast.UnaryOp):
        operand = _value(node.operand, names)
        if isinstance(node.op, ast.Invert):
            return ~_whole(operand)
        signs = {ast.USub: -operand, ast.UAdd: operand, ast.Not: float(not operand)}
        return signs[type(node.op)]
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = _value(node.left, names), _value(node.comparators[0], names)
        return float(_COMPARE[type(node.ops[0])](left, right))
    if isinstance(node, ast.IfExp):
        return _value(node.body if _value(node.test, names) else node.orelse, names)
    if isinstance(node, ast.BoolOp):
        values = [_value(part, names) for part in node.values]
        return next((v for v in values if bool(v) is isinstance(node.op, ast.Or)), values[-1])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        arguments = [_value(argument, names) for argument in node.args]
        if node.func.id == "pow" and len(arguments) == 2:
            return _power(*arguments)
        if node.func.id == "round" and len(arguments) == 2:
            return round(arguments[0], int(arguments[1]))
        return _bounded(_CALLS[node.func.id](*arguments))
    raise ValueError(f"{type(node).__name__} is not followed")


def _whole(value: float) -> int:
    if value != int(value):
        raise ValueError("not a whole number")
    return int(value)


def _power(base: float, exponent: float) -> float:
    if abs(exponent) > 64 or abs(base) > 1e6:
        raise ValueError("too large a power")
    return _bounded(float(base) ** float(exponent))


def _bounded(value: float) -> float:
    """Integers grow without an end of their own; floats have one."""
    if isinstance(value, complex) or abs(value) > MAX_RESULT:
        raise ValueError("too large")
    return value
