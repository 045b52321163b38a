"""The compare page: a card for each mixture, their weights, scores and repeats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import streamlit as st

from app import charts
from app.colours import domain_colours
from app.compare.charts import MOST, Measured, score_panels, swatch, weight_bars
from app.compare.compared import spread, task_title, tasks
from app.compare.gains import SCORE
from app.compare.gainspanel import gains_table
from app.compare.pick import Picked
from app.compare.sums import by_difference, effective_domains, most_tokens, times_read, too_often, typed_tokens
from app.words import count, plain
from climb_engine.export.dataset import MixedOptions
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.search.objective import Objective

_PANELS = 9  # the score and so many tasks less one are drawn; all are in the table


def cards(search: Search, found: list[Picked], times: float) -> None:
    """One card per mixture: its score as far as it is known, and its shape."""
    with st.grid(4, min_column_width=140, gap="small", key="cards"):
        for picked in found:
            with st.container(border=True, height="stretch", gap="xsmall", key=f"card-{picked.slot}"):
                _card(search, picked, times)


def weights_chart(search: Search, found: list[Picked]) -> None:
    """Grouped bars, the domains that differ most on top."""
    st.subheader(
        "Weights",
        help="A group of bars per domain, one bar per mixture; the domains that differ most are on top. Ticks: the "
        "domain's natural share of the tokens. As ratios: 2 x is twice its natural share, bars to the left are less.",
    )
    ratio = st.toggle("As ratio to natural (log scale)", key="ratio", bind="query-params")
    space = search.space
    table = np.array([picked.one.mixture.weights for picked in found])
    names, colours = [picked.one.key for picked in found], [picked.colour for picked in found]
    figure = weight_bars(space.domains, table, space.share, names, colours, ratio)
    _draw(figure, "weights", f"Weights of {', '.join(names)} by domain, with the natural shares")
    if len(space.domains) > MOST:
        st.caption(f"The {MOST} domains that differ most of {len(space.domains)}; the table below has all.")


def scores_chart(search: Search, found: list[Picked]) -> None:
    """The score and what it is made of, each on a scale of its own."""
    st.subheader(
        "Scores",
        help="Filled point: mean of the runs; line: plus and minus one standard deviation over their seeds; faint "
        "points: single runs. Hollow: predicted, with the standard deviation of the prediction. Farther right is "
        "better in every panel, but each has its own scale.",
    )
    panels = {"Score": (SCORE, search.objective)}
    panels |= {task_title(name): (name, task) for name, task in tasks(search.objective).items()}
    shown = list(panels.items())[:_PANELS]
    lines = [(title, [_measured(picked, *part) for picked in found]) for title, part in shown]
    if not any(math.isfinite(line.mean) for _, some in lines for line in some):
        st.caption(plain(f"None of these mixtures is measured or foretold yet. Score: {search.objective.describe()}."))
        return
    _draw(
        score_panels(lines), "panels", f"Scores of {', '.join(picked.one.key for picked in found)} in total and by task"
    )
    st.caption(plain(f"Score: {search.objective.describe()}."))
    if any(picked.one.measured and len(picked.one.runs) == 1 for picked in found):
        st.caption("A mixture that was run once has no error bar: how much its score varies by seed is not known.")


def repeats_part(run: Run, search: Search, found: list[Picked], times: float) -> None:
    """How often each domain is read for a token budget, with a word where that is too often."""
    st.subheader(
        "Repeats",
        help="A training run that draws this many tokens by the mixture reads each domain so often. Up to about "
        f"{times:g} times, repeated tokens are nearly as good as new ones (Muennighoff and others, 2305.16264).",
    )
    space = search.space
    written = st.text_input(
        "Tokens of the training run", _budget(run, search), key="budget", bind="query-params", width=220,
        help="500000, 10M, 2.5B. Tokens that are held out for measuring do not count as available.",
    )  # fmt: skip
    budget = typed_tokens(written)
    read = {picked.one.key: times_read(picked.one.mixture.weights, space.tokens, budget) for picked in found}
    for key, often in read.items():
        over = too_often(space.domains, often, times)
        if over:
            named = ", ".join(f"{domain} {n:.1f} x" for domain, n in over)
            st.warning(plain(f"{key} reads more than {times:g} times: {named} repeated."), icon=":material/repeat:")
    colours = domain_colours(run, space.domains)
    order = by_difference(np.array([picked.one.mixture.weights for picked in found]))
    table: dict[str, Any] = {
        "": [charts.swatch(colours[d]) for d in order], "domain": [space.domains[d] for d in order],
        "tokens": space.tokens[order].astype(int).tolist(),
    }  # fmt: skip
    table |= {f"{key} x": often[order].tolist() for key, often in read.items()}
    numbers = {f"{key} x": st.column_config.NumberColumn(f"{key} x", format="%.2f") for key in read}
    st.dataframe(
        table, hide_index=True, alt=f"How often each domain is read in {written} tokens", key="repeats",
        height="content" if len(order) < 25 else 600,
        column_config=_domain_columns() | numbers
        | {"tokens": st.column_config.NumberColumn("Tokens available", format="localized")},
    )  # fmt: skip


def tables(run: Run, search: Search, found: list[Picked]) -> None:
    """All numbers: weights by domain, and every metric that was measured."""
    weights, metrics, gained = st.tabs(["Table of weights", "Every metric", "Gain in every metric"])
    with weights:
        _weights_table(run, search, found)
    with metrics:
        _metrics_table(found)
    with gained:
        gains_table(search, found)


def times_allowed(run: Run) -> float:
    """How often a domain may be read: the search's limit, else what is commonly thought harmless."""
    return run.config.search.max_repeats or MixedOptions.max_repeats


