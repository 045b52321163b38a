"""The results of a comparison on larger models: its verdict, gains with their intervals, every task, costs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.compare import proofwords
from app.compare.charts import gain_panels
from app.compare.gainspanel import show
from app.words import count, plain
from climb_engine.compare import Comparison
from climb_engine.compare.outcome import FEWEST, Kind, Model
from climb_engine.compare.table import cost_table, mixture_table, task_table
from climb_engine.console import seconds_text

_READ = (
    "A row is a method. Its point is the mean gain over the replicates, its bar the 95 % interval (Student t, paired "
    "by replicate). Right of the line is better. Filled and blue: better beyond the noise; filled and orange: worse "
    "beyond it; hollow and grey: it may be chance. Intervals hold for these items and this one trunk, and are not "
    "corrected for the number of methods."
)


def results(comparison: Comparison) -> None:
    """What the methods' mixtures made of larger models."""
    others = [name for name in comparison.methods if name != "natural"]
    if not others or "natural" not in comparison.methods:
        st.caption("Gains are shown as soon as a target on natural and one on another mixture are there.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", key="proof-choice"):
        kinds = [name for name, kind in proofwords.KINDS.items() if comparison.tasks(kind)]
        kind_name = st.segmented_control("Measured in", kinds, default=kinds[0], required=True, key="proof.kind")
        references = [name for name in ("natural", "regmix") if name in comparison.methods]
        reference = references[0]
        if len(references) > 1:
            reference = st.segmented_control(
                "Against", references, default="natural", required=True, key="proof.against"
            )
        kind, reference = proofwords.KINDS[kind_name or kinds[0]], reference or references[0]
        method = _method(comparison, reference)
    show(proofwords.verdict(comparison, method, reference, kind))
    if comparison.options.replicates < FEWEST:
        st.caption(f"With fewer than {FEWEST} replicates nothing can be said about the noise; give more to go on.")
    sides = st.grid(2, min_column_width=400, gap="medium", key="proof-sides")
    unit = "points of accuracy won" if kind == "acc" else "bits per byte saved"
    with sides.cell():
        st.subheader(f"Gains over {reference}", help=_READ)
        _draw(gain_panels(proofwords.group_lines(comparison, reference, kind)), "proof-groups",
              f"Gains of every method over {reference} with 95 % intervals, by group of tasks, {unit}")  # fmt: skip
    with sides.cell():
        st.subheader(f"{plain(method)}, task by task", help=_READ)
        lines = proofwords.task_lines(comparison, method, reference, kind)
        _draw(gain_panels([("each task", lines)]), "proof-tasks",
              f"Gains of {method} over {reference} with 95 % intervals, task by task, {unit}")  # fmt: skip
    st.caption(
        f"{unit[:1].upper()}{unit[1:]}; right of the line is better. Filled points are beyond the noise, hollow grey "
        "ones within it."
    )
    _tables(comparison, kind)


def _method(comparison: Comparison, reference: str) -> str:
    """Whose verdict and tasks are shown: ours, or what saves most, unless another is picked."""
    others = [name for name in comparison.methods if name != reference]
    if st.session_state.get("proof.method") not in others:
        st.session_state.pop("proof.method", None)
    start = "ours" if "ours" in others else proofwords.best_method(comparison) or others[0]
    start = start if start in others else others[0]
    return st.selectbox("Method", others, others.index(start), key="proof.method", width=220) or start


def _tables(comparison: Comparison, kind: Kind) -> None:
    levels, costs, mixtures, noise = st.tabs(["Every task", "Costs", "Mixtures", "Noise and limits"])
    with levels:
        unit = "accuracy, %" if kind == "acc" else "bits per byte of the right answer, lower is better"
        st.caption(f"Mean over replicates ± half of the 95 % interval: {unit}.")
        _strings(proofwords.columns(task_table(comparison, kind)), "proof-levels", f"Every task by method, {unit}")
    with costs:
        _strings(
            proofwords.columns(cost_table(comparison)),
            "proof-costs",
            "Cost of each method, and what its search foretold",
        )
        st.caption(
            f"Means over replicates. All share two trunks besides: that of the proxies ({_cost(comparison.proxy)}) and "
            f"that of the targets ({_cost(comparison.target)}). "
            "Foretold: the gain of the score over natural that a search expected, by its proxies; measured: the "
            "targets' own, on items that the searches have not seen."
        )
    with mixtures:
        _strings(proofwords.columns(mixture_table(comparison)), "proof-mixtures", "Mean mixture of each method, %")
        st.caption("Weights in %, mean over replicates (standard deviation).")
    with noise:
        _limits(comparison)


def _cost(model: Model) -> str:
    return f"{seconds_text(model.trunk_seconds)}, {model.trunk_flops:.1e} FLOPs"


def _limits(comparison: Comparison) -> None:
    sd, freedom = comparison.noise("bpb")
    if freedom:
        st.markdown(f"- Targets of one mixture differ by sd {sd:.4f} bits per byte from data order to data order.")
    failed = [one for one in comparison.measured if one.error]
    for one in failed:
        st.markdown(plain(f"The target of {one.method}, seed {one.seed}, failed: {one.error}"))
    st.markdown(
        "- Replicates differ in the search's seed and in the data order, so intervals hold the noise of both.\n"
        "- They do not hold the noise of the items, which are the same for all, nor of the trunk: there is one.\n"
        f"- Models of {count(comparison.target.parameters)} parameters can hardly answer: their accuracy is near "
        "chance, and bits per byte of the right answer tell more."
    )


def _strings(table: dict[str, list[str]], key: str, alt: str) -> None:
    rows = len(next(iter(table.values()), ()))
    first, *others = table
    config: dict[str, Any] = {first: st.column_config.TextColumn(pinned=True)}
    config |= {name: st.column_config.TextColumn(alignment="right") for name in others}
    st.dataframe(table, hide_index=True, alt=alt, key=key, height="content" if rows < 25 else 600, column_config=config)


def _draw(figure: Any, key: str, alt: str) -> None:
    st.plotly_chart(figure, key=key, alt=alt, config={"displayModeBar": False})
