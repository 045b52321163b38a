"""The charts of the search page, each through the one filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from app import charts
from app.colours import domain_colours
from app.search import charts as searchcharts
from app.search.charts import FAILED, Points, symbol_of
from app.search.filtering import looked_at
from app.search.fitting import Fitted, predictions, ranked
from app.search.head import since_the_choice
from app.search.positions import METHODS, landscape
from app.search.view import Flags, View
from app.steps import SEARCHED
from app.words import plain, plural
from climb_engine.search.reuse import REUSED
from climb_engine.types import FloatArray, Trial
from climb_engine.workspace import digest_of

_PAN = {
    "displayModeBar": True,
    "displaylogo": False,
    "scrollZoom": True,
    "modeBarButtonsToRemove": ["autoScale2d", "toImage", "select2d", "lasso2d"],
}
STILL = {"displayModeBar": False}


def the_map(view: View, fit: Fitted | None, passed: Flags) -> None:
    """Mixtures of every iteration, and the trial that is looked at."""
    method = st.segmented_control(
        "Map by", list(METHODS), default="t-SNE", key="layout", required=True, bind="query-params",
        label_visibility="collapsed", help="; ".join(f"{name}: {words}" for name, words in METHODS.items()),
    )  # fmt: skip
    dark, ringed = st.context.theme.type == "dark", looked_at(view)
    known = fit.told if fit else ""
    key = digest_of([view.key, known, method, dark, ringed, np.packbits(passed).tolist()])
    figure = drawn(key, lambda: _map_figure(view, fit, passed, method or "t-SNE", ringed, dark))
    st.plotly_chart(
        figure, key="landscape", on_select="rerun", selection_mode="points", config=_PAN,
        alt=f"Map of {plural(int(passed.sum()), 'trial')} by their mixtures, coloured by score",
    )  # fmt: skip
    hollow = "hollow: open, its colour predicted" if fit else "hollow: open"
    natural = sum(view.trials[i].origin == "natural" for i in np.flatnonzero(passed))
    star = f", and a star for {plural(natural, 'natural run')}" if natural else ""
    st.caption(
        f"{plural(int(passed.sum()) - natural, 'point')}{star}. Symbol: iteration. Filled: measured; {hollow}. Faint: "
        "candidates" + (" by predicted score." if fit else ".") + " Click a point for its trial.",
        help=f"Alike mixtures are near each other, in Hellinger distance. {METHODS[method or 't-SNE']} The axes mean "
        "nothing. When an iteration comes, the map grows and the former points stay about where they were. Trials of "
        "the same mixture, such as confirmations, lie on one another.",
    )


def best_so_far(view: View, passed: Flags) -> None:
    """Scores in the order of the trials."""
    st.subheader(
        "Best so far",
        help="Points: measured trials in order. Line: the best so far. Dashed: the natural mixture's mean, with a band "
        "of one standard deviation of a single run. A lead inside the band is no lead.",
    )
    rows = [i for i in view.teaching if passed[i] and view.trials[i].origin in SEARCHED]
    if not rows:
        st.caption("No searched trial is measured among these.")
        return
    figure = drawn(
        chart_key("best", view, passed),
        lambda: charts.best_so_far(
            view.scores[rows], [view.trials[i].iteration for i in rows], [view.trials[i].id for i in rows],
            view.natural, view.outcome.noise_sd,
        ).update_yaxes(title="score"),
    )  # fmt: skip
    best = float(view.scores[rows].max())
    st.plotly_chart(figure, key="best", config=STILL, alt=f"Best score so far, {best:.4f}, against natural")
    st.caption(f"{plural(len(rows), 'point')}: measured trials of the search and of your own, in their order.")


def foretold(view: View, fit: Fitted | None, passed: Flags, coming: bool = False) -> None:
    """Held-out predictions against what was measured; ``coming``: the predictor is being fitted."""
    st.subheader(
        "Predicted against measured",
        help="Each trial was predicted by a predictor that had not seen it. On the dashed line prediction and "
        "measurement agree; bars are 80 % intervals, so four of five should cross the line. Only the order matters "
        "for choosing: that is the rank correlation (Spearman's). What the noise allows is what predictions without "
        "any error would reach, since a single run is not its mixture's mean. Click a point for its trial.",
    )
    mean, sd = predictions(view, fit)
    rows = np.flatnonzero(passed & np.isfinite(mean) & np.isfinite(view.scores))
    if not len(rows) and coming:
        st.skeleton(330)
        return
    if not len(rows):
        st.caption("Nothing is held out yet: it takes six different measured mixtures and a fitted predictor.")
        return
    trials, iterations = ([getattr(view.trials[i], name) for i in rows] for name in ("id", "iteration"))
    figure = drawn(
        chart_key("foretold", view, passed, fit),
        lambda: searchcharts.against_measured(
            mean[rows], sd[rows], view.scores[rows], np.array(trials), np.array(iterations)
        ),
    )
    found = ranked(view, fit, passed)
    said = found.text if found else ""
    st.plotly_chart(
        figure, key="foretold", on_select="rerun", selection_mode="points", config=STILL,
        alt=f"Held-out predictions against measured scores: {said}",
    )  # fmt: skip
    name = f"{fit.name}: " if fit else ""
    chosen = view.outcome.chosen
    then = since_the_choice(fit.trust if fit else None, chosen.trust if chosen else None)
    st.caption(plain(f"{name}{said}. {then}Lighter points are of later iterations."))


def domain_effects(view: View, fit: Fitted | None, coming: bool = False) -> None:
    """What each domain does for the predicted score; ``coming``: the predictor is being fitted."""
    st.subheader(
        "What each domain does",
        help="Change of the predicted score when the natural mixture takes twice as much of a domain and less of all "
        "others, limits left aside. Right: more of it helps. Lines: one standard deviation of the predictor's belief; "
        "where it crosses 0 the direction is not known.",
    )
    if fit is None and coming:
        st.skeleton(330)
        return
    if fit is None:
        st.caption("A fitted predictor would tell.")
        return
    colours = domain_colours(view.run, view.domains)
    key = chart_key("effects", view, None, fit) + digest_of(colours)
    figure = drawn(key, lambda: searchcharts.effects(view.domains, fit.effects, fit.effect_sds, colours))
    best = view.domains[int(np.argmax(fit.effects))]
    st.plotly_chart(
        figure, key="effects", config=STILL, alt=f"Effect of doubling each domain; {best} raises the score most"
    )


def weights_move(view: View, passed: Flags) -> None:
    """Mean mixtures of the iterations, from natural to the choice."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader(
            "How the weights move", width="content",
            help="The natural mixture, the mean mixture of each iteration's trials (in brackets how many: drawn in it "
            "and passing the filter), and what was found. Thin lines join the same domain from step to step. A search "
            "that has settled changes little at the end.",
        )  # fmt: skip
        of = st.segmented_control(
            "Mean of", ["all", "best quarter"], default="all", key="mean", required=True, bind="query-params",
            label_visibility="collapsed", help="Of each iteration's trials: all, or the best measured quarter.",
        )  # fmt: skip
    steps, table = mean_weights(view, passed, of == "best quarter")
    colours = domain_colours(view.run, view.domains)
    key = chart_key(f"moves {of}", view, passed) + digest_of(colours)
    figure = drawn(key, lambda: searchcharts.weights_by_step(view.domains, steps, table, colours))
    moved = view.domains[int(np.argmax(table[-1] - table[0]))]
    st.plotly_chart(figure, key="moves", config=STILL, alt=f"Weights of the domains by iteration; {moved} gains most")


