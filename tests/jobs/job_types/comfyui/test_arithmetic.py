"""Math expressions in graphs: followed when plain, left alone when not, never a danger."""

import pytest

from jobs.job_types.comfyui.arithmetic import evaluate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("a + b", 5),
        ("a * b - -1", 7),
        ("a ** b", 8),
        ("max(a, b, 9) // 2", 4),
        ("round(a / b, 1)", 0.7),
        ("a if a > b else b", 3),
        ("a < b and b", 3),
        ("ceil(sqrt(a)) % 2", 0),
        ("not a", 0),
        ("pow(a, 3)", 8),
    ],
)
def test_plain_arithmetic_is_followed(expression: str, value: float) -> None:
    assert evaluate(expression, {"a": 2, "b": 3}) == pytest.approx(value)


@pytest.mark.parametrize(
    "expression",
    [
        "", "a +", "a / 0", "c", "9 ** 9 ** 9", "10 ** 64", "-1 ** 0.5 + (-8) ** 0.5", "a.__class__",
        "[a][0]",
        "exec('x')", "'a' * 99", "lambda: 1", "(" * 250 + "a" + ")" * 250, "a" * 501, "exp(10000)", "min()",
        "1e15 * 10", "a < b < 9", "__import__('os')",
    ],
)  # fmt: skip
def test_anything_else_has_no_value(expression: str) -> None:
    assert evaluate(expression, {"a": 2, "b": 3}) is None
