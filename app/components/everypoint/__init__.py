"""A map with every document as a point, drawn by the browser's graphics card. Our own JavaScript; no other host."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

KEY = "everypoint"
"""Where the session keeps what the map tells: a ``selection`` as Plotly has it, or ``missing`` without WebGL2."""

_PROBE = f"{KEY}.probe"
_MISSING = "no webgl"


@dataclass(frozen=True, eq=False)
class Stock:
    """A large array on its way to the browser, which keeps it by its address."""

    address: str  # 12 characters
    content: bytes


def every_point(positions: Stock, colours: Stock, look: Mapping[str, Any]) -> None:
    """Mount the map. An array that the browser has is not sent again; ``look`` is small and is.

    ``positions`` are uint16 pairs across and up, 0 to 65535 in the box; ``colours`` are uint8 indices of the palette.
    ``look``: box (left, right, bottom, top), height in pixels, alt, title, palette (of #rrggbb), names (of the groups)
    or scale (low, high; the palette's last is for what is not known), legend (name, colour), labels (text, across, up,
    level: 0 domain, 1 cluster; the first matter most), marked (documents that are ringed), shapes (polygons). All but
    the box: 0 to 1.
    """
    mount = _component()
    with st.container(gap=None, key="every"):
        for name, stock in (("positions", positions), ("colours", colours)):
            mount(key=f"{KEY}.{name}", data=stock.address.encode() + stock.content)
        mount(key=KEY, data={"positions": positions.address, "colours": colours.address, **look})


def without_webgl() -> bool:
    """Whether this browser has told that it has no WebGL2."""
    told = (st.session_state.get(key) or {} for key in (KEY, _PROBE))
    if any(one.get("missing") for one in told):
        st.session_state[_MISSING] = True
    return bool(st.session_state.get(_MISSING))


def ask_again() -> None:
    """Forget what the browser told of WebGL2."""
    st.session_state.pop(_MISSING, None)


def probe() -> None:
    """Let the browser tell when it has no WebGL2; nothing is to be seen."""
    _component()(key=_PROBE, data={"probe": True})


@functools.cache
def _component() -> Any:
    folder = Path(__file__).parent
    css, js = ((folder / f"everypoint.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return st.components.v2.component("everypoint", css=css, js=js)
