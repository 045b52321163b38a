"""Data sets as jobs: one drawn by the mixture (as ClimbMix), one of all kept documents by cluster (as ClimbLab)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import streamlit as st

from app import charts, session
from app.colours import domain_colours
from app.compare.sums import most_tokens, times_read, too_often, typed_tokens
from app.export.former import job_of, one_of, state_of
from app.export.pick import Picked
from app.export.standing import standing
from app.words import count, plain
from climb_engine.export.dataset import ClusteredOptions, Contents, Layout, MixedOptions
from climb_engine.jobs import Job, start
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.types import ClimbError

_BY: tuple[Literal["cluster", "domain"], ...] = ("cluster", "domain")
_CONTENTS = "What of each document: its text, its tokens, or both. Tokens come with the run's tokenizer.json."
_SHARD = "At most about this many tokens per file; one file is held in memory: 500000, 25M."
_FOLDER = "A new folder below the run's exports. One that was begun with the same settings goes on."


def mixed(run: Run, search: Search, picked: Picked, job: Job | None, read_only: str) -> Path | None:
    """Documents drawn by the mixture, about as many tokens as asked for; returns the folder when it tells of it."""
    st.caption(
        "Draws documents by the mixture, without repeating any before its domain has run out. Held-out documents are "
        "never drawn. The order is shuffled, and every stretch of it has the mixture."
    )
    with session.explained():
        options, name = _mixed_options(search, picked)
        read = times_read(picked.mixture.weights, search.space.tokens, options.tokens)
        _draw_table(run, search, picked, options.tokens, read)
        _check_repeats(search, picked, options, read)
        run.dataset_artifacts()  # or it says what must run first
        folder = run.workspace.export_folder(name)
        settings = {"weights": picked.mixture.as_dict(), **asdict(options)}
        arguments = (
            *("export", "--tokens", str(options.tokens), "--dataset", str(folder.resolve()), *picked.arguments),
            *("--max-repeats", repr(options.max_repeats), "--seed", str(options.seed), "--layout", options.layout),
            *("--shard-tokens", str(options.shard_tokens), "--as", options.contents),
        )
        words = f"Writes about {count(options.tokens)} tokens of {picked.key} to {folder}."
        return _start(run, job, "mixed", arguments, words, folder, settings, read_only)
    return None


def clustered(run: Run, search: Search, job: Job | None, read_only: str) -> Path | None:
    """All kept documents, a folder per cluster or domain; returns the folder when it tells of it."""
    st.caption(
        "Writes every kept document into a folder of its cluster or domain, for those who mix while training. "
        "No mixture goes into it; held-out documents are marked."
    )
    with session.explained():
        with st.grid(4, min_column_width=140, vertical_alignment="bottom", key="clustered-form"):
            by = st.selectbox("A folder per", _BY, key="clustered.by", help="By domain: the folders that recipes name.")
            contents = st.selectbox(
                "Contents", get_args(Contents), get_args(Contents).index(ClusteredOptions.contents),
                key="clustered.as", help=_CONTENTS,
            )  # fmt: skip
            shard = _tokens("Tokens per file", count_text(ClusteredOptions.shard_tokens), "clustered.shard", _SHARD)
            name = st.text_input("Name of the export", f"by-{by}", key=f"clustered.name.{by}", help=_FOLDER)
        options = ClusteredOptions(by, shard, contents)
        run.dataset_artifacts()  # or it says what must run first
        folder = run.workspace.export_folder((name or "").strip())
        arguments = (
            *("export", "--clustered", str(folder.resolve()), "--by", options.by, "--as", options.contents),
            *("--shard-tokens", str(options.shard_tokens)),
        )
        total = count(float(search.space.tokens.sum()))
        words = f"Writes all kept documents, {total} tokens and those held out, to {folder}."
        return _start(run, job, "clustered", arguments, words, folder, asdict(options), read_only)
    return None


def count_text(tokens: int) -> str:
    """A number of tokens as it is typed: 25M."""
    return count(tokens).replace(" ", "").replace(",", "").upper()


def _mixed_options(search: Search, picked: Picked) -> tuple[MixedOptions, str]:
    most = most_tokens(picked.mixture.weights, search.space.tokens, MixedOptions.max_repeats)
    with st.grid(4, min_column_width=140, vertical_alignment="bottom", key="mixed-form"):
        tokens = _tokens(
            "Tokens", count_text(_rounded(min(most, float(search.space.tokens.sum())))), "mixed.tokens",
            "How many tokens to draw, to half a document per domain: 500000, 10M, 2.5B.",
        )  # fmt: skip
        times = st.number_input(
            "Most repeats", 0.01, None, MixedOptions.max_repeats, 0.5, "%g", key="mixed.repeats",
            help="No domain is read more often than this. Up to about 4 times does little harm (2305.16264).",
        )  # fmt: skip
        contents = st.selectbox(
            "Contents", get_args(Contents), get_args(Contents).index(MixedOptions.contents), key="mixed.as",
            help=_CONTENTS,
        )  # fmt: skip
        layout = st.selectbox(
            "Layout", get_args(Layout), key="mixed.layout",
            help="parquet: loads with datasets.load_dataset, all columns. The others: tokens as ClimbMix has them.",
        )  # fmt: skip
        shard = _tokens("Tokens per file", count_text(MixedOptions.shard_tokens), "mixed.shard", _SHARD)
        seed = st.number_input("Seed", 0, None, MixedOptions.seed, 1, key="mixed.seed", help="Of draw and order.")
        name = st.text_input(
            "Name of the export", f"{picked.key}-{count_text(tokens)}", key=f"mixed.name.{picked.key}.{tokens}",
            help=_FOLDER,
        )  # fmt: skip
    return MixedOptions(tokens, float(times), shard, contents, layout, int(seed)), (name or "").strip()


def _tokens(label: str, value: str, key: str, why: str) -> int:
    return typed_tokens(st.text_input(label, value, key=key, help=why))


def _rounded(tokens: float) -> int:
    """Down to two digits, so that a suggestion is a plain number and within its limit."""
    size = int(10 ** max(0, len(str(int(tokens))) - 2))
    return max(1, int(tokens) // size * size)


def _draw_table(run: Run, search: Search, picked: Picked, tokens: int, read: np.ndarray) -> None:
    weights, space = picked.mixture.weights, search.space
    order, colours = np.argsort(-weights, kind="stable"), domain_colours(run, space.domains)
    with st.expander("What is drawn from each domain", key="drawn"):
        st.dataframe(
            {
                "": [charts.swatch(colours[d]) for d in order],
                "domain": [space.domains[d] for d in order],
                "weight": (100 * weights[order]).tolist(),
                "tokens": (weights[order] * tokens).round().astype(int).tolist(),
                "available": space.tokens[order].astype(int).tolist(),
                "read": read[order].tolist(),
            },
            hide_index=True, alt="Tokens drawn from each domain", key="draw-table",
            height="content" if len(order) < 25 else 600,
            column_config={
                "": st.column_config.ImageColumn(width=30),
                "domain": st.column_config.TextColumn("Domain", width=180),
                "weight": st.column_config.NumberColumn("Weight %", format="%.2f"),
                "tokens": st.column_config.NumberColumn("Tokens to draw", format="localized"),
                "available": st.column_config.NumberColumn("Available", format="localized"),
                "read": st.column_config.NumberColumn("Times read", format="%.2f"),
            },
        )  # fmt: skip


def _check_repeats(search: Search, picked: Picked, options: MixedOptions, read: np.ndarray) -> None:
    """Raises ClimbError, naming the domains that are too short and what can be had."""
    over = too_often(search.space.domains, read, options.max_repeats)
    if not over:
        return
    most = most_tokens(picked.mixture.weights, search.space.tokens, options.max_repeats)
    named = ", ".join(f"{domain} ({times:.1f} times)" for domain, times in over)
    raise ClimbError(
        f"{options.tokens:,} tokens would read more than {options.max_repeats:g} times: {named}. Ask for at most "
        f"{int(most):,} tokens, allow more repeats, or cap these domains in the search (search.max_repeats)"
    )


def _start(
    run: Run,
    job: Job | None,
    key: str,
    arguments: Sequence[str],
    words: str,
    folder: Path,
    settings: Mapping[str, Any],
    read_only: str,
) -> Path | None:
    """The button that writes it or goes on with it, and how what is there stands; returns the folder if it told."""
    state, taken = state_of(folder, settings)
    tried = job is not None and job_of(folder, [job]) is not None
    if state != "new" or tried:
        standing(run.workspace, one_of(folder), key, resume=False)
    if state == "finished":
        st.caption("For another one change anything above, and its name.")
        return folder
    if job is not None and job.alive and tried:
        return folder
    reason = read_only or (f"{taken}; give this one another name." if taken else "")
    if job is not None and job.alive and not reason:
        what = f"climb {job.arguments[0]} {job.run}"
        reason = f"{what} is at work; its progress is beside. One job at a time works on a run."
    with st.container(horizontal=True, vertical_alignment="center", key=f"{key}-row"):
        label = "Go on with the data set" if state == "begun" else "Write the data set"
        if st.button(label, key=f"{key}.start", type="primary", icon=":material/play_arrow:", disabled=bool(reason)):
            start(run.workspace, arguments)
            st.rerun()
        st.caption(plain(reason or words))
    return folder if state != "new" or tried else None
