"""The one way JSON enters the API: bounded, and without the legal values that make stores raise."""

import json
import math
from typing import Any

MAX_DEPTH = 100
MAX_DIGITS = 400  # of one number; the workflow parser has limits of its own


class BadJson(ValueError):
    """The body is not JSON this site takes; the text says why."""


def parse(body: bytes) -> Any:
    """Decode one JSON value.

    BadJson for what is not UTF-8 JSON, for duplicate keys, NaN and Infinity, numbers beyond a float's or a
    sane integer's range, NUL and lone surrogates in texts, and nesting beyond MAX_DEPTH.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJson(f"the body is not UTF-8: byte {error.start}") from error
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_float,
            parse_int=_integer,
        )
    except RecursionError as error:
        raise BadJson(f"nested deeper than {MAX_DEPTH} levels") from error
    except json.JSONDecodeError as error:
        raise BadJson(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    # Only an escape can bring a NUL or half a surrogate pair: the raw ones are neither UTF-8 nor JSON.
    _check(value, texts="\\u" in text)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadJson(f"the key {key[:60]!r} occurs twice in one object")
            seen.add(key)
    return found


def _refuse_constant(name: str) -> Any:
    raise BadJson(f"{name} is not a number JSON knows")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadJson(f"the number {text[:40]} is out of range")
    return value


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise BadJson(f"a number of {len(text)} digits is out of range")
    return int(text)


def _check(value: Any, *, texts: bool) -> None:
    """Without recursion: the nesting is what is being checked, and, where asked, every text."""
    waiting: list[tuple[Any, int]] = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise BadJson(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(item, str):
            _check_text(item)
            continue
        if texts and isinstance(item, dict):
            for key in item:
                _check_text(key)
        if isinstance(item, dict | list):
            inside = item.values() if isinstance(item, dict) else item
            kinds = (dict, list, str) if texts else (dict, list)
            waiting.extend((inner, depth + 1) for inner in inside if isinstance(inner, kinds))


def _check_text(text: str) -> None:
    if "\0" in text:
        raise BadJson("a text contains NUL, which no store takes")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadJson("a text contains half of a surrogate pair, which is no character") from None
