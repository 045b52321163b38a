"""A search under settings that the run no longer has: pointed to, looked at without starting anything, gone back to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import streamlit as st

from app import session
from app.knobs import differences
from app.words import plain, plural, when
from climb_engine.config import RunConfig
from climb_engine.earlier import Earlier, earlier, go_back
from climb_engine.pipeline import Run
from climb_engine.workspace import Workspace, digest_of

_SHOWN = 4  # changes that are named


def opened(folder: Workspace) -> Run:
    """The run as a page looks at it, as it stands or as it was at the earlier search that was chosen; says which.

    Where the search under the present settings has no results and an earlier one has, that is pointed to.
    """
    run = Run(folder.folder)
    one = _looked_at(run)
    if one:
        _reading(run, one)
        return one.run
    pointer(run)
    return run


def read_only(run: Run) -> str:
    """Why nothing can be started on what is looked at; "" when it is the run as it stands."""
    if run.config == run.workspace.read_config():
        return ""
    return "This is a search under other settings, to be read only. Go back to them (above) to work on it."


def pointer(run: Run, to: str | None = None) -> None:
    """The last search under other settings, while the one under the present settings has no results.

    to: the page to look at it on; None: this one.
    """
    known = _known(run)
    if not known.measured or known.has_results:
        return
    last = known.measured[0]
    with st.container(border=True, key="earlier"):
        st.markdown(f"**The settings have changed since the last search.** {plain(_described(last, run.config))}")
        with st.container(horizontal=True):
            _look_button(run, last, to)
            _back_button(run, last)


def others(run: Run) -> None:
    """A list of the searches under other settings, beside a search that has results of its own."""
    known = _known(run)
    if not known.measured or not known.has_results:
        return
    with st.popover(f"Searches under other settings ({len(known.measured)})", icon=":material/history:"):
        for one in known.measured:
            with st.container(border=True):
                st.markdown(plain(_described(one, run.config)))
                with st.container(horizontal=True):
                    _look_button(run, one)
                    _back_button(run, one)


def _reading(run: Run, one: Earlier) -> None:
    with st.container(border=True, key="earlier"):
        st.markdown(
            f":material/history: **An earlier search, to be read only.** {plain(_described(one, run.config))} "
            "It can be compared and exported; nothing is started from here."
        )
        with st.container(horizontal=True):
            if st.button("To the present settings", key="earlier.leave", icon=":material/undo:"):
                st.session_state.pop("earlier", None)
                st.rerun()
            _back_button(run, one)


def _look_button(run: Run, one: Earlier, to: str | None = None) -> None:
    if st.button("Look at it", key=f"earlier.look.{one.digest}", icon=":material/visibility:"):
        st.session_state["earlier"] = (run.workspace.name, one.digest)
        if to:
            session.turn_to(to)
        st.rerun()


def _back_button(run: Run, one: Earlier) -> None:
    told = "Gives the run those settings again. Nothing is computed; the settings of now are kept, to come back to."
    if st.button("Go back to its settings", key=f"earlier.back.{one.digest}", icon=":material/restore:", help=told):
        go_back(run, one.digest)
        st.session_state.pop("earlier", None)
        st.rerun()


def _described(one: Earlier, now: RunConfig) -> str:
    changed = differences(one.run.config, now)
    more = f", and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    since = f"{', '.join(changed[:_SHOWN])}{more}"
    return f"Search of {when(one.told)}: {plural(one.measured, 'measured trial')}. Since then: {since}."


def _looked_at(run: Run) -> Earlier | None:
    name, digest = st.session_state.get("earlier", ("", ""))
    if name != run.workspace.name:
        return None
    return next((one for one in _known(run).measured if one.digest == digest), None)


@dataclass(frozen=True, eq=False)
class _Known:
    measured: tuple[Earlier, ...]  # earlier searches that have results
    has_results: bool  # of the search under the present settings


def _known(run: Run) -> _Known:
    """Read once for as long as neither a log, nor an artifact, nor the config has changed."""
    folder = run.workspace.folder
    files = [*folder.glob("search/*"), *folder.glob("artifacts/[!.]*")]
    state = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(files) if path.exists()]
    key = digest_of([str(folder), run.config.model_dump(mode="json"), state])
    return cast("_Known", _read(key, run))


@st.cache_resource(max_entries=16, show_spinner=False)
def _read(key: str, _run: Run) -> _Known:  # noqa: ARG001
    return _Known(tuple(one for one in earlier(_run) if one.measured), _run.measured_here() > 0)
