"""What a comparison on larger models allows to say, in words and as lines of a figure. Knows no Streamlit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.charts import ACCENT, PRUNED
from app.compare.charts import GainLine
from app.compare.gains import Verdict, interval_text
from app.words import count, plural
from climb_engine.compare import Comparison
from climb_engine.compare.outcome import FEWEST, Estimate, Kind
from climb_engine.compare.table import GROUPS
from climb_engine.types import FloatArray

KINDS: dict[str, Kind] = {"bits per byte": "bpb", "accuracy": "acc"}
HELDOUT = "held-out text"
WORSE = "#d98c1f"  # with ACCENT and PRUNED: blue, orange and grey, which all eyes can tell apart


def plan_words(comparison: Comparison) -> str:
    """What was compared, in a few lines for people."""
    options, proxy, target = comparison.options, comparison.proxy, comparison.target
    tasks = ", ".join(f"{task} ({items:,})" for task, items in comparison.items.items())
    start = f"after a trunk of {count(target.trunk_tokens)}" if target.trunk_tokens else "from random weights"
    searching = (
        f"In each of {plural(options.replicates, 'replicate')} every method finds a mixture with {options.budget} "
        f"proxies of {count(proxy.parameters)} parameters, trained on {count(proxy.tokens)} tokens."
    )
    if "ours" in options.methods:
        searching += " ours is this app's own method, called bayesian in the settings."
    without = f"{plural(options.replicates, 'replicate').capitalize()}, each with a data order of its own."
    return "\n".join(
        (
            searching if options.searched else without,
            f"On every mixture: {plural(options.seeds, 'target')} of {count(target.parameters)} parameters, trained on "
            f"{count(target.tokens)} tokens {start}.",
            f"Measured on items that no search has seen: {tasks}. Calibrated on, by the searches: "
            f"{', '.join(comparison.calibrated) or 'no task'}.",
        )
    )


def best_method(comparison: Comparison) -> str | None:
    """The method that saves most over natural; None when there is none to tell of."""
    others = [name for name in comparison.methods if name != "natural"]
    gains = {name: comparison.gains(name, "natural", "bpb").mean for name in others}
    known = [name for name in others if math.isfinite(gains[name])]
    return max(known, key=lambda name: gains[name], default=None)


def verdict(comparison: Comparison, method: str, reference: str, kind: Kind) -> Verdict:
    """A method against another on the mean of all tasks; what got worse is said."""
    gain = comparison.gains(method, reference, kind)
    words = {"bpb": ("saves", "loses", "bits per byte"), "acc": ("wins", "loses", "points of accuracy")}[kind]
    scale, digits = _scale(kind)
    size = f"{scale * abs(gain.mean):.{digits}f} {words[2]}"
    did = words[0] if gain.mean >= 0 else words[1]
    noise = "beyond the noise" if gain.verdict in ("better", "worse") else _noise(gain)
    sure = [name for name, other in task_gains(comparison, method, reference, kind) if other.verdict == "worse"]
    but = f"; but worse: {', '.join(sure)}" if sure and gain.mean >= 0 else ""
    told = [
        f"Mean of all {len(comparison.tasks(kind))} tasks, paired over {plural(gain.n, 'replicate')}"
        f"{interval_text((gain.low, gain.high), scale, digits)}.",
        _worse(comparison, method, reference, kind),
        _accuracy(comparison, method, reference) if kind == "bpb" else "",
    ]
    return Verdict(
        {"better": "good", "worse": "bad"}.get(gain.verdict, "unclear"),  # type: ignore[arg-type]
        f"{method} {did} {size} against {reference}: {noise}{but}",
        tuple(line for line in told if line),
    )


def group_lines(comparison: Comparison, reference: str, kind: Kind) -> list[tuple[str, list[GainLine]]]:
    """A panel for each group of tasks, a line for each method: its gains over the reference."""
    whole = comparison.tasks(kind)
    groups = [group for group in GROUPS if comparison.tasks(kind, group)]
    groups = [group for group in groups if group == GROUPS[0] or comparison.tasks(kind, group) != whole]
    others = [name for name in comparison.methods if name != reference]
    return [
        (
            f"{group} ({', '.join(comparison.tasks(kind, group))})" if group != GROUPS[0] else f"{group} together",
            [_line(name, comparison.gains(name, reference, kind, group), kind) for name in others],
        )
        for group in groups
    ]


def task_lines(comparison: Comparison, method: str, reference: str, kind: Kind) -> list[GainLine]:
    """A line for each task: a method's gains over the reference; and for the held-out text."""
    return [_line(name, gain, kind) for name, gain in task_gains(comparison, method, reference, kind)]


