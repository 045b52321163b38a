"""The app's router: ``climb ui``, or ``streamlit run app/main.py``."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.sidebar import sidebar

PAGES = Path(__file__).resolve().parents[1] / "pages"

st.set_page_config(page_title="CLIMB Studio", page_icon="⛰️", layout="wide")
page = st.navigation(
    [
        st.Page(
            PAGES / "overview.py", title="Overview", icon=":material/home:", default=True,
            help="Where the run stands, what was found, and the next step.",
        ),
        st.Page(
            PAGES / "clusters.py", title="Clusters", icon=":material/bubble_chart:",
            help="The map of all documents: look, read, search, keep and prune.",
        ),
        st.Page(
            PAGES / "curate.py", title="Curate", icon=":material/content_cut:",
            help="Which clusters to keep, how to merge them, what good text is; and everything decided by hand.",
        ),
        st.Page(
            PAGES / "search.py", title="Search", icon=":material/query_stats:",
            help="Launch iterations, watch them, question the result, queue a mixture of your own.",
        ),
        st.Page(
            PAGES / "compare.py", title="Compare", icon=":material/compare_arrows:",
            help="Mixtures side by side: weights, scores with their noise, repeats.",
        ),
        st.Page(
            PAGES / "export.py", title="Export", icon=":material/ios_share:",
            help="The mixture for training frameworks, and data sets drawn by it.",
        ),
        st.Page(
            PAGES / "jobs.py", title="Jobs", icon=":material/manufacturing:",
            help="Everything that was started on this run: state, log, stop, resume.",
        ),
        st.Page(
            PAGES / "new.py", title="New run", icon=":material/add:",
            help="Open a corpus of your own, or the demo.",
        ),
    ],
    position="top",
)  # fmt: skip
sidebar(page.url_path)
page.run()
