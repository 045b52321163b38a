"""Starting a comparison on larger models as a job: its options, its command, and about how long it takes."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

import streamlit as st

from app import session
from app.compare.proofs import arguments
from app.compare.sums import typed_tokens
from app.search.estimates import Estimate, estimate
from app.words import plain, plural
from climb_engine.compare import METHODS, Comparison, Options
from climb_engine.compare.plan import target_config
from climb_engine.config import PROXY_SIZES
from climb_engine.console import seconds_text
from climb_engine.jobs import start
from climb_engine.pipeline import Run
from climb_engine.search.baselines import FEWEST as REGMIX_FEWEST
from climb_engine.search.loop import Search
from climb_engine.types import Trial
from climb_engine.workspace import Workspace

_SHARED = {"random", "regmix"}  # draw the same mixtures, which are trained once
_WHAT = {
    "natural": "the natural mixture, always among them",
    "uniform": "equal weights",
    "random": "the best of random draws",
    "regmix": "RegMix's single regression",
    "doremi": "DoReMi's two models, which know no target",
    "climb": "CLIMB's loop as published",
    "ours": "the bayesian method, this app's default",
    "chosen": "the run's own mixture, found already",
}


def begin(run: Run, search: Search | None, done: Sequence[Comparison], reason: str, expanded: bool) -> None:
    """The form, what it costs, the command, and the button or why it cannot be pressed.

    done: what was compared before, from which the cost is learned.
    """
    panel = st.expander("Start a comparison", icon=":material/science:", expanded=expanded, key="proof-new")
    with panel, session.explained():
        options = _form(bool(search and search.choice))
        words = arguments(options)
        st.caption(plain(cost(run, options, search.trials if search else (), trained(done))))
        if "regmix" in options.methods and options.budget < REGMIX_FEWEST:
            st.caption(f"RegMix's regression is a constant below {REGMIX_FEWEST} proxies; give it more to be fair.")
        if not run.artifact("trunk"):
            reason = reason or "The run has no trunk yet; the overview's button makes it."
        go_on(run.workspace, words, reason, "Start the comparison", "new")


def go_on(
    workspace: Workspace, words: Sequence[str], reason: str, label: str = "Go on with it", key: str = "go-on"
) -> None:
    """A button that starts it as a job, and the command to do the same in a terminal."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(label, key=f"proof.{key}", type="primary", icon=":material/play_arrow:", disabled=bool(reason)):
            with session.explained():
                start(workspace, words)
                st.rerun()
        st.caption(plain(reason or "As a job: it goes on when the browser is closed, and where it was stopped."))
    st.code(shlex.join(["climb", words[0], workspace.name, *words[1:]]), language="bash", wrap_lines=True)


def trained(done: Sequence[Comparison]) -> list[Trial]:
    """The larger models of former comparisons, as trials to learn a cost from."""
    trials: list[Trial] = []
    for comparison in done:
        mixtures = {(one.method, one.replicate): one.mixture for one in comparison.found}
        for one in comparison.measured:
            if one.result:
                mixture = mixtures[one.method, one.replicate]
                trials.append(Trial(len(trials), one.replicate, "target", mixture, one.seed, one.result))
    return trials


def cost(run: Run, options: Options, trials: Sequence[Trial], models: Sequence[Trial]) -> str:
    """How much is trained and about how long that takes, by trials of this run and by larger models of before."""
    searched = set(options.searched)
    searches = len(searched) - (len(searched & _SHARED) == len(_SHARED))
    target = target_config(run.config, options)
    wanted = len(options.methods) * options.replicates * options.seeds
    known, larger = trials or models, models or trials
    proxies = estimate(run, run.config, known, options.replicates * options.budget * searches)
    doremi = options.replicates if "doremi" in options.methods else 0
    as_costly = estimate(run, run.config, known, options.budget * doremi)
    targets, trunk = estimate(run, target, larger, wanted), None
    if target.proxy.trunk_tokens and not run.with_config(target).artifact("trunk"):
        longer = target.with_values({"proxy.tokens": target.proxy.trunk_tokens})
        trunk = estimate(run, longer, larger, 1)
    parts = {
        plural(proxies.proxies, "proxy model"): proxies,
        f"{2 * doremi} models of DoReMi": as_costly,
        "a trunk for the targets": trunk,
        plural(wanted, "target"): targets,
    }
    costs = {name: one for name, one in parts.items() if one is not None and one.proxies}
    said = f"Trains {', '.join(f'{name}{_time(one)}' for name, one in costs.items())}"
    seconds = sum(one.seconds for one in costs.values())
    if not math.isfinite(seconds):
        return f"{said}. How long it takes is known once the run's trunk has been trained."
    return f"{said}: about {seconds_text(seconds)}, by what was trained before. Measuring the report items adds to it."


def _time(one: Estimate) -> str:
    return f" ({seconds_text(one.seconds)})" if math.isfinite(one.seconds) else ""


def _form(chosen: bool) -> Options:
    """The options; where the run has a chosen mixture (``chosen``), that alone is tried unless more is asked for."""
    plain_options = Options()
    with st.grid(5, min_column_width=130, vertical_alignment="bottom", key="proof-form"):
        budget = st.number_input(
            "Proxies of each search", 8, None, plain_options.budget, 8, key="proof.budget",
            help="The budget, the same for every method. Trees need 64 or more to be worth something.",
        )  # fmt: skip
        replicates = st.number_input(
            "Replicates", 1, None, plain_options.replicates, 1, key="proof.replicates",
            help="Searches of each method, with seeds of their own. Fewer than 3 allow no verdict.",
        )  # fmt: skip
        size = st.selectbox(
            "Size of the targets", [*PROXY_SIZES, "custom"], list(PROXY_SIZES).index(plain_options.target_size),
            key="proof.size", help="About as many parameters; custom: the proxies' shape.",
        )  # fmt: skip
        tokens = st.text_input(
            "Tokens per target", "4M", key="proof.tokens", help="500000, 4M, 2.5B. Their trunk is longer in proportion."
        )
        items = st.number_input(
            "Items per task", 1, None, plain_options.items, 100, key="proof.items",
            help="At most so many, which no search has seen. Fewer are faster and noisier.",
        )  # fmt: skip
    offered = [name for name in METHODS if name != "natural" and (chosen or name != "chosen")]
    methods = st.multiselect(
        "Methods", offered, ["chosen"] if chosen else [name for name in offered if name in plain_options.methods],
        key="proof.methods", format_func=lambda name: f"{name}: {_WHAT[name]}",
        help="The natural mixture is always compared with. chosen needs no search, only larger models on it and on "
        "natural; each of the other methods finds a mixture with the same number of proxies, several times over.",
    )  # fmt: skip
    return Options(
        methods=("natural", *methods), budget=int(budget), replicates=int(replicates), target_size=size,
        target_tokens=typed_tokens(tokens), items=int(items),
    )  # fmt: skip
