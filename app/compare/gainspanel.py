"""How the chosen mixtures differ: what can be said in words, the gains with their intervals, and every number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app.compare.charts import GainLine, gain_panels
from app.compare.compared import task_title
from app.compare.gains import (
    SCORE,
    Gain,
    Verdict,
    differences,
    is_accuracy,
    other_gains,
    part_gains,
    score_gain,
    verdict,
)
from app.compare.pick import Picked
from app.words import plain
from climb_engine.search.loop import Search

_HELP = (
    "Runs with the same seed read in the same order, so their difference is less noisy than a score; only seeds that "
    "both were run with count, and more of them can be trained above. A difference is beyond the noise when its 95 % "
    "interval (Student t over the pairs) does not hold 0. With many metrics, about one in twenty is beyond the noise "
    "by chance."
)
_BOXES = {"good": st.success, "unclear": st.info, "bad": st.warning}


def gains(search: Search, found: list[Picked]) -> None:
    """Every measured mixture against one of them: in words, as a figure, as a table."""
    measured = [picked for picked in found if picked.one.measured]
    if len(measured) < 2:
        return
    st.subheader("Gains", help=_HELP)
    reference = _reference(measured)
    others = [picked for picked in measured if picked is not reference]
    for picked in others:
        one, other = picked.one, reference.one
        parts = part_gains(one, other, search.objective)
        show(verdict(score_gain(one, other, search.objective), parts, other_gains(one, other, search.objective)))
    _figure(search, others, reference)
    rows = differences([picked.one for picked in found], search.objective)
    if len(rows) > 1:
        _table(rows)


def show(found: Verdict) -> None:
    """A verdict as a box."""
    _BOXES[found.kind](plain("\n".join(found.lines)), title=plain(found.headline))


def gains_table(search: Search, found: list[Picked]) -> None:
    """The gain in every metric over the reference, the score and its parts first."""
    measured = [picked for picked in found if picked.one.measured]
    if len(measured) < 2:
        st.caption("Gains are between two measured mixtures.")
        return
    reference = _reference_of(measured, st.session_state.get("against"))
    rows = [
        gain for picked in measured if picked is not reference for gain in _all(search, picked, reference) if gain.pairs
    ]
    st.dataframe(
        {
            "mixture": [gain.one for gain in rows],
            "metric": [gain.metric for gain in rows],
            "one": [gain.levels[0] for gain in rows],
            "other": [gain.levels[1] for gain in rows],
            "better": [gain.mean for gain in rows],
            "low": [gain.interval[0] for gain in rows],
            "high": [gain.interval[1] for gain in rows],
            "verdict": [gain.verdict for gain in rows],
        },
        hide_index=True, alt=f"Gains over {reference.one.key} in every metric", key="gains-table",
        height="content" if len(rows) < 25 else 600,
        column_config=_number_columns(reference.one.key) | {
            "mixture": "Mixture", "metric": st.column_config.TextColumn("Metric", width="medium"),
        },
    )  # fmt: skip
    st.caption(
        "Means over the pairs, as measured: bits per byte (bpb) are better when lower, accuracies (acc) when higher. "
        "'Better by' is positive where the mixture is better, in either."
    )


def _reference(measured: list[Picked]) -> Picked:
    """What the others are compared with: natural where it is there, unless another is picked."""
    start = _reference_of(measured, "natural")
    if len(measured) == 2:
        return start
    names = [picked.one.key for picked in measured]
    if st.session_state.get("against") not in names:
        st.session_state.pop("against", None)
    return _reference_of(
        measured, st.segmented_control("Against", names, default=start.one.key, required=True, key="against")
    )


def _reference_of(measured: list[Picked], name: str | None) -> Picked:
    by_name = {picked.one.key: picked for picked in measured}
    return by_name.get(name or "natural", by_name.get("natural", measured[-1]))


def _all(search: Search, picked: Picked, reference: Picked) -> list[Gain]:
    one, other, objective = picked.one, reference.one, search.objective
    parts = part_gains(one, other, objective)
    return [score_gain(one, other, objective), *parts, *other_gains(one, other, objective)]


def _figure(search: Search, others: list[Picked], reference: Picked) -> None:
    """The score and what it is made of: for one mixture a row each, for several a panel each."""
    lines: dict[str, list[GainLine]] = {}
    for picked in others:
        one, other = picked.one, reference.one
        for gain in (score_gain(one, other, search.objective), *part_gains(one, other, search.objective)):
            scale, digits = (100.0, 1) if is_accuracy(gain.metric) else (1.0, 4)
            name = _title(gain.metric) if len(others) == 1 else picked.one.key
            line = GainLine(name, picked.colour, gain.mean, gain.interval, scale, digits)
            lines.setdefault(gain.metric, []).append(line)
    for accuracies in (False, True):  # each on a scale of its own
        shown = {metric: some for metric, some in lines.items() if is_accuracy(metric) == accuracies}
        if not shown:
            continue
        panels = [(_title(metric), some) for metric, some in shown.items()]
        if len(others) == 1:
            what = "points of accuracy" if accuracies else "score and bits per byte"
            panels = [(f"{others[0].one.key} over {reference.one.key}, {what}", [some[0] for some in shown.values()])]
        names = ", ".join(picked.one.key for picked in others)
        st.plotly_chart(
            gain_panels(panels), key=f"gains-figure-{accuracies}", config={"displayModeBar": False},
            alt=f"Gains of {names} over {reference.one.key} in the score and each of its parts, with 95 % intervals",
        )  # fmt: skip
    st.caption(
        plain(
            f"Right of the line: better than {reference.one.key}. Bars: 95 % intervals over the pairs. Filled points "
            "are beyond the noise, hollow ones within it or without an interval."
        )
    )


def _title(metric: str) -> str:
    return "Score" if metric == SCORE else task_title(metric).replace("minus bits", "bits")


def _table(rows: Sequence[Gain]) -> None:
    st.dataframe(
        {
            "difference": [f"{row.one} minus {row.other}" for row in rows],
            "one": [row.levels[0] for row in rows],
            "other": [row.levels[1] for row in rows],
            "mean": [row.mean for row in rows],
            "low": [row.interval[0] for row in rows],
            "high": [row.interval[1] for row in rows],
            "pairs": [row.pairs for row in rows],
            "verdict": [row.verdict for row in rows],
        },
        hide_index=True, alt="Differences of scores between the mixtures", key="gains", height="content",
        placeholder="",
        column_config=_number_columns("second") | {
            "difference": "Difference of scores",
            "one": st.column_config.NumberColumn(
                "First", format="%.4f", help="Mean score of the first mixture over the pairs: its other runs do not "
                "count here, so it may differ from the mean on its card.",
            ),
            "other": st.column_config.NumberColumn("Second", format="%.4f", help="The same of the second mixture."),
            "mean": st.column_config.NumberColumn("Mean", format="%+.4f"),
            "pairs": st.column_config.NumberColumn("Pairs", help="Seeds that both were run with."),
        },
    )  # fmt: skip


def _number_columns(reference: str) -> dict[str, Any]:
    return {
        "one": st.column_config.NumberColumn("Mixture's mean", format="%.4f"),
        "other": st.column_config.NumberColumn(f"{reference}'s mean", format="%.4f"),
        "better": st.column_config.NumberColumn("Better by", format="%+.4f"),
        "low": st.column_config.NumberColumn("95 % from", format="%+.4f"),
        "high": st.column_config.NumberColumn("to", format="%+.4f"),
        "verdict": st.column_config.TextColumn("In words", width="medium"),
    }
