"""A search under settings that the run no longer has: pointed to, looked at without starting anything, gone back to."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import streamlit as st

from app.knobs import differences
from app.words import plain, plural, when
from climb_engine.config import RunConfig
from climb_engine.earlier import Earlier, earlier, go_back
from climb_engine.pipeline import Run
from climb_engine.workspace import Workspace, digest_of

_SHOWN = 4  # changes that are named


def opened(folder: Workspace) -> Run:
    """The run as a page looks at it: as it stands, or as it was at the earlier search that was chosen."""
    run = Run(folder.folder)
    one = _looked_at(run)
    return one.run if one else run


def read_only(run: Run) -> str:
    """Why nothing can be started on what is looked at; "" when it is the run as it stands."""
    if run.config == run.workspace.read_config():
        return ""
    return "This is a search under other settings, to be read only. Go back to them (above) to work on it."


def banner(folder: Workspace) -> None:
    """Which search is looked at, where that is not plain: an earlier one, or none while an earlier one has results."""
    run = Run(folder.folder)
    one = _looked_at(run)
    if one:
        _reading(run, one)
    else:
        pointer(folder)


def pointer(folder: Workspace, to: Path | None = None) -> None:
    """The last search under other settings, while the one under the present settings has no results.

    to: the page to look at it on; None: this one.
    """
    run = Run(folder.folder)
    measured = [past for past in _known(run) if past.measured]
    if not measured or _has_results(run):
        return
    last = measured[0]
    with st.container(border=True, key="earlier"):
        st.markdown(f"**The settings have changed since the last search.** {plain(_described(last, run.config))}")
        with st.container(horizontal=True):
            _look_button(run, last, to)
            _back_button(run, last)


def others(folder: Workspace) -> None:
    """A list of the searches under other settings, beside a search that has results of its own."""
    run = Run(folder.folder)
    measured = [past for past in _known(run) if past.measured]
    if not measured or _looked_at(run) or not _has_results(run):
        return
    with st.popover(f"Searches under other settings ({len(measured)})", icon=":material/history:"):
        for one in measured:
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


def _look_button(run: Run, one: Earlier, to: Path | None = None) -> None:
    if st.button("Look at it", key=f"earlier.look.{one.digest}", icon=":material/visibility:"):
        st.session_state["earlier"] = (run.workspace.name, one.digest)
        if to:
            st.switch_page(to)
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
    return next((one for one in _known(run) if one.digest == digest and one.measured), None)


def _has_results(run: Run) -> bool:
    log = run.workspace.log(run.search_digest)
    return log.path.exists() and any(event.get("event") == "told" for event in log)


def _known(run: Run) -> tuple[Earlier, ...]:
    """Read once for as long as neither a log, nor an artifact, nor the config has changed."""
    folder = run.workspace.folder
    files = [*folder.glob("search/*"), *folder.glob("artifacts/[!.]*")]
    state = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(files) if path.exists()]
    key = digest_of([str(folder), run.config.model_dump(mode="json"), state])
    return cast("tuple[Earlier, ...]", _read(key, run))


@st.cache_resource(max_entries=16, show_spinner=False)
def _read(key: str, _run: Run) -> tuple[Earlier, ...]:  # noqa: ARG001
    return earlier(_run)
