"""What the page to curate knows between two looks: the draft, the decisions that follow from it, and taking back."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import streamlit as st

from app.curate.draft import Draft, Edit, last_batch
from app.curation import Curated
from app.overview.happenings import subject
from climb_engine import curation
from climb_engine.config import Override, RunConfig, knobs
from climb_engine.curate.domains import Clusters, Domains
from climb_engine.curate.merging import Cut
from climb_engine.pipeline import Run
from climb_engine.types import ClimbError, Ids
from climb_engine.workspace import digest_of

_FORMER = 20  # writes that can be taken back as a whole
_AT = re.compile(r"domains\.overrides(?:\[(\d+)\])? \(([^)]*)\)")  # how the engine's errors begin


@dataclass(frozen=True, eq=False)
class Considered:
    """The clusters as they are decided on, and as they would be by the draft."""

    view: Curated  # as the config stands
    clusters: Clusters
    draft: Draft
    config: RunConfig  # by the draft; the run's own where that cannot be
    decided: Domains
    fault: str  # why the draft cannot be applied, "" when it can

    @property
    def run(self) -> Run:
        """The run, as its config stands."""
        return self.view.run

    def domain_name(self, domain: int) -> str:
        """A domain's name by the draft, or 'pruned' for -1."""
        return self.decided.names[domain] if domain >= 0 else curation.PRUNED

    @property
    def flipped(self) -> Ids:
        """Clusters that the draft would prune or keep, unlike now."""
        both = zip(self.view.decided.decisions, self.decided.decisions, strict=False)
        return np.array([now.cluster for now, then in both if now.kept != then.kept], np.int64)


def consider(view: Curated, draft: Draft) -> Considered:
    """Decide by the draft; what cannot be is told, and the decisions are those of the config."""
    known = _clusters(_folders(view.run), view.run)
    if draft.empty:
        return Considered(view, known, draft, view.run.config, view.decided, "")
    config = view.run.config
    try:
        config = draft.config(config)
        decided = _decided(_address(view.run, config), view.run, config)
    except ClimbError as error:
        fault = _named(str(error), config.domains.overrides)
        return Considered(view, known, draft, view.run.config, view.decided, fault)
    return Considered(view, known, draft, config, decided, "")


def preview(found: Considered) -> curation.Preview:
    """What the draft would change. Raises ClimbError where it cannot be."""
    stages = [(stage.digest, stage.state) for stage in found.run.plan()]
    log = found.run.workspace.log(found.run.search_digest).path
    size = log.stat().st_size if log.exists() else 0
    wanted = digest_of(found.config.model_dump(mode="json"))
    return _preview(digest_of([stages, size, wanted]), found.run, found.config)


def merges(found: Considered) -> tuple[Cut, ...]:
    """What each number of domains would be like, by the draft's limits."""
    return _merges(_address(found.run, found.config), found.run.with_config(found.config))


# ---- the draft -----------------------------------------------------------------------------------------------------


def draft(run: Run) -> Draft:
    """The draft of this run."""
    name, kept = st.session_state.get("curate.draft", ("", Draft()))
    return kept if name == run.workspace.name else Draft()


def put(run: Run, changed: Draft) -> None:
    """Keep a draft."""
    st.session_state["curate.draft"] = (run.workspace.name, changed)


def decide(found: Considered, clusters: Sequence[int], edit: Edit) -> str:
    """Put the same edit of some clusters into the draft; notes in it stay. Why it cannot be, and nothing put, or ""."""
    former = found.draft.edits
    edits = {i: replace(edit, note=former[i].note if i in former else None) for i in clusters}
    changed = found.draft.with_edits(edits).tidied(found.run.config)
    fault = consider(found.view, changed).fault
    if fault and not found.fault:
        return fault
    put(found.run, changed)
    renew()
    return ""


def edition(run: Run) -> str:
    """Part of the keys of widgets that begin anew when the draft does, or what it is a change of."""
    knobs_ = knobs(run.config.domains)
    return digest_of([run.workspace.name, knobs_, st.session_state.get("curate.edition", 0)])


