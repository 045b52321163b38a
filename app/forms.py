"""A section of the config as widgets. Defaults, help, choices and what is wrong with a value come from the knobs."""

from __future__ import annotations

import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Collection
from typing import Any, Literal, get_args, get_origin

import streamlit as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.knobs import title
from app.words import plain
from climb_engine.config import unfit
from climb_engine.types import ClimbError

_TALL = {"lines": 1, "table": 1, "rows": 2}


def widgets(
    section: BaseModel, key: str, only: Collection[str] = (), skip: Collection[str] = (), keep: bool = False
) -> dict[str, Any]:
    """Draw a widget for every knob of a section and return the values, ready for ``RunConfig.with_values``.

    What is wrong with a value by itself is said below its widget.

    Args:
        section: the values to begin with.
        key: prefix of the widgets' keys; another key makes new widgets that begin with ``section`` again.
        only: the knobs to draw; empty: all.
        skip: knobs to leave out.
        keep: whether what is typed outlives the widgets, when these are not drawn for a while.

    Raises:
        ClimbError: a text that cannot be read, naming the knob; when all is drawn.
    """
    fields = type(section).model_fields
    chosen = [name for name in fields if (not only or name in only) and name not in skip]
    chosen.sort(key=lambda name: _TALL.get(kind_of(fields[name].annotation), 0))  # rows of equal height
    grid = st.grid(3, min_column_width=160, vertical_alignment="top", key=f"{key}.grid")
    values, faults = {}, []
    for name in chosen:
        kind = kind_of(fields[name].annotation)
        with grid.cell(column_span="all" if kind == "rows" else 1):
            try:
                made = _widget(kind, name, fields[name], getattr(section, name), f"{key}.{name}", keep)
                values[name] = made
                fault = unfit(type(section), name, made)
            except ClimbError as error:
                fault = str(error)
                faults.append(fault)
            if fault:
                st.markdown(f":small[:red[{plain(fault)}]]")
    if faults:
        raise ClimbError("; ".join(faults))
    return values


def kind_of(annotation: Any) -> str:
    """What sort of widget a knob's type wants."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return kind_of(next(part for part in arguments if part is not type(None)))
    if origin is Literal:
        return "choice"
    if origin is tuple:
        inner = arguments[0]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return "rows"
        return {int: "integers", str: "lines"}.get(inner, "choices")
    if origin is dict:
        return "table"
    return {bool: "flag", int: "integer", float: "number", str: "text"}[annotation]


def as_text(kind: str, value: Any) -> str:
    """A value as it stands in a text field; ``from_text`` reads it back."""
    if kind == "lines":
        return "\n".join(value)
    if kind == "integers":
        return ", ".join(str(number) for number in value)
    return "\n".join(f"{_toml_key(name)} = {json.dumps(entry, ensure_ascii=False)}" for name, entry in value.items())


def from_text(kind: str, text: str, name: str) -> Any:
    """Read a text field. Raises ClimbError that names the knob."""
    if kind == "lines":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        if kind == "integers":
            return [int(word) for word in text.replace(",", " ").split()]
        return tomllib.loads(text)
    except ValueError as error:
        if kind == "integers":
            raise ClimbError(f"{name}: write whole numbers with commas between, such as 64, 32, 16") from error
        raise ClimbError(f'{name}: write lines of name = number or name = "text"{_where(text, error)}') from error


def _where(text: str, error: ValueError) -> str:
    """Which line of a table it is that cannot be read."""
    found = re.search(r"at line (\d+)", str(error))
    return f"; line {found[1]} is none: {text.splitlines()[int(found[1]) - 1].strip()}" if found else ""


def _widget(kind: str, name: str, spec: FieldInfo, value: Any, key: str, keep: bool) -> Any:
    text, help_ = title(name), spec.description
    persist: Any = "session" if keep else None
    if kind == "flag":
        st.space("small")
        return st.toggle(text, value, key=key, help=help_, persist_state=persist)
    if kind in ("integer", "number"):
        return _number(kind, text, spec, value, key, persist)
    if kind == "choice":
        options = list(get_args(spec.annotation))
        index = options.index(value)
        return st.selectbox(text, options, index=index, key=key, help=help_, persist_state=persist)
    if kind == "choices":
        options = list(get_args(get_args(spec.annotation)[0]))
        return st.multiselect(text, options, list(value), key=key, help=help_, persist_state=persist)
    if kind == "text":
        return st.text_input(text, value, key=key, help=help_, persist_state=persist)
    if kind == "rows":
        return _rows(text, spec, value, key)
    draw = st.text_input if kind == "integers" else st.text_area
    written = draw(text, as_text(kind, value), key=key, help=help_, persist_state=persist)
    return from_text(kind, written or "", name)


def _number(kind: str, text: str, spec: FieldInfo, value: Any, key: str, persist: Any) -> Any:
    """Without bounds of its own: beyond them a number would turn red, say nothing, and not be sent."""
    cast: Any = int if kind == "integer" else float
    return st.number_input(
        text,
        value=None if value is None else cast(value),
        step=1 if kind == "integer" else _step(value),
        format="%d" if kind == "integer" else "%g",
        key=key,
        help=spec.description,
        persist_state=persist,
    )


def _rows(text: str, spec: FieldInfo, value: tuple[BaseModel, ...], key: str) -> list[dict[str, Any]]:
    import pandas as pd

    model: type[BaseModel] = get_args(spec.annotation)[0]
    columns = {name: st.column_config.TextColumn(help=field.description) for name, field in model.model_fields.items()}
    for name, field in model.model_fields.items():
        if kind_of(field.annotation) == "choice":
            columns[name] = st.column_config.SelectboxColumn(help=field.description, options=get_args(field.annotation))
        elif kind_of(field.annotation) == "integer":
            columns[name] = st.column_config.NumberColumn(help=field.description, step=1, min_value=0)
    st.caption(text, help=spec.description)
    frame = pd.DataFrame([row.model_dump() for row in value], columns=list(model.model_fields)).astype(object)
    edited = st.data_editor(frame, num_rows="dynamic", column_config=columns, hide_index=True, key=key, alt=text)
    whole = [name for name, field in model.model_fields.items() if kind_of(field.annotation) == "integer"]
    return [
        {name: int(cell) if name in whole else cell for name, cell in row.items() if not pd.isna(cell) and cell != ""}
        for row in edited.to_dict("records")
    ]


def _step(value: float) -> float:
    """A tenth of the value's own size."""
    return 10.0 ** (math.floor(math.log10(abs(value))) - 1) if value else 0.1


def _toml_key(name: str) -> str:
    bare = name and all(c.isascii() and (c.isalnum() or c in "-_") for c in name)
    return name if bare else json.dumps(name, ensure_ascii=False)
