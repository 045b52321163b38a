"""The compare page's choice: up to four mixtures from the address, from a file, from former exports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st

from app import session
from app.compare.charts import COLOURS
from app.compare.compared import FILE, Compared, compared, names, tasks, without_regmix
from app.compare.gains import SCORE
from app.steps import leader
from app.words import plain
from climb_engine.export.mixture import read_weights
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.search.outcome import Choice
from climb_engine.search.predictor import make_predictor
from climb_engine.search.regression import FEWEST, Predictor
from climb_engine.types import ClimbError, FloatArray
from climb_engine.workspace import digest_of, slug

SLOTS = ("a", "b", "c", "d")
_MOST = 300  # trials: with more, fitting every task anew takes too long, and the score alone is predicted


@dataclass(frozen=True, eq=False)
class Picked:
    """A chosen mixture, its place and what is predicted of it."""

    slot: str
    colour: str
    one: Compared
    predicted: Mapping[str, tuple[float, float]]  # "score" and tasks -> mean and sd; empty where measured or unknown


def picker(run: Run, search: Search) -> list[Picked]:
    """Draw the four boxes with their cards' places below; returns what is chosen, each once."""
    options = names(search, _exports(run), st.session_state.get("compare.file") is not None)
    _begin(search, options)
    found: list[Picked] = []
    with st.grid(4, min_column_width=140, gap="small", key="slots"):
        for number, slot in enumerate(SLOTS):
            st.selectbox(
                f"Mixture {slot.upper()}", options, index=None, key=slot, bind="query-params",
                placeholder="none" if number > 1 else "choose one",
            )  # fmt: skip
    _regmix(search)
    for number, slot in enumerate(SLOTS):
        key = st.session_state.get(slot)
        if key and all(other.one.key != key for other in found):
            with session.explained():
                one = compared(key, search, lambda: baselines(run, search), lambda name: _read(run, name))
                one = _fitting(one, search)
                found.append(Picked(slot, COLOURS[number], one, {} if one.measured else foretold(run, search, one)))
    return found


def title() -> None:
    """The page's title, and beside it a way to take a mixture from a file of the user's."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title("Compare", width="content")
        _file_chooser()


def _file_chooser() -> None:
    with st.popover("Compare a file", icon=":material/upload_file:"):
        st.file_uploader(
            "A mixture as JSON, YAML or CSV", type=["json", "yaml", "yml", "csv"], key="compare.file",
            help="What this app exports, or an object of domain: weight. It is then in the lists as 'file'.",
        )  # fmt: skip


def baselines(run: Run, search: Search) -> Mapping[str, Choice]:
    """What the trials say that other searches would have found."""
    return _baselines(mark(run), search)


def foretold(run: Run, search: Search, one: Compared) -> dict[str, tuple[float, float]]:
    """Predicted score and tasks of a mixture, and the sd of each prediction; {} while there are too few trials."""
    n = len(search.measured()[1])
    if n < FEWEST:
        return {}
    row = one.mixture.weights[None]
    with st.spinner("Fitting the predictor"):
        predictors = {SCORE: search.evidence().predictor}
        predictors |= _task_predictors(mark(run), search) if n <= _MOST else {}
    return {name: _first(predictor, row) for name, predictor in predictors.items()}


def mark(run: Run) -> str:
    """Changes with every event of the search's log and with every knob."""
    path = run.workspace.log(run.search_digest).path
    facts = path.stat() if path.exists() else None
    seen = (facts.st_size, facts.st_mtime_ns) if facts else (0, 0)
    return digest_of([str(path), seen, run.config.model_dump(mode="json")])


@st.cache_resource(max_entries=8, show_spinner="Fitting the predictor")
def _baselines(mark: str, _search: Search) -> Mapping[str, Choice]:  # noqa: ARG001
    return _search.baselines()


@st.cache_resource(max_entries=8, show_spinner=False)
def _task_predictors(mark: str, _search: Search) -> dict[str, Predictor]:  # noqa: ARG001
    """Each task's own predictor, of the kind that the search trusts."""
    name_of, seed = _search.evidence().name, _search.config.seed
    known = [trial for trial in _search.trials if math.isfinite(_search.score(trial))]
    weights, results = np.array([t.mixture.weights for t in known]), [t.result for t in known if t.result]
    return {
        name: make_predictor(name_of, seed).fit(weights, task.scores(results))
        for name, task in tasks(_search.objective).items()
    }


def _first(predictor: Predictor, row: FloatArray) -> tuple[float, float]:
    mean, sd = predictor.predict(row)
    return float(mean[0]), float(sd[0])


def _regmix(search: Search) -> None:
    """RegMix's mixture in grey, with the reason, where it is not in the lists."""
    reason = without_regmix(search)
    if reason:
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="no-regmix"):
            st.badge("regmix", icon=":material/block:", color="gray")
            st.caption(f"is not in the lists: it {reason}.")


def _begin(search: Search, options: list[str]) -> None:
    """Where nothing is chosen yet: the found mixture beside the natural one. Names that are none are told."""
    asked = {slot: st.query_params.get(slot) for slot in SLOTS}
    strange = [name for name in asked.values() if name and name not in [*options, "regmix"]]
    if strange:
        st.warning(
            f"There is no mixture called {plain(', '.join(strange)[:64])} in this run; choose one from the lists."
        )
    if any(asked.values()) or any(slot in st.session_state for slot in SLOTS):
        return
    best = leader(search)
    found = "chosen" if search.choice else f"trial-{best.id}" if best else "uniform"
    st.session_state["a"], st.session_state["b"] = found, "natural"


def _fitting(one: Compared, search: Search) -> Compared:
    """Say of a mixture that the search may not train that it is so."""
    if one.measured or search.space.contains(one.mixture.weights[None])[0]:
        return one
    return replace(one, note="outside the limits of this search, so it cannot be trained in it")


def _exports(run: Run) -> list[str]:
    return sorted(path.parent.name for path in (run.workspace.folder / "exports").glob("*/mixture.json"))


def _read(run: Run, key: str) -> Mapping[str, float]:
    if key == FILE:
        given = st.session_state.get("compare.file")
        if given is None:
            raise ClimbError("the file is not here any more; choose it again under 'Compare a file'")
        raw = given.getvalue()
    else:
        path = run.workspace.export_folder(slug(key.removeprefix("export-"))) / "mixture.json"
        raw = path.read_bytes() if path.exists() else b""
    try:
        return read_weights(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ClimbError(f"{key}: is not UTF-8 text; give a JSON, YAML or CSV file") from error
