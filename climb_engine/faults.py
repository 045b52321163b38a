"""What is wrong with a knob's value, in plain words in place of pydantic's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WANTED = {
    "int_": "must be a whole number",
    "float_": "must be a number",
    "finite_number": "must be a finite number",
    "bool_": "must be true or false",
    "string_type": "must be a text",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list",
    "dict_type": "must be name = value pairs",
    "model_type": "must be name = value pairs",
    "missing": "is missing",
}
"""What is wanted, by how pydantic's name of the fault begins."""


def in_words(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors as what is wanted of the value."""
    kind, facts = error["type"], error.get("ctx", {})
    for fault, words in (("ge", "at least"), ("le", "at most"), ("gt", "more than"), ("lt", "less than")):
        if fault in facts:
            return f"must be {words} {_number(facts[fault])}"
    if kind == "too_short":
        return f"needs at least {_entries(facts['min_length'])}"
    if kind == "too_long":
        return f"takes at most {_entries(facts['max_length'])}"
    if kind == "literal_error":
        return f"must be {facts['expected']}"
    told = next((words for start, words in _WANTED.items() if kind.startswith(start)), str(error["msg"]))
    return told.removeprefix("Value error, ")


def _entries(n: int) -> str:
    return f"{n:,} {'entry' if n == 1 else 'entries'}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
