"""What a new run is to be good at: a common target at one press, or tasks and held-out text of one's own choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app.words import plain
from climb_engine.config import TargetConfig
from climb_engine.search.tasks import TASKS

MEASURES: Mapping[str, str] = {
    "piqa": "everyday physics",
    "arc_easy": "school science, easier",
    "arc_challenge": "school science, harder",
    "hellaswag": "how a scene goes on",
    "winogrande": "what a sentence refers to",
    "siqa": "social situations",
    "openbookqa": "elementary facts, applied",
    "boolq": "yes or no, from a passage",
    "csqa": "common sense",
    "sciq": "science exams, with a passage",
    "copa": "cause and effect",
    "mmlu": "57 subjects",
    "mmlu_stem": "mathematics, science, computing",
    "mmlu_humanities": "history, law, philosophy",
    "mmlu_social_sciences": "economics, politics, psychology",
    "mmlu_other": "medicine, business, miscellany",
    "lambada": "the last word of a passage",
}
"""What each of the known tasks asks for."""
COMMON: Mapping[str, tuple[Sequence[str], bool]] = {
    "general reasoning": (tuple(TargetConfig().tasks), False),
    "STEM": (("mmlu_stem",), False),
    "humanities": (("mmlu_humanities",), False),
    "social sciences": (("mmlu_social_sciences",), False),
    "held-out text": ((), True),
}
"""Common targets: their tasks, and whether held-out text counts."""
_OWN = "tasks of my choice"


def target() -> dict[str, Any]:
    """Ask what good means; the knobs that say it. Both are empty where nothing is chosen."""
    chosen = st.pills(
        "What good means", [*COMMON, _OWN], default=next(iter(COMMON)), key="new.target", required=True,
        help="What a mixture is scored by. Weights, and tasks of your own making, can be set later: Settings, target.",
    )  # fmt: skip
    tasks, heldout = _own() if chosen == _OWN else COMMON[chosen]
    scored = [f"{task} ({MEASURES[task]})" for task in tasks] + ["the text of every domain that is held out"] * heldout
    decides = "This decides the answer: the mixture that is found is the one whose proxies do best at just this"
    st.caption(plain(f"{decides}: {', '.join(scored)}." if scored else f"{decides}."))
    return {"target.tasks": dict.fromkeys(tasks, 1.0), "target.heldout": {"all": 1.0} if heldout else {}}


def _own() -> tuple[Sequence[str], bool]:
    tasks = st.multiselect(
        "Tasks", TASKS, list(TargetConfig().tasks), key="new.target.tasks",
        format_func=lambda task: f"{task}: {MEASURES[task]}",
        help="All weigh the same. Their questions come from the package registry once.",
    )  # fmt: skip
    heldout = st.toggle(
        "Held-out text of the corpus", key="new.target.heldout",
        help="How well a proxy predicts text that no proxy has read, the mean over domains. It weighs as one task.",
    )  # fmt: skip
    return tasks, heldout
