"""What stands beside the map: the trial that is looked at, or a mixture of one's own."""

from __future__ import annotations

import streamlit as st

from app.search import ownmixture, trialpanel
from app.search.filtering import BESIDE, looked_at
from app.search.fitting import Fitted
from app.search.view import Flags, View


def beside(view: View, fit: Fitted | None, passed: Flags, notes: dict[int, str]) -> int | None:
    """One of both; returns the id of the trial that is looked at."""
    shown = st.segmented_control(
        "Beside the map", BESIDE, default=BESIDE[0], key="beside", required=True, bind="query-params",
        label_visibility="collapsed", width="stretch",
    )  # fmt: skip
    if shown == BESIDE[1]:
        ownmixture.own_mixture(view, fit)
        return looked_at(view)
    return trialpanel.panel(view, fit, passed, notes)
