"""Scoring by the ratings: what the scores are from, and using the ratings, using newer ones or no longer using them.

Each is asked for, shows what it would change, and is done when that is confirmed.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app import session
from app.curate import box, state
from app.words import plain
from climb_engine import rescoring
from climb_engine.curate.head import FEWEST
from climb_engine.curation import Preview
from climb_engine.pipeline import Run
from climb_engine.rated import Standing, collected
from climb_engine.types import ClimbError
from climb_engine.workspace import digest_of

_ASKED = "rate.asked"  # in the session: what is asked for, and of which run
_ACTS: dict[str, tuple[str, str, Callable[[Run], object]]] = {
    "use": ("Score by these ratings", "Uses them as they are now; later ones only when you ask again.", rescoring.use),
    "unuse": ("Score without the ratings", "The ratings are kept.", rescoring.unuse),
}


def scoring(run: Run, stands: Standing) -> None:
    """What the scores are from, the buttons, and what the one that was pressed would change."""
    with st.container(border=True, key="rate.scoring", gap="small"):
        st.markdown(plain(_told(stands, made=run.artifact("quality") is not None)))
        with st.container(horizontal=True):
            if not stands.in_use:
                _button(run, "use", "Use my ratings for the scores", not stands.enough, primary=True)
            else:
                if stands.behind:
                    _button(run, "use", "Refresh the scores", not stands.enough, primary=True)
                _button(run, "unuse", "Stop using them", False, primary=False)
        if not stands.enough and not stands.in_use:
            st.caption(f"It takes {FEWEST} ratings of one metric.")
        if (asked := _asked(run)) and stands.enough | (asked == "unuse"):
            with session.explained():
                _confirm(run, asked)


def _told(stands: Standing, made: bool) -> str:
    if not stands.in_use:
        return "The scores are not made from your ratings."
    what = "The scores are" if made else "The scores will be, once quality has run,"
    if not stands.behind:
        return f"{what} from all {stands.used:,} ratings."
    return f"{what} from {stands.used:,} of {stands.total:,} ratings; {stands.behind:,} new or changed since."


def _button(run: Run, act: str, words: str, disabled: bool, primary: bool) -> None:
    kind = "primary" if primary and not _asked(run) else "secondary"
    about = "Shows what it would change; nothing happens before you confirm."
    if st.button(f"{words} …", key=f"rate.{act}", type=kind, disabled=disabled, help=about):
        st.session_state[_ASKED] = (run.workspace.name, act)
        st.rerun()


def _confirm(run: Run, act: str) -> None:
    words, about, do = _ACTS[act]
    seen, fault = _seen(run, act)
    if fault:
        session.show_error(fault, title="This cannot be done as it is")
    elif seen is None:
        st.caption("The scores of now are still to be made, so it cannot be said which clusters this changes.")
    else:
        box.consequences(run, seen)
    with st.container(horizontal=True):
        if st.button(words, key="rate.confirm", type="primary", icon=":material/check:", disabled=bool(fault)):
            with state.recorded(run):
                do(run)
            st.session_state.pop(_ASKED, None)
            st.rerun()
        if st.button("Not now", key="rate.cancel", icon=":material/close:"):
            st.session_state.pop(_ASKED, None)
            st.rerun()
    if not fault:
        st.caption(about)


def _asked(run: Run) -> str:
    name, act = st.session_state.get(_ASKED, ("", ""))
    return act if name == run.workspace.name else ""


def _seen(run: Run, act: str) -> tuple[Preview | None, str]:
    """What it would change, and why it cannot be, "" where it can."""
    plan = [(stage.digest, stage.state) for stage in run.plan()]
    ratings = [vars(one) for one in collected(run)]
    told = [path.stat().st_size for path in sorted(run.workspace.folder.glob("search/*.jsonl"))]
    return _preview(digest_of([act, plan, run.config.model_dump(mode="json"), ratings, told]), run, act)


@st.cache_resource(max_entries=16, show_spinner="Working out what that would change", show_time=True)
def _preview(address: str, _run: Run, _act: str) -> tuple[Preview | None, str]:  # noqa: ARG001
    look = rescoring.preview_use if _act == "use" else rescoring.preview_unuse
    try:
        return look(_run), ""
    except ClimbError as error:
        return None, str(error)