def task_gains(comparison: Comparison, method: str, reference: str, kind: Kind) -> list[tuple[str, Estimate]]:
    """(task, gain paired by replicate, better is positive), the held-out text last where it is bits per byte."""

    def gain(mine: FloatArray, others: FloatArray) -> Estimate:
        return Estimate.of((mine - others) * (-1 if kind == "bpb" else 1))

    tasks = comparison.tasks(kind)
    found = [
        (task, gain(comparison.of_task(method, task, kind), comparison.of_task(reference, task, kind)))
        for task in tasks
    ]
    if kind == "bpb":
        found.append((HELDOUT, gain(comparison.of_heldout(method), comparison.of_heldout(reference))))
    return [(name, estimate) for name, estimate in found if estimate.n]


def _worse(comparison: Comparison, method: str, reference: str, kind: Kind) -> str:
    """What got worse, task by task, beyond the noise or not."""
    gains = task_gains(comparison, method, reference, kind)
    worse = [(name, gain) for name, gain in gains if gain.mean < 0]
    if not worse:
        return "No task got worse." if gains else ""
    sure = [one for one in worse if one[1].verdict == "worse"]
    rest = [one for one in worse if one not in sure]
    chance = "Worse within the noise" if gains[0][1].n >= FEWEST else "Worse, by chance or not"
    said = [
        f"{words}: {', '.join(_amount(name, gain, kind) for name, gain in some)}"
        for words, some in (("Worse beyond the noise", sure), (chance, rest))
        if some
    ]
    return ". ".join(said) + "."


def _accuracy(comparison: Comparison, method: str, reference: str) -> str:
    if not comparison.tasks("acc"):
        return ""
    gain = comparison.gains(method, reference, "acc")
    words = f"{100 * gain.mean:+.1f} points{interval_text((gain.low, gain.high), 100, 1)}"
    noise = f"{gain.verdict} beyond the noise" if gain.verdict in ("better", "worse") else _noise(gain)
    return f"Accuracy on the same items: {words}: {noise}."


def _noise(gain: Estimate) -> str:
    return "within the noise" if gain.n >= FEWEST else f"the noise is not known from {plural(gain.n, 'replicate')}"


def _amount(name: str, gain: Estimate, kind: Kind) -> str:
    scale, digits = _scale(kind)
    return f"{name} by {scale * -gain.mean:.{digits}f}"


def _line(name: str, gain: Estimate, kind: Kind) -> GainLine:
    scale, digits = _scale(kind)
    colour = {"better": ACCENT, "worse": WORSE}.get(gain.verdict, PRUNED)
    sure = gain.n >= FEWEST
    line = GainLine(name, colour, gain.mean, (gain.low, gain.high), scale, digits)
    return line if sure else GainLine(name, PRUNED, gain.mean, (math.nan, math.nan), scale, digits)


def _scale(kind: Kind) -> tuple[float, int]:
    return (100.0, 1) if kind == "acc" else (1.0, 4)


def columns(rows: tuple[Sequence[str], Sequence[Sequence[str]]]) -> dict[str, list[str]]:
    """A table of the engine's, by column."""
    heads, cells = rows
    return {head: [row[i] for row in cells] for i, head in enumerate(heads)}