def mean_weights(view: View, passed: Flags, best: bool) -> tuple[list[str], FloatArray]:
    """Names of the steps, and the mixture (steps, m) of each: natural, the iterations' means, what was found."""
    steps, rows = ["natural"], [view.search.space.natural]
    for iteration in range(1, view.search.iteration + 1):
        mine = [i for i, one in enumerate(view.trials) if one.iteration == iteration and one.origin == "sampled"]
        mine = [i for i in mine if passed[i]]
        if best:
            mine = sorted((i for i in mine if np.isfinite(view.scores[i])), key=lambda i: -view.scores[i])
            mine = mine[: -(-len(mine) // 4)]
        if mine:
            steps.append(f"iteration {iteration} ({len(mine):,})")
            rows.append(view.weights[mine].mean(axis=0))
    found = view.outcome.chosen.mixture if view.outcome.chosen else view.leader.mixture if view.leader else None
    if found:
        steps.append("chosen" if view.outcome.chosen else "best so far")
        rows.append(found.weights)
    return steps, np.array(rows)


def drawn(key: str, build: Callable[[], Any]) -> Any:
    """A figure, built once for its key."""
    return _drawn(key, build)


def chart_key(chart: str, view: View, passed: Flags | None, fit: Fitted | None = None) -> str:
    """What a chart of the trials that pass depends on, and of a fit where it shows one."""
    seen = [] if passed is None else np.packbits(passed).tolist()
    return digest_of([chart, view.key, seen, fit.told if fit else ""])


@st.cache_resource(max_entries=64, show_spinner=False)
def _drawn(key: str, _build: Callable[[], Any]) -> Any:  # noqa: ARG001
    return _build()


def _map_figure(view: View, fit: Fitted | None, passed: Flags, method: str, ringed: int | None, dark: bool) -> Any:
    place = landscape(view, method)
    rings = []
    if place.chosen is not None:
        rings.append(("chosen", (float(place.chosen[0]), float(place.chosen[1]))))
    elif view.leader and (at := view.place(view.leader.id)) is not None:
        rings.append(("best so far", (float(place.trials[at, 0]), float(place.trials[at, 1]))))
    if ringed is not None and (at := view.place(ringed)) is not None:
        rings.append((f"trial {ringed}", (float(place.trials[at, 0]), float(place.trials[at, 1]))))
    natural = (float(place.natural[0]), float(place.natural[1]))
    groups = _groups(view, fit, passed, place.trials)
    scores = fit.background if fit else None
    return searchcharts.landscape(groups, place.background, scores, natural, rings, dark=dark)


def _groups(view: View, fit: Fitted | None, passed: Flags, positions: FloatArray) -> list[Points]:
    """Trials that look alike, in the order of their iterations; the natural mixture has a star of its own."""
    shown: dict[tuple[str, str, bool], list[int]] = {}
    for i, trial in enumerate(view.trials):
        if passed[i] and trial.origin != "natural":
            filled = trial.result is not None and trial.origin != REUSED
            symbol = FAILED if trial.error else symbol_of(trial.iteration, trial.origin)
            shown.setdefault((_called(trial), symbol, filled), []).append(i)
    mean, _ = predictions(view, fit)
    scores = np.where(np.isfinite(view.scores), view.scores, mean)
    return [
        Points(
            name, symbol, filled, positions[rows], scores[rows], np.array([view.trials[i].id for i in rows]),
            [_hover(view, i, mean[i]) for i in rows],
        )
        for (name, symbol, filled), rows in shown.items()
    ]  # fmt: skip


def _called(trial: Trial) -> str:
    if trial.error:
        return "failed"
    group = {"suggested": "your own", "confirm": "confirming", REUSED: "taken over"}.get(
        trial.origin, f"iteration {trial.iteration}"
    )
    return f"{group}, open" if trial.open else group


def _hover(view: View, row: int, predicted: float) -> str:
    trial, score = view.trials[row], view.scores[row]
    lines = [f"trial {trial.id}, iteration {trial.iteration}, {trial.origin}"]
    if np.isfinite(score):
        against = f" ({score - view.natural:+.4f} to natural)" if np.isfinite(view.natural) else ""
        lines.append(f"score {score:.4f}{against}")
    elif trial.error:
        lines.append("failed")
    else:
        lines.append(f"open, predicted {predicted:.4f}" if np.isfinite(predicted) else "open")
    heaviest = np.argsort(-view.weights[row], kind="stable")[:3]
    lines += [f"{charts.label(view.domains[i], 24)} {view.weights[row, i]:.0%}" for i in heaviest]
    return "<br>".join(lines)