def renew() -> None:
    """Let the widgets begin anew with what is in the draft."""
    st.session_state.pop("curate.table", None)
    st.session_state["curate.edition"] = st.session_state.get("curate.edition", 0) + 1


def discard(run: Run) -> None:
    """Forget the draft."""
    put(run, Draft())
    st.session_state.pop("curate.picked", None)
    renew()


# ---- writing -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def recorded(run: Run) -> Iterator[None]:
    """Remember the config as it was before, so that ``take_back`` finds it, and let the widgets begin anew."""
    before = run.config
    yield
    if run.config != before:
        kept: list[Any] = st.session_state.setdefault("curate.former", [])
        kept.append((run.workspace.name, _mark(run.config), before))
        del kept[:-_FORMER]
        renew()


def apply(found: Considered, why: str = "") -> None:
    """Write the draft into the config, all at once. ClimbError, and nothing written, where it cannot be."""
    run, now = found.run, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = found.draft.config(run.config, curation.login_name(), now, why)
    curation.decided(run, config)
    with recorded(run):
        run.configure(config)
    discard(run)


def can_take_back(run: Run) -> bool:
    """Whether there is something to take back."""
    return bool(run.config.domains.overrides) or former(run) is not None


def take_back(run: Run) -> None:
    """What was last written from here as a whole; else the overrides that were written together with the last."""
    before = former(run)
    if before is None:
        overrides = run.config.domains.overrides
        before = curation.with_overrides(run.config, overrides[: len(overrides) - last_batch(overrides)])
    else:
        st.session_state["curate.former"].pop()
    run.configure(before)
    renew()


def only_overrides(before: RunConfig, after: RunConfig) -> bool:
    """Whether a config has come from another by further overrides alone."""
    those = before.domains.overrides
    return after.domains.overrides[: len(those)] == those and curation.with_overrides(after, those) == before


def former(run: Run) -> RunConfig | None:
    """The config before the last write, if nothing was written since."""
    kept = st.session_state.get("curate.former") or [("", "", None)]
    name, mark, config = kept[-1]
    return config if (name, mark) == (run.workspace.name, _mark(run.config)) else None


def _named(message: str, overrides: Sequence[Override]) -> str:
    """An error of an override by what that is about, instead of where it stands in the config."""

    def what(found: re.Match[str]) -> str:
        number = int(found[1] or len(overrides))
        return subject(overrides[number]) if number < len(overrides) else found[2]

    return _AT.sub(what, message)


def _mark(config: RunConfig) -> str:
    return digest_of(config.model_dump(mode="json"))


# ---- cached by address ---------------------------------------------------------------------------------------------


def _folders(run: Run) -> str:
    """Where all that is known of the clusters comes from."""
    then = curation.reached(run)
    made = [then.artifact(stage) for stage in ("quality", "duplicates")]
    folders = [str(then.clusters.folder), *(str(one.folder) if one else "" for one in made)]
    return json.dumps([*folders, then.config.duplicates.method])


def _address(run: Run, config: RunConfig) -> str:
    wanted = json.dumps(knobs(config.domains), sort_keys=True)
    return _folders(run.with_config(config)) + wanted


@st.cache_resource(max_entries=8, show_spinner="Reading the clusters")
def _clusters(address: str, _run: Run) -> Clusters:  # noqa: ARG001
    return curation.clusters_of(curation.reached(_run))


@st.cache_resource(max_entries=64, show_spinner=False)
def _decided(address: str, _run: Run, _config: RunConfig) -> Domains:  # noqa: ARG001
    return curation.decided(_run, _config)


@st.cache_resource(max_entries=32, show_spinner=False)
def _preview(address: str, _run: Run, _config: RunConfig) -> curation.Preview:  # noqa: ARG001
    return curation.preview(_run, _config)


@st.cache_resource(max_entries=8, show_spinner="Comparing numbers of domains")
def _merges(address: str, _run: Run) -> tuple[Cut, ...]:  # noqa: ARG001
    return curation.merges(_run)
