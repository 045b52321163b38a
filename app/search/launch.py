"""The launch panel: the next step of the search, what it costs, and the knobs that it goes by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app import forms, session
from app.search.estimates import ahead, estimate
from app.settings import consequences
from app.sidebar import job_buttons
from app.steps import Step, next_step
from app.words import plain, plural
from climb_engine.config import RunConfig, SearchConfig
from climb_engine.jobs import Job, start
from climb_engine.pipeline import Planned, Run
from climb_engine.search.loop import Search
from climb_engine.workspace import digest_of

SECTIONS = {
    "search": ("search", ("method", "predictor", "reference_runs", "confirm", "confirm_best", "candidates", "seed")),
    "limits": (
        "search",
        ("max_ratio", "max_divergence", "token_budget", "max_repeats", "prior_exponent", "min_weight", "max_weight"),
    ),
    "target": ("target", ("metric", "items", "seed", "tasks", "heldout")),
    "proxies": ("proxy", ("size", "tokens", "trunk_tokens", "learning_rate", "batch_size", "seed")),
}
_SAYS = {
    "search": "How trials are chosen, and how often natural and the choice are run with other seeds.",
    "limits": "Which mixtures are allowed, in every iteration and in your own.",
    "target": "What good means. Other weights score what was measured anew, without training.",
    "proxies": "The small models. A change makes the trials so far incomparable: a new search begins.",
}


def launch(run: Run, search: Search | None, plan: Sequence[Planned], job: Job | None) -> None:
    """The button with what it does and costs, or the reason why it cannot be pressed; behind it the knobs."""
    step = next_step(plan, search, run.config.search)
    reason = _reason(step, job)
    with st.container(border=True, key="launch", gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            words = "Working …" if job and job.alive else step.words if step.arguments else "The search is finished"
            pressed = st.button(
                words, type="primary", key="launch.go", icon=":material/play_arrow:", disabled=bool(reason)
            )
            more = step.more is not None and not reason and st.button(step.more[0], key="launch.rest")
            if job and job.alive:
                job_buttons(job, "launch")
        st.caption(plain(reason or f"{step.why} {_cost(run, search, run.config, step)}".strip()))
        if (pressed or more) and step.arguments:
            with session.explained():
                start(run.workspace, step.more[1] if more and step.more else step.arguments)
                st.rerun()
        panel = st.expander("What is launched", icon=":material/tune:", on_change="rerun", key="launched")
        if panel.open:
            with panel, session.explained():
                _knobs(run, search, job)


def _reason(step: Step, job: Job | None) -> str:
    """Why nothing can be launched now; "" when it can."""
    if job is not None and job.alive:
        return f"{job.command} is at work; stop it here or beside, or wait. What is finished is kept."
    if step.arguments is None:
        return (
            "Every iteration is told and the choice is confirmed. To go on, add an iteration under 'What is launched'."
        )
    return ""


def _cost(run: Run, search: Search | None, config: RunConfig, step: Step) -> str:
    if not step.arguments or step.arguments[0] != "search":
        return ""
    own = [trial for trial in search.trials if trial.origin != "reused"] if search else []
    every = ahead(search, config.search)
    if step.more is None:
        return f"Costs: {estimate(run, config, own, every.proxies).text}."
    next_ = ahead(search, config.search, 1)
    rest = f"{plural(every.proxies, 'proxy model')}{estimate(run, config, own, every.proxies).time}"
    return f"Costs: {estimate(run, config, own, next_.proxies).text}. All that is left: {rest}."


def _knobs(run: Run, search: Search | None, job: Job | None) -> None:
    section = st.segmented_control(
        "Knobs", list(SECTIONS), default="search", key="launch.section", required=True, label_visibility="collapsed"
    )
    name, only = SECTIONS[section or "search"]
    st.caption(_SAYS[section or "search"])
    values = getattr(run.config, name)
    edition = f"launch.{run.workspace.name}.{section}.{digest_of(values.model_dump(mode='json'))}"
    edited: dict[str, Any] = _iterations(run.config.search, search, edition) if section == "search" else {}
    edited |= forms.widgets(values, edition, only=only)
    wanted = run.config.with_values({f"{name}.{knob}": value for knob, value in edited.items()}, "settings")
    changed = wanted != run.config
    if changed:
        st.markdown("\n".join(f"- {plain(line)}" for line in _what_changes(run, wanted, search)))
    busy = f"{job.command} goes by the knobs it began with; wait for it or stop it." if job and job.alive else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Apply", key="launch.apply", disabled=not changed or bool(busy)):
            run.configure(wanted)
            st.rerun()
        st.caption(plain(busy or ("" if changed else "Nothing is changed.")))


def _iterations(config: SearchConfig, search: Search | None, edition: str) -> dict[str, Any]:
    """Trials of the iteration that comes next; one more where all are told."""
    done = search.iteration if search else 0
    beyond = done >= len(config.iterations)
    now = 0 if beyond else config.iterations[done]
    plan = ", ".join(map(str, config.iterations))
    n = st.number_input(
        f"Trials in iteration {done + 1}", min_value=0 if beyond else 1, value=now, step=1, width=260,
        key=f"{edition}.trials", help="0: no further iteration." if beyond else f"Planned: {plan} trials.",
    )  # fmt: skip
    if int(n or 0) == now:
        return {}
    return {"iterations": [*config.iterations[:done], int(n), *config.iterations[done + 1 :]]}


def _what_changes(run: Run, wanted: RunConfig, search: Search | None) -> list[str]:
    lines = consequences(run, wanted, search)
    if wanted.target != run.config.target and not any("search" in line for line in lines):
        lines = [
            *(line for line in lines if "runs again" not in line),
            "the scores are computed anew from what was measured; nothing is trained again",
        ]
    if wanted.search.iterations != run.config.search.iterations:
        lines.append(f"the plan is then {' + '.join(map(str, wanted.search.iterations))} trials")
    own = [trial for trial in search.trials if trial.origin != "reused"] if search else []
    if wanted.proxy != run.config.proxy:
        n, whole = (ahead(None, wanted.search, iterations).proxies for iterations in (1, None))
        lines.append(f"the first iteration then costs {estimate(run, wanted, own, n).text}")
        lines.append(f"the whole search of {plural(whole, 'trial')}: {estimate(run, wanted, own, whole).text}")
    return lines
