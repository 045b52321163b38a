"""The export page: every format with preview, copy and download; writing them down; what was exported before."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app import session
from app.export.files import FORMATS, Format, text_of
from app.export.former import SMALL, UNFINISHED, Former, former, job_of, may_hold_mixture
from app.export.pick import Picked, lengths, name_of
from app.export.standing import size_text, standing, state_words
from app.words import plain, plural, when
from climb_engine.export.dataset import MixedOptions
from climb_engine.export.recipes import RECIPES
from climb_engine.jobs import jobs
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.types import ClimbError

_MOST = 12  # files that are offered one by one
_TALL = 420  # pixels of a preview


def formats(run: Run, picked: Picked) -> None:
    """One format at a time: preview, copy, download, and what to paste."""
    titles = {form.title: form for form in FORMATS}
    title = st.pills(
        "Format", list(titles), default="JSON", required=True, key="format", bind="query-params",
        help="JSON, YAML and CSV hold the weights; the others are what a training framework reads by itself.",
    )  # fmt: skip
    form = titles[title or "JSON"]
    path, repeats = _recipe_inputs(form)
    with session.explained():
        text = text_of(form, picked.record, picked.mixture, path, lengths(run) if form.framework else {}, repeats)
        sides = st.grid(2, min_column_width=380, gap="medium", key="preview")
        with sides.cell():
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                st.markdown(f"**{form.file}**", width="content")
                st.download_button(
                    f"Download {form.file}", text.encode(), form.file, on_click="ignore", key="download",
                    icon=":material/download:",
                )  # fmt: skip
            st.code(text, form.language, height=_TALL if text.count("\n") > 18 else "content", wrap_lines=True)
        with sides.cell():
            st.markdown("**To paste into the training script**")
            st.code(form.use, form.use_language, wrap_lines=True)
            st.caption(plain(_meaning(form)))
    write_down(run, picked, form.framework, path, repeats)


def write_down(run: Run, picked: Picked, framework: str, path: str | None, max_repeats: float) -> None:
    """Write the weights, and the recipes that are wanted, into a folder below exports/.

    framework: of the recipe that is looked at, which is wanted unless it is taken out; "": none.
    """
    with st.form("write", border=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.text_input("Name of the export", "mixture" if picked.trial is None else picked.key, width=220)
            wanted = st.multiselect(
                "With recipes for", list(RECIPES), [framework] if framework else [], key=f"frameworks.{framework}",
                help="JSON, YAML and CSV are always written. Recipes of an earlier export of this name that are not "
                "wanted now are removed, since they hold other weights.",
            )  # fmt: skip
            pressed = st.form_submit_button("Write to exports", icon=":material/save:", type="primary", key="write-it")
        if pressed:
            with session.explained():
                folder = run.workspace.export_folder(name.strip())
                if not may_hold_mixture(folder):
                    raise ClimbError(f"{folder.name} holds something else than a mixture; choose another name")
                written = run.export(picked.trial, name.strip(), wanted, path, max_repeats)
                files = ", ".join(sorted(file.name for file in written.iterdir()))
                then = (
                    "Next: paste a recipe into the training script, write a data set drawn by this mixture (mixed data "
                    "set, above), or see on the Compare page whether it holds for larger models."
                )
                st.success(plain(f"Written to {written}: {files}\n{then}"), title="Exported")


def history(run: Run, search: Search, shown: Path | None = None) -> None:
    """What was exported before: how it stands, its log, downloads of what is small.

    shown: a data set that the page has told of already.
    """
    st.subheader("Exports so far")
    found = former(run.workspace)
    if not found:
        st.caption("None yet.")
        return
    known = jobs(run.workspace)
    event = st.dataframe(
        {
            "name": [one.name for one in found],
            "kind": [one.kind for one in found],
            "state": [state_words(one, job_of(one.folder, known)) for one in found],
            "mixture": [name_of(one.weights, search) or ("of another search" if one.weights else "") for one in found],
            "content": [one.content for one in found],
            "written": [when(one.written) for one in found],
            "size": [size_text(one.size) for one in found],
            "files": [len(one.files) for one in found],
        },
        hide_index=True, alt="Former exports, newest first", key="former", height="content" if len(found) < 10 else 380,
        on_select="rerun", selection_mode="single-row-required", selection_default={"selection": {"rows": [0]}},
        column_config={
            "name": "Name", "kind": "Kind", "state": "State", "mixture": "Mixture",
            "content": st.column_config.TextColumn("Content", width="medium"),
            "written": "Written", "size": "Size", "files": "Files",
        },
    )  # fmt: skip
    rows = event["selection"]["rows"]
    one = found[rows[0] if rows and rows[0] < len(found) else 0]
    if one.folder != shown:
        standing(run.workspace, one, "former")
    _downloads(one)


def _downloads(one: Former) -> None:
    small = [path for path in one.files if path.parent == one.folder and path.stat().st_size <= SMALL][:_MOST]
    small = [] if one.kind == UNFINISHED else small
    st.caption(plain(f"{one.folder}"))
    with st.container(horizontal=True, gap="xsmall", key="downloads"):
        for number, path in enumerate(small):
            name = path.relative_to(one.folder).as_posix()
            st.download_button(
                plain(name), _reader(path), path.name, on_click="ignore", icon=":material/download:",
                key=f"former.{one.name}.{number}",
            )  # fmt: skip
    if len(small) < len(one.files):
        more = plural(len(one.files) - len(small), "more file")
        st.caption(f"{more} in the folder and those below it.")


def _reader(path: Path) -> bytes:
    return path.read_bytes()


def _recipe_inputs(form: Format) -> tuple[str | None, float]:
    """Path template and repeats, where the file has them."""
    recipe = form.recipe
    if recipe is None:
        return None, MixedOptions.max_repeats
    with st.container(horizontal=True, vertical_alignment="bottom"):
        path = st.text_input(
            "Where a domain's data are", key="paths", bind="query-params", placeholder=recipe.path, width=420,
            help="{domain} stands for the domain's name as a folder, {index} for its number. Empty: as shown in grey.",
        )  # fmt: skip
        repeats = MixedOptions.max_repeats
        if form.framework == "olmo":
            repeats = st.number_input(
                "Read a source at most so often", 1.0, None, repeats, key="olmo.repeats", width=220
            )
    return (path or "").strip() or None, repeats


def _meaning(form: Format) -> str:
    if form.framework == "hf":
        return (
            "Weights are shares of tokens. interleave_datasets draws documents, so the probabilities are the weights "
            "divided by each domain's mean tokens per document."
        )
    if form.framework:
        return "Weights are shares of tokens, in full; a domain of weight 0 is left out."
    return "Weights are shares of tokens, in full: they are those of the trial, to the last digit."
