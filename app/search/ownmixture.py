"""A mixture by hand: sliders that keep the sum and the limits, what is predicted of it, and its place in the queue."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import charts, earlier, session
from app.colours import domain_colours
from app.compare.sums import times_read
from app.search.filtering import BESIDE
from app.search.fitting import Fitted
from app.search.mixing import from_weights, moved
from app.search.view import View
from app.words import count, plain
from climb_engine.export.mixture import read_weights
from climb_engine.search.threads import one_thread
from climb_engine.types import ClimbError, FloatArray
from climb_engine.workspace import digest_of

_OFTEN = 4.0  # times that a domain is read, beyond which a repeat brings clearly less (Muennighoff et al. 2023)
_DRAWS = 2_000


def own_mixture(view: View, fit: Fitted | None) -> None:
    """The sliders and all that belongs to them; it reruns by itself, without the charts."""
    st.fragment(_mixer)(view, fit)


def begin(view: View, weights: FloatArray, source: str, show: bool = False) -> None:
    """Start from this mixture, brought within the limits."""
    space = view.search.space
    allowed = bool(space.contains(weights[None])[0])
    _put(view, weights if allowed else space.project(weights[None])[0])
    st.session_state["own.said"] = f"Started from {source}." + ("" if allowed else " The limits changed it.")
    if show:
        st.session_state["beside"] = BESIDE[1]


def _mixer(view: View, fit: Fitted | None) -> None:
    mark = _mark(view)
    if f"{mark}.weights" not in st.session_state:
        _put(view, view.search.space.natural)
    elif not _drawn(view):  # sliders forget themselves where another panel or page was looked at
        _put(view, np.asarray(st.session_state[f"{mark}.weights"]))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sources = _sources(view)
        st.selectbox(
            "Start from", list(sources), index=None, key="own.source", placeholder="natural, chosen, a trial …",
            on_change=_from_source, args=(view,), width=260,
        )  # fmt: skip
        with st.popover("From a file", icon=":material/upload_file:"):
            st.file_uploader(
                "Weights as JSON, YAML or CSV", type=["json", "yaml", "yml", "csv"], key="own.file",
                on_change=_from_file, args=(view,), help="An export of this app, or an object of domain: weight. "
                "Weights are divided by their sum.",
            )  # fmt: skip
        st.button("Unlock all", key="own.unlock", type="tertiary", on_click=_unlock, args=(view,))
    if said := st.session_state.get("own.said"):
        st.caption(plain(said))
    if wrong := st.session_state.get("own.error"):
        session.show_error(wrong)
    weights = np.asarray(st.session_state[f"{mark}.weights"])
    _outlook(view, fit, weights)
    _queue(view, weights)
    _sliders(view, mark)
    _repeats(view, weights)


def _sliders(view: View, mark: str) -> None:
    space = view.search.space
    grid = st.grid(2, min_column_width=210, gap="small", key="own.sliders")
    for i, name in enumerate(view.domains):
        low, high = 100 * float(space.lower[i]), 100 * float(space.upper[i])
        with grid.cell(), st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall"):
            if high - low < 1e-6:
                st.caption(plain(f"{name}: {low:.1f} %, fixed by the limits"))
                continue
            st.slider(
                plain(f"{name} (natural {space.share[i]:.1%})"), low, high, step=0.1, format="%.1f %%",
                key=f"{mark}.{i}", on_change=_slid, args=(view, i),
            )  # fmt: skip
            st.checkbox(
                "Lock", key=f"{mark}.lock.{i}", help=f"Keep {plain(name)} as it is when others move.", width=70,
                persist_state="session",
            )  # fmt: skip


def _outlook(view: View, fit: Fitted | None, weights: FloatArray) -> None:
    space = view.search.space
    divergence = float(space.divergence(weights[None])[0])
    far = f"{divergence:.2f} nats from natural (KL divergence)"
    if fit is None:
        st.caption(f"What to expect of it is known once a predictor is fitted, from three measured trials on. {far}.")
        return
    both = np.stack([weights, space.natural])
    with one_thread():
        mean, sd = fit.predictor.predict(both)
        draws = fit.predictor.sample(both, _DRAWS, np.random.default_rng(0))
    gain_sd = float((draws[:, 0] - draws[:, 1]).std())
    with st.grid(3, min_column_width=150, gap="xsmall", key="own.outlook"):
        st.metric("Predicted score", f"{mean[0]:.4f}", f"± {sd[0]:.4f}", delta_color="off", delta_arrow="off",
                  border=True, help="Mean and sd of the predictor's belief; a run scatters besides.")  # fmt: skip
        st.metric("Gain over natural", f"{mean[0] - mean[1]:+.4f}", f"± {gain_sd:.4f}", delta_color="off",
                  delta_arrow="off", border=True, help="Of the two predictions, as they hang together.")  # fmt: skip
        st.metric("From natural", f"{divergence:.2f}", "nats", delta_color="off", delta_arrow="off", border=True,
                  help="KL divergence: 0 is the natural mixture itself.")  # fmt: skip


def _repeats(view: View, weights: FloatArray) -> None:
    space, config = view.search.space, view.run.config
    proxy = times_read(weights, space.tokens, config.proxy.tokens)
    ratio = np.divide(weights, space.share, out=np.full(len(weights), np.nan), where=space.share > 0)
    table = {
        "": [charts.swatch(colour) for colour in domain_colours(view.run, view.domains)[:-1]],
        "domain": list(view.domains),
        "weight": 100 * weights,
        "natural": 100 * space.share,
        "ratio": ratio,
        "proxy": proxy,
    }
    budget = config.search.token_budget
    if budget:
        table["budget"] = times_read(weights, space.tokens, budget)
    number = st.column_config.NumberColumn
    st.dataframe(
        table, hide_index=True, key="own.repeats", alt="Weights and repeats of this mixture", height=260,
        column_config={
            "": st.column_config.ImageColumn(width=30), "domain": "Domain", "weight": number("Weight %", format="%.2f"),
            "natural": number("Natural %", format="%.2f"), "ratio": number("Ratio", format="%.2f"),
            "proxy": number(f"Repeats in {count(config.proxy.tokens)}", format="%.2f", help="Of the proxy's tokens."),
            "budget": number(f"Repeats in {count(budget)}", format="%.2f", help="Of search.token_budget."),
        },
    )  # fmt: skip
    read = table.get("budget", proxy)
    over = [f"{view.domains[i]} {read[i]:.1f} times" for i in np.argsort(-read) if read[i] > _OFTEN]
    if over:
        st.caption(f":orange[Read more than {_OFTEN:g} times: {plain(', '.join(over))}.] Repeats bring less and less.")


def _queue(view: View, weights: FloatArray) -> None:
    same = np.flatnonzero((np.abs(view.weights - weights) < 1e-6).all(axis=1))
    reason = earlier.read_only(view.run)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            "Queue it", key="own.queue", type="primary", icon=":material/add_to_queue:", disabled=bool(reason)
        ):
            with session.explained():
                trial = view.run.suggest(dict(zip(view.domains, weights.tolist(), strict=True)))
                st.session_state["own.said"] = (
                    f"Queued as trial {trial.id}; the next step of the search trains it first."
                    if trial
                    else "It waits; the search at work takes it after its present iteration."
                )
                st.session_state.setdefault("beside", BESIDE[1])  # the first trial brings the map
                st.rerun()
        known = f" It is trial {view.trials[same[0]].id} already: that would be another run of it." if len(same) else ""
        st.caption(plain(reason or f"It then waits as an open trial, and is trained before all others.{known}"))


def _sources(view: View) -> dict[str, FloatArray]:
    space = view.search.space
    found = {"natural": space.natural, "uniform": space.uniform}
    if view.outcome.chosen:
        found["chosen"] = view.outcome.chosen.mixture.weights
    if view.leader:
        found[f"best so far (trial {view.leader.id})"] = view.leader.mixture.weights
    return found | {f"trial {trial.id}": trial.mixture.weights for trial in view.trials}


def _from_source(view: View) -> None:
    source = st.session_state.get("own.source")
    if source:
        st.session_state.pop("own.error", None)
        begin(view, _sources(view)[source], source)


def _from_file(view: View) -> None:
    given = st.session_state.get("own.file")
    st.session_state.pop("own.error", None)
    if given is None:
        return
    try:
        weights, changed = from_weights(view.search.space, read_weights(given.getvalue().decode("utf-8-sig")))
    except UnicodeDecodeError:
        st.session_state["own.error"] = f"{given.name}: is not UTF-8 text; give a JSON, YAML or CSV file"
    except ClimbError as error:
        st.session_state["own.error"] = f"{given.name}: {error}"
    else:
        _put(view, weights)
        st.session_state["own.said"] = f"Read {given.name}." + (" The limits changed it." if changed else "")


def _slid(view: View, domain: int) -> None:
    mark, space = _mark(view), view.search.space
    locked = {i for i in range(len(view.domains)) if st.session_state.get(f"{mark}.lock.{i}")}
    before = np.asarray(st.session_state[f"{mark}.weights"])
    _put(view, moved(space, before, domain, st.session_state[f"{mark}.{domain}"] / 100, locked))
    st.session_state.pop("own.said", None)


def _put(view: View, weights: FloatArray) -> None:
    mark, space = _mark(view), view.search.space
    st.session_state[f"{mark}.weights"] = weights.tolist()
    for i in _movable(view):
        low, high = 100 * float(space.lower[i]), 100 * float(space.upper[i])
        st.session_state[f"{mark}.{i}"] = min(max(100 * float(weights[i]), low), high)


def _movable(view: View) -> list[int]:
    """The domains whose weight is not fixed by the limits."""
    space = view.search.space
    return np.flatnonzero(100 * (space.upper - space.lower) >= 1e-6).tolist()


def _drawn(view: View) -> bool:
    return all(f"{_mark(view)}.{i}" in st.session_state for i in _movable(view))


def _unlock(view: View) -> None:
    for i in range(len(view.domains)):
        st.session_state[f"{_mark(view)}.lock.{i}"] = False


def _mark(view: View) -> str:
    """Prefix of the widgets' keys: others for other domains and other limits."""
    space = view.search.space
    return "own." + digest_of(
        [str(view.run.workspace.folder), view.domains, space.lower.tolist(), space.upper.tolist()]
    )
