"""History: every decision by hand, newest first; taking back one, the last or all; and files of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import streamlit as st

from app import session
from app.curate import state
from app.curate.draft import last_batch
from app.overview.happenings import at, subject
from app.words import plain, plural
from climb_engine import curation
from climb_engine.config import Override
from climb_engine.pipeline import Run
from climb_engine.types import ClimbError
from climb_engine.workspace import digest_of

_LARGEST = 5  # megabytes of a file of overrides


def history(run: Run) -> None:
    """The part of the page."""
    overrides = run.config.domains.overrides
    left, right = st.columns([68, 32], gap="medium")
    with left:
        if overrides:
            _listed(run)
        else:
            st.caption(
                "Nothing was decided by hand yet. What is applied here or on the map of clusters is listed then."
            )
    with right:
        if overrides:
            _exported(run)
        _imported(run)


def _listed(run: Run) -> None:
    overrides = run.config.domains.overrides
    newest = list(reversed(range(len(overrides))))
    key = f"history.{digest_of([state.edition(run), len(overrides)])}"
    shown = st.dataframe(
        {
            "number": [i + 1 for i in newest],
            "when": [at(overrides[i].when) for i in newest],
            "who": [overrides[i].who for i in newest],
            "what": [subject(overrides[i]) for i in newest],
            "why": [overrides[i].why for i in newest],
        },
        hide_index=True, alt="Decisions by hand, newest first", key=key, on_select="rerun", selection_mode="single-row",
        height="content" if len(newest) < 15 else 560,
        column_config={
            "number": st.column_config.NumberColumn("#", width=40),
            "when": st.column_config.TextColumn("When", width=120),
            "who": st.column_config.TextColumn("Who", width=70),
            "what": st.column_config.TextColumn("What", width=230),
            "why": st.column_config.TextColumn("Why", width=330),
        },
    )  # fmt: skip
    chosen = [newest[row] for row in shown["selection"]["rows"] if row < len(newest)]
    if chosen:
        _whole(overrides[chosen[0]], chosen[0] + 1)
    else:
        st.caption("Choose a line at its left edge to read it in full or to remove it.")
    with st.container(horizontal=True, vertical_alignment="center"):
        together = last_batch(overrides)
        if st.button(
            "Undo the last", key="history.undo", icon=":material/undo:",
            help=f"Takes back what was applied last ({plural(together, 'override')}).",
        ):  # fmt: skip
            _done(run, "undo")
        if st.button(
            f"Remove #{chosen[0] + 1}" if chosen else "Remove one", key="history.remove", icon=":material/delete:",
            disabled=not chosen, help="Choose a line first, at its left edge.",
        ):  # fmt: skip
            _done(run, "remove", chosen[0])
        with st.popover("Clear all", icon=":material/delete_sweep:", key="history.clear"):
            st.markdown(f"Take back all {plural(len(overrides), 'override')}? The automatic decisions hold again.")
            if st.button("Yes, clear all", key="history.clear-all", type="primary"):
                _done(run, "clear")


def _whole(one: Override, number: int) -> None:
    """One decision in full."""
    with st.container(border=True, key="history.whole", gap="xsmall"):
        st.markdown(plain(f"#{number}: {subject(one)}"))
        st.caption(plain(f"{one.who or 'somebody'}, {at(one.when) or 'at an unknown time'}"))
        if one.why:
            st.markdown(plain(one.why))


def _done(run: Run, how: str, index: int = 0) -> None:
    with session.explained():
        if how == "undo":
            state.take_back(run)
        else:
            with state.recorded(run):
                if how == "clear":
                    curation.clear(run)
                else:
                    curation.remove(run, index)
        st.rerun()


def _exported(run: Run) -> None:
    overrides = run.config.domains.overrides
    content = _file(digest_of([one.model_dump(mode="json") for one in overrides]), run)
    st.download_button(
        f"Export {plural(len(overrides), 'override')}", content, f"{run.workspace.name}-overrides.toml",
        "application/toml", key="history.export", icon=":material/download:", on_click="ignore",
        help="As TOML, for another run of the same clusters or for version control.",
    )  # fmt: skip


def _imported(run: Run) -> None:
    given = st.file_uploader(
        "Import a file of overrides", type="toml", key=f"history.file.{state.edition(run)}",
        max_upload_size=_LARGEST,
    )  # fmt: skip
    replace = st.toggle(
        "In the place of those that are there", key="history.replace", disabled=not run.config.domains.overrides,
        help="Otherwise they are added behind them.",
    )  # fmt: skip
    if st.button("Import", key="history.import", disabled=given is None, icon=":material/upload:"):
        assert given is not None
        with session.explained(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "overrides.toml"
            path.write_bytes(given.getvalue())
            try:
                with state.recorded(run):
                    count = curation.import_overrides(run, path, replace)
            except ClimbError as error:
                raise ClimbError(str(error).replace(str(path), given.name)) from error
            st.toast(f"{plural(count, 'override')} imported from {plain(given.name)}")
            st.rerun()


@st.cache_data(max_entries=8, show_spinner=False)
def _file(address: str, _run: Run) -> bytes:  # noqa: ARG001
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "overrides.toml"
        curation.export_overrides(_run, path)
        return path.read_bytes()
