"""A new run."""

import streamlit as st

from app.overview import newrun

st.title("New run")
left, right = st.columns([1, 2], gap="medium")
with left:
    newrun.demo_card()
with right:
    newrun.corpus_card()
