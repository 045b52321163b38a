"""The export page's choice: the chosen mixture or a trial's, with everything there is to say about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from app import charts
from app.colours import domain_colours
from app.compare.compared import Compared, compared, spread, trial_names, trial_of
from app.compare.gains import other_gains, part_gains, score_gain, verdict
from app.compare.gainspanel import show
from app.steps import leader
from app.words import plain, plural
from climb_engine.export.kept import Artifacts, tokens_per_document
from climb_engine.export.mixture import exported
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.types import Mixture


@dataclass(frozen=True, eq=False)
class Picked:
    """What is to be exported."""

    key: str  # "chosen" or "trial-12"
    trial: int | None  # None: the chosen one
    mixture: Mixture
    record: Mapping[str, Any]  # what mixture.json holds

    @property
    def arguments(self) -> tuple[str, ...]:
        """The command line's words for it."""
        return () if self.trial is None else ("--trial", str(self.trial))


def picker(run: Run, search: Search) -> Picked:
    """Draw the box, and return the mixture that it names.

    Raises ClimbError when the run's artifacts are not all there.
    """
    options = (["chosen"] if search.choice else []) + trial_names(search)
    asked = st.query_params.get("mix")
    if asked and asked not in options:
        st.warning(f"There is no mixture called {plain(asked[:64])} to export; choose one from the list.")
    best = leader(search)
    start = options[0] if search.choice or best is None else f"trial-{best.id}"
    key = st.selectbox(
        "Mixture", options, options.index(start), key="mix", bind="query-params", width=260,
        help="The mixture that the search chose, or a trial's; the trials with the best scores come first.",
    )  # fmt: skip
    trial = trial_of(key)
    record = exported(search, trial, run.provenance(search))
    return Picked(key, trial, Mixture.from_dict(record["weights"], search.space.domains), record)


def summary(run: Run, search: Search, picked: Picked) -> None:
    """Score, what it is worth against natural, hash and where it comes from."""
    flatters = "" if picked.trial is None else " A single score flatters a trial that was picked for it."
    why = "" if search.choice else " The search has not chosen yet."
    st.caption(plain(f"{_score(picked.record)}{flatters}{why}"))
    _against_natural(search, picked)
    origin = picked.record["provenance"]
    with st.container(horizontal=True, vertical_alignment="center", key="identity"):
        st.markdown("Hash", width="content")
        st.code(picked.record["hash"], language=None, width="content")
        st.caption(
            plain(f"{origin['corpus']['documents']:,} documents, {origin['trials']} trials, method {origin['method']}"),
            width="content",
            help="The hash changes with any weight and with anything these came from: corpus, model, settings, "
            "overrides, number of trials. It stands in the JSON and YAML.",
        )
    with st.expander("Weights and provenance", key="origin"):
        sides = st.grid(2, min_column_width=380, gap="medium")
        with sides.cell():
            names = search.space.domains
            colours = domain_colours(run, names)
            figure = charts.mixture_bars(names, picked.mixture.weights, search.space.share, colours)
            st.plotly_chart(
                figure, key="export-bars", config={"displayModeBar": False},
                alt=f"Weights of {picked.key} beside the natural shares",
            )  # fmt: skip
            st.caption("Bars: weight. Ticks: the domain's natural share of the tokens.")
        with sides.cell():
            st.json(dict(origin), expanded=2)


def lengths(run: Run) -> dict[str, float]:
    """Mean tokens of each domain's documents, read once."""
    found = run.dataset_artifacts()
    return _lengths(str(found.tokens.folder), found.names, found)


def name_of(weights: Mapping[str, float], search: Search) -> str:
    """Which mixture of the search these weights are; "" when none."""
    if not weights:
        return ""
    if search.choice and search.choice.mixture.as_dict() == weights:
        return "chosen"
    return next((f"trial-{trial.id}" for trial in search.trials if trial.mixture.as_dict() == weights), "")


@st.cache_resource(max_entries=8, show_spinner="Reading document lengths")
def _lengths(folder: str, names: tuple[str, ...], _found: Artifacts) -> dict[str, float]:  # noqa: ARG001
    return tokens_per_document(_found)


def _score(record: Mapping[str, Any]) -> str:
    score = record["score"]
    if not score["runs"]:
        return "Not measured."
    sd = f" ± {score['sd']:.4f}" if score["sd"] is not None else ""
    runs = f"{score['runs']} runs" if score["runs"] > 1 else "one run, so its noise is not known"
    return f"Score {score['mean']:.4f}{sd} ({runs})."


def _against_natural(search: Search, picked: Picked) -> None:
    """The verdict over the runs that both were measured in, and what got worse."""
    one, natural = (_compared(search, key) for key in (picked.key, "natural"))
    if not one.measured or not natural.measured or one.mixture == natural.mixture:
        return
    objective = search.objective
    score = score_gain(one, natural, objective)
    found = verdict(score, part_gains(one, natural, objective), other_gains(one, natural, objective))
    runs = len(natural.runs)
    if runs > score.pairs:
        mean = spread(list(natural.scores(objective).values()))[0]
        what = f"Natural has {plural(runs, 'run')}, with a mean of {mean:.4f}; "
        pairs = {0: "none of them has", 1: "one of them has"}.get(score.pairs, f"{score.pairs} of them have")
        how = "" if score.pairs else " Give it runs of the same seeds on Compare to tell."
        found = replace(found, lines=(*found.lines, f"{what}{pairs} a seed in common with {one.key}.{how}"))
    show(found)


def _compared(search: Search, key: str) -> Compared:
    return compared(key, search, lambda: {}, lambda _: {})