def _card(search: Search, picked: Picked, times: float) -> None:
    one, space = picked.one, search.space
    line = _measured(picked, SCORE, search.objective)
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.image(swatch(picked.colour), width=14, alt=f"Colour of {one.key}")
        st.markdown(f"**{plain(one.key)}**")
    st.markdown(f"**{line.mean:.4f}**{_sd(line.sd)}" if math.isfinite(line.mean) else "not measured")
    st.caption(plain(_how_known(picked)))
    away = float(space.divergence(one.mixture.weights[None])[0])
    st.caption(
        f"{effective_domains(one.mixture.weights):.1f} of {len(space.domains)} effective domains, "
        f"{away:.2f} nats from natural",
        help="Effective domains: exp of the entropy of the weights, as many as equal weights would need for it. Nats: "
        "the Kullback-Leibler divergence from the natural shares, 0 for the natural mixture itself.",
    )
    most = most_tokens(one.mixture.weights, space.tokens, times)
    st.caption(f"Enough for {count(most)} tokens with no domain read more than {times:g} times")


def _how_known(picked: Picked) -> str:
    one, runs = picked.one, len(picked.one.runs)
    note = f"; {one.note}" if one.note else ""
    if runs > 1:
        return f"mean of {runs} runs ± sd over seeds{note}"
    if runs:
        return f"one run, so no error bar{note}"
    how = "Predicted ± sd of the prediction" if picked.predicted else "Too few trials to predict it"
    if one.queued:
        return f"{how}; it waits in the queue{note}"
    return f"{how}; its last run failed: {one.error}{note}" if one.error else f"{how}; not measured yet{note}"


def _measured(picked: Picked, part: str, objective: Objective) -> Measured:
    scores = list(picked.one.scores(objective).values())
    mean, sd = spread(scores) if scores else picked.predicted.get(part, (math.nan, math.nan))
    return Measured(picked.one.key, picked.colour, scores, mean, sd)


def _sd(sd: float) -> str:
    return f" ± {sd:.4f}" if math.isfinite(sd) else ""


def _budget(run: Run, search: Search) -> str:
    stated = run.config.search.token_budget
    return str(stated) if stated else count(float(search.space.tokens.sum())).replace(" ", "").upper()


def _weights_table(run: Run, search: Search, found: list[Picked]) -> None:
    space, colours = search.space, domain_colours(run, search.space.domains)
    order = by_difference(np.array([picked.one.mixture.weights for picked in found]))
    table: dict[str, Any] = {
        "": [charts.swatch(colours[d]) for d in order], "domain": [space.domains[d] for d in order],
        "natural share": (100 * space.share[order]).tolist(),
    }  # fmt: skip
    for picked in found:
        table[f"{picked.one.key} %"] = (100 * picked.one.mixture.weights[order]).tolist()
    percent = {name: st.column_config.NumberColumn(format="%.2f") for name in list(table)[3:]}
    natural = st.column_config.NumberColumn("Natural share %", format="%.2f")
    st.dataframe(
        table, hide_index=True, alt="Weights of the mixtures by domain", key="weights-table",
        height="content" if len(order) < 25 else 600,
        column_config=_domain_columns() | percent | {"natural share": natural},
    )  # fmt: skip


def _metrics_table(found: list[Picked]) -> None:
    measured = [picked.one for picked in found if picked.one.measured]
    if not measured:
        st.caption("None of these mixtures is measured yet.")
        return
    values = {one.key: [trial.result.metrics for trial in one.runs.values() if trial.result] for one in measured}
    names = sorted({name for rows in values.values() for row in rows for name in row})
    table: dict[str, Any] = {"metric": names}
    for key, rows in values.items():
        known = {name: spread([row[name] for row in rows if name in row]) for name in names}
        table |= {key: [known[name][0] for name in names], f"{key} sd": [known[name][1] for name in names]}
    st.dataframe(
        table, hide_index=True, alt="Every measured metric, mean and standard deviation over seeds", key="metrics",
        height="content" if len(names) < 25 else 600,
        column_config={"metric": st.column_config.TextColumn("Metric", width="medium")}
        | {name: st.column_config.NumberColumn(format="%.4f") for name in list(table)[1:]},
    )  # fmt: skip
    st.caption("As measured: bits per byte (bpb) are better when lower, accuracies (acc) when higher.")


def _domain_columns() -> dict[str, Any]:
    return {"": st.column_config.ImageColumn(width=30), "domain": st.column_config.TextColumn("Domain", width=180)}


def _draw(figure: Any, key: str, alt: str) -> None:
    st.plotly_chart(figure, key=key, alt=alt, config={"displayModeBar": False})
