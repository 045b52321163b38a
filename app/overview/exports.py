"""What was exported of a run, whether it is still what was found, and what comes after."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import streamlit as st

from app.compare.proofs import proofs
from app.export.former import KINDS, Former
from app.steps import Step, after_export
from app.words import plain, when
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search

_SHOWN = 3  # exports


def after(run: Run, search: Search | None, exports: Sequence[Former], otherwise: Step) -> Step:
    """What to do next: where the step is to export the mixture and that was done, what comes after it."""
    exporting = otherwise.arguments is None and otherwise.page is None
    if not exporting or search is None or search.choice is None:
        return otherwise
    chosen = search.choice.mixture.as_dict()
    there = [one for one in exports if _same(one.weights, chosen)]
    mixtures = [one for one in there if one.kind == "mixture"]
    if not mixtures:
        return otherwise
    proven = any(one.results.exists() and one.targets() for one in proofs(run.workspace))
    what = f"The chosen mixture was exported on {when(mixtures[0].written)}."
    return after_export(what, proven, any(one.kind == KINDS["mixed"] for one in there))


def exported(search: Search | None, exports: Sequence[Former]) -> None:
    """What was exported and when, and the weights to take along."""
    if not exports:
        return
    chosen = search.choice.mixture.as_dict() if search and search.choice else {}
    with st.container(border=True, key="exported", gap="xsmall"):
        for one in exports[:_SHOWN]:
            _row(one, chosen)
        if len(exports) > _SHOWN:
            st.caption(f"{len(exports) - _SHOWN} more are on the Export page.")


def _row(one: Former, chosen: Mapping[str, float]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        stale = bool(chosen and one.weights) and not _same(one.weights, chosen)
        aside = " · :orange[other weights than the mixture that is chosen now]" if stale else ""
        told = f"{one.kind} in exports/{one.name}, {when(one.written)}" + (f", {one.content}" if one.content else "")
        st.markdown(f":material/inventory_2: {plain(told[:1].upper() + told[1:])}{aside}", help=plain(str(one.folder)))
        path = one.folder / "mixture.json"
        if one.kind == "mixture" and path in one.files:
            st.download_button(
                "mixture.json", path.read_bytes(), "mixture.json", "application/json", on_click="ignore",
                icon=":material/download:", key=f"exported.{one.name}",
            )  # fmt: skip


def _same(weights: Mapping[str, float], chosen: Mapping[str, float]) -> bool:
    return weights.keys() == chosen.keys() and all(
        math.isclose(weights[name], chosen[name], abs_tol=1e-6) for name in chosen
    )
