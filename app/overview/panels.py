"""The parts of the overview: the next step, the pipeline, the numbers, the domains, what the search found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from app import charts, session
from app.colours import domain_colours
from app.overview.happenings import happenings
from app.overview.reasons import reasons
from app.steps import SEARCHED, Step, leader, verdict
from app.words import count, plain, plural, when
from climb_engine.console import seconds_text
from climb_engine.jobs import Job, start
from climb_engine.pipeline import Planned, Run
from climb_engine.search.loop import Outcome, Search
from climb_engine.types import FloatArray

_STATES = {
    "done": (":material/check_circle:", "green"),
    "partial": (":material/timelapse:", "orange"),
    "missing": (":material/radio_button_unchecked:", "gray"),
    "working": (":material/progress_activity:", "blue"),
    "damaged": (":material/error:", "red"),
}


def next_step(run: Run, step: Step, job: Job | None) -> None:
    """The one button, and what it means."""
    living = job is not None and job.alive
    with st.container(horizontal=True, vertical_alignment="center", key="next-step"):
        words = "Working …" if living else step.words
        icon = ":material/arrow_forward:" if step.page else ":material/play_arrow:"
        if st.button(words, type="primary", disabled=living, icon=icon, key="next"):
            with session.explained():
                _do(run, step)
        if step.more and not living and st.button(step.more[0], key="more"):
            with session.explained():
                start(run.workspace, step.more[1])
                st.rerun()
        st.caption(f"{job.command} is at work; see the job beside." if living and job else step.why)


def strip(run: Run, plan: Sequence[Planned], search: Search | None, job: Job | None) -> None:
    """Each stage with its state, its time and what it made, and why it would run again."""
    at_work = job.progress[0].stage if job and job.alive and job.progress else ""
    with st.grid(8, min_column_width=118, gap="xsmall", key="strip"):
        for stage in plan:
            if stage.optional:
                continue
            artifact = run.artifact(stage.stage)
            state = "working" if stage.stage == at_work else stage.state
            fact = _fact(stage.stage, artifact.facts) if artifact else _stands(state, stage)
            _stage(stage.stage, state, fact, seconds_text(artifact.manifest["seconds"]) if artifact else "")
        _search_stage(search, at_work in ("search", "proxies"))
    if again := reasons(run, plan):
        st.caption("Would run again: " + plain("; ".join(again)))


def numbers(run: Run) -> None:
    """The figures that say how large everything is."""
    corpus, decided, tokens = (run.artifact(stage) for stage in ("corpus", "domains", "tokens"))
    if corpus is None:
        return
    with st.grid(5, min_column_width=112, gap="xsmall", key="numbers"):
        rejected = sum(corpus.facts["rejected"].values())
        st.metric("Documents", count(corpus.facts["documents"]), border=True, height="stretch")
        st.metric("Rejected", count(rejected), border=True, help=_reasons(corpus.facts["rejected"]), height="stretch")
        if decided:
            facts = decided.facts
            kept = f"{facts['kept_clusters']:,} of {facts['kept_clusters'] + facts['pruned_clusters']:,}"
            words = f"{facts['pruned_clusters']:,} are pruned, with {facts['pruned_documents']:,} documents."
            st.metric("Clusters kept", kept, border=True, help=words, height="stretch")
            st.metric("Domains", len(facts["names"]), border=True, height="stretch")
        if tokens:
            held = f"To train on, beside {sum(tokens.facts['heldout']):,} that are held out and never trained on."
            st.metric("Tokens", count(sum(tokens.facts["train"])), border=True, help=held, height="stretch")
    if rejected:
        with st.expander(f"Rejected documents: {_reasons(corpus.facts['rejected'])}"):
            found = [example for some in corpus.facts["examples"].values() for example in some]
            st.dataframe(found, hide_index=True, alt="Examples of rejected documents")


def domains(run: Run, mixture: FloatArray | None, title: str) -> None:
    """The domains with their sizes, and their weights when there is a mixture (m,)."""
    decided, tokens = run.artifact("domains"), run.artifact("tokens")
    if decided is None:
        return
    colours = domain_colours(run, run.domains)
    table: dict[str, Sequence[Any]] = {"": [], "domain": [], "clusters": [], "documents": []}
    for row in session.rows(str(decided.folder), "domains"):
        table[""] = [*table[""], charts.swatch(colours[row["domain"]])]
        values = {"domain": run.domains[row["domain"]], "clusters": row["clusters"], "documents": row["documents"]}
        for column, value in values.items():
            table[column] = [*table[column], value]
    if tokens:
        train = np.asarray(tokens.facts["train"], dtype=float)
        table |= {"tokens": train.astype(int).tolist(), "natural": (100 * train / train.sum()).tolist()}
        if mixture is not None:
            table |= {"weight": (100 * mixture).tolist(), "ratio": (mixture * train.sum() / train).tolist()}
    st.subheader("Domains")
    st.dataframe(
        table, hide_index=True, alt="Domains of this run", key="domains", height="content",
        column_config={
            "": st.column_config.ImageColumn(width=30),
            "domain": st.column_config.TextColumn("Domain", width=180),
            "clusters": st.column_config.NumberColumn("Clusters"),
            "documents": st.column_config.NumberColumn("Documents", format="localized"),
            "tokens": st.column_config.NumberColumn("Tokens", format="localized", help="Without those held out."),
            "natural": st.column_config.NumberColumn("Natural %", format="%.1f", help="Share of the tokens."),
            "weight": st.column_config.NumberColumn("Weight %", format="%.1f", help=title),
            "ratio": st.column_config.NumberColumn("Ratio", format="%.2f", help="Weight over natural share."),
        },
    )  # fmt: skip


def recent(run: Run, jobs: Sequence[Job]) -> None:
    """What happened lately, by people and by the machine."""
    lately = happenings(run.workspace, jobs, run.config.domains.overrides)
    if lately:
        st.subheader("Lately")
        table = {
            "when": [when(one.moment) for one in lately],
            "who": ["you" if one.human else "machine" for one in lately],
            "what": [one.words for one in lately],
        }
        st.dataframe(
            table, hide_index=True, alt="What happened to this run lately, newest first", key="lately",
            height="content",
            column_config={
                "when": st.column_config.TextColumn("When", width=120),
                "who": st.column_config.TextColumn("Who", width=70),
                "what": st.column_config.TextColumn("What", width=780),
            },
        )  # fmt: skip


def found(run: Run, search: Search) -> None:
    """The mixture, its score against natural with the noise, and how the search went."""
    outcome = search.outcome()
    mixture, title = best_mixture(search, outcome)
    if mixture is None:
        measured = sum(trial.result is not None for trial in search.trials)
        of_natural = f"{plural(measured, 'run')} of the natural mixture measured" if measured else "None measured yet"
        st.caption(f"{plural(len(search.trials), 'trial')} asked. {of_natural}.")
        return
    kind, headline, detail = verdict(search, outcome)
    {"good": st.success, "bad": st.warning, "unclear": st.info}[kind](detail, title=headline)
    st.caption(plain(_what_is_scored(search, outcome)))
    sides = st.grid(2, min_column_width=380, gap="medium", key="found")
    with sides.cell():
        st.subheader(title, help="Bars: weight. Ticks: the domain's natural share of the tokens.")
        names = search.space.domains
        figure = charts.mixture_bars(names, mixture, search.space.share, domain_colours(run, names))
        _draw(figure, "mixture", f"{title} beside the natural shares")
    with sides.cell():
        st.subheader("Score against natural", help="Points: single runs. Lines: their means.")
        _draw(charts.scores(_groups(search, outcome)), "scores", "Scores of the natural and the found mixture")
        st.subheader("Best so far", help="Band: one standard deviation of a single run about natural's mean.")
        _draw(_curve(search, outcome), "curve", "Scores of the trials in order, and the best so far")
        failed = sum(trial.error is not None for trial in search.trials)
        if failed:
            first = next(trial.error for trial in search.trials if trial.error)
            st.caption(plain(f"{plural(failed, 'trial')} failed, the first: {first}"))


def _what_is_scored(search: Search, outcome: Outcome) -> str:
    noise = f"sd {outcome.noise_sd:.4f} from seed to seed" if math.isfinite(outcome.noise_sd) else "not known yet"
    ratio = outcome.signal_to_noise
    signal = f", signal to noise {ratio:.1f}" if math.isfinite(ratio) else ""
    return f"Score: {search.objective.describe()}. Noise of one run: {noise}{signal}."


def best_mixture(search: Search, outcome: Outcome) -> tuple[FloatArray | None, str]:
    """The chosen mixture (m,), or the best measured so far, and what to call it."""
    if outcome.chosen:
        return outcome.chosen.mixture.weights, "Chosen mixture"
    best = leader(search)
    return (best.mixture.weights, f"Best so far (trial {best.id})") if best else (None, "")


def _do(run: Run, step: Step) -> None:
    if step.page:
        page, name, value = step.page
        session.turn_to(page, {name: value})
    if step.arguments is None:
        run.export()
    else:
        start(run.workspace, step.arguments)
    st.rerun()


def _stands(state: str, stage: Planned) -> str:
    """What there is to say of a stage that is not finished."""
    if state == "damaged":
        return f"damaged: {stage.why}"
    return {"working": "at work", "missing": "to do"}.get(state, state)


def _stage(name: str, state: str, fact: str, seconds: str) -> None:
    icon, colour = _STATES[state]
    with st.container(border=True, height="stretch", gap="xxsmall"):
        st.markdown(f":{colour}[{icon}] **{name}**")
        st.caption(plain(fact))
        if seconds:
            st.caption(seconds)


def _search_stage(search: Search | None, working: bool) -> None:
    if search is None or not search.trials:
        _stage("search", "working" if working else "missing", "at work" if working else "to do", "")
        return
    measured = sum(trial.result is not None for trial in search.trials)
    state = "done" if search.finished else "working" if working else "partial"
    seconds = sum(trial.result.seconds for trial in search.trials if trial.result)
    fact = f"{measured} trials, iteration {search.iteration} of {search.planned}"
    _stage("search", state, fact, seconds_text(seconds))


def _fact(stage: str, facts: Mapping[str, Any]) -> str:
    if stage == "corpus":
        return f"{count(facts['documents'])} documents"
    if stage == "embedding":
        return f"{facts['dimensions']} dimensions"
    if stage == "duplicates":
        return f"{count(facts['duplicates'])} near-duplicates"
    if stage in ("clustering", "splits"):
        return f"{facts['clusters']:,} clusters"
    if stage == "quality":
        return plural(len(facts["metrics"]), "metric")
    if stage == "domains":
        return plural(len(facts["names"]), "domain")
    if stage == "tokens":
        return f"{count(sum(facts['train']))} tokens"
    loss = "" if facts.get("loss") is None else f", loss {facts['loss']:.2f}"
    return f"{count(facts['parameters'])} parameters{loss}"


def _reasons(rejected: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in rejected.items()) or "none"


def _groups(search: Search, outcome: Outcome) -> list[tuple[str, Sequence[float], str]]:
    natural = ("natural", outcome.natural, charts.INK)
    if outcome.chosen:
        return [("chosen", outcome.confirmed, charts.ACCENT), natural]
    best = leader(search)
    return [("best so far", [search.score(best)] if best else [], charts.ACCENT), natural]


def _curve(search: Search, outcome: Outcome) -> Any:
    shown = [trial for trial in search.trials if trial.result and trial.origin in SEARCHED]
    measured = np.array([search.score(trial) for trial in shown])
    natural = float(np.mean(outcome.natural)) if outcome.natural else math.nan
    iterations = [trial.iteration for trial in shown]
    return charts.best_so_far(measured, iterations, [trial.id for trial in shown], natural, outcome.noise_sd)


def _draw(figure: Any, key: str, alt: str) -> None:
    st.plotly_chart(figure, key=key, alt=alt, config={"displayModeBar": False})
