"""What a run has to show, in words and tables for people and as values for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from climb_engine.console import say, seconds_text, table
from climb_engine.pipeline import Run
from climb_engine.search.loop import Choice, Outcome, Search, Trust
from climb_engine.search.regression import FEWEST
from climb_engine.search.threads import one_thread
from climb_engine.tables import Fit
from climb_engine.types import Trial, finite

_CHECKED = 300  # trials up to which a status cross-validates the predictor, which takes seconds


def show_status(run: Run, search: Search | None, as_json: bool) -> None:
    """Print the state of the stages and what the search found, as tables or as JSON."""
    if as_json:
        say(json.dumps(status(run, search), indent=1))
        return
    rows = [(stage.stage, stage.state, _seconds(run, stage.stage), stage.why) for stage in run.plan()]
    table(f"Run {run.workspace.name}", ("stage", "state", "time", "why it would run"), rows, numeric=9)
    say()
    if search and search.trials:
        show_outcome(search)
    else:
        say(f"No trial yet. Next: climb search {run.workspace.name}")


def status(run: Run, search: Search | None) -> dict[str, Any]:
    """Everything ``climb status`` knows, as JSON values."""
    report: dict[str, Any] = {"run": run.workspace.name, "stages": [vars(stage) for stage in run.plan()]}
    if search:
        outcome = search.outcome()
        report["search"] = {
            "iteration": search.iteration,
            "iterations": list(search.config.iterations),
            "finished": search.finished,
            "trials": [_trial(search, index) for index in range(len(search.trials))],
            "natural": list(outcome.natural),
            "confirmed": list(outcome.confirmed),
            "chosen": outcome.chosen.mixture.as_dict() if outcome.chosen else None,
            "expected_gain": finite(outcome.chosen.gain) if outcome.chosen else None,
            "expected_gain_interval_95": [finite(v) for v in outcome.chosen.gain_interval] if outcome.chosen else None,
            "predictor": vars(outcome.chosen.trust) if outcome.chosen and outcome.chosen.trust else None,
            "predictor_now": vars(now) if (now := _trust_now(search)) else None,
            "best": _best(search, outcome),
            "gain": finite(outcome.gain),
            "gain_interval_95": [finite(value) for value in outcome.gain_interval],
            "gain_pairs": [{"chosen": chosen, "natural": natural} for chosen, natural in outcome.pairs],
            "gains_by_metric": {
                name: {"mean": finite(mean), "interval_95": [finite(value) for value in interval]}
                for name, (mean, interval) in outcome.gains.items()
            },
            "noise_sd": finite(outcome.noise_sd),
            "signal_to_noise": finite(outcome.signal_to_noise),
        }
    return report


def show_domains(run: Run) -> None:
    """Print what became of the documents and the clusters, and the domains with their tokens."""
    corpus, facts = run.needed("corpus").facts, run.needed("domains").facts
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in corpus["rejected"].items()) or "none"
    say(f"Documents: {corpus['documents']:,} accepted; rejected: {rejected}")
    pruned = f"{facts['pruned_clusters']} pruned ({facts['pruned_documents']:,} documents)"
    say(f"Clusters: {facts['kept_clusters']} kept ({facts['kept_documents']:,} documents), {pruned}")
    tokens = run.needed("tokens").facts["train"]
    rows = [
        (name, row["clusters"], f"{row['documents']:,}", f"{count:,}")
        for name, row, count in zip(
            run.domains, run.needed("domains").table("domains").to_pylist(), tokens, strict=True
        )
    ]
    table("Domains", ("domain", "clusters", "documents", "tokens"), rows)


def show_outcome(search: Search) -> None:
    """Print the chosen (or so far best) mixture beside the natural one, with measured scores and their noise."""
    outcome = search.outcome()
    measured = sum(trial.result is not None for trial in search.trials)
    failed = sum(trial.error is not None for trial in search.trials)
    say(f"Search: iteration {search.iteration} of {search.planned}, {measured} trials measured, {failed} failed")
    _show_mixture(search, outcome)
    say(f"Score: {search.objective.describe()}")
    say(f"  natural mixture  {_scores(outcome.natural)}")
    if outcome.chosen:
        say(f"  chosen mixture   {_scores(outcome.confirmed)}; predicted {outcome.chosen.predicted:.4f}")
    elif best := _best(search, outcome):
        _show_best(best)
    if math.isfinite(outcome.gain):
        say(f"  gain             {_gain(outcome)}")
        if len(outcome.gains) > 1:
            say(f"    by metric      {_gains(outcome)}")
    now = _trust_now(search)
    if outcome.chosen:
        _show_expected(outcome.chosen)
    _show_trust(outcome.chosen.trust if outcome.chosen else None, now)
    if search.finished:
        say(f"  one more round   {_one_more(search, now)}")
    if math.isfinite(outcome.noise_sd):
        ratio = f"signal to noise {outcome.signal_to_noise:.2f}"
        say(f"  noise            sd {outcome.noise_sd:.4f} of a run ({outcome.noise_freedom} degrees); {ratio}")


def show_fit(found: Fit, as_json: bool) -> None:
    """Print what a table of trained models says, as tables or as JSON."""
    domains = tuple(found.natural.weights)
    if as_json:
        say(json.dumps(_fit(found, domains), indent=1))
        return
    say(f"{found.trials} models; score: {' '.join(f'{part:+.3g} x {name}' for name, part in found.target.items())}")
    if found.validation:
        known = found.validation
        say(
            f"Predictor {known.name}, cross-validated: rank correlation {known.spearman:.3f}, "
            f"error {known.rmse:.4f}, {known.coverage:.0%} inside the 80 % interval"
        )
    if found.warning:
        say(f"Warning: {found.warning}")
    say(f"Best measured {found.best_measured:.4f}; noise of a measurement {found.noise_sd:.4f} by the predictor")
    columns = ("domain", "natural", *(f"best {i}" for i in range(1, len(found.best) + 1)))
    shown = (found.natural, *found.best)
    rows: list[tuple[str, ...]] = [(name, *(f"{one.weights[name]:.1%}" for one in shown)) for name in domains]
    rows.append(("score", *(f"{one.score:.4f}" for one in shown)))
    rows.append(("95 %", *(f"{one.interval[0]:.4f} to {one.interval[1]:.4f}" for one in shown)))
    table("Best untried mixtures by prediction", columns, rows)
    say(f"The next batch of {len(found.batch)} is in the output of --json")


def _show_mixture(search: Search, outcome: Outcome) -> None:
    if outcome.chosen:
        title, weights = "Chosen mixture", outcome.chosen.mixture.weights
    elif best := _leader(search):
        title, weights = f"Best measured so far (trial {best.id})", best.mixture.weights
    else:
        return
    natural = search.space.natural
    order = sorted(range(len(natural)), key=lambda i: -weights[i])
    ratios = [f"{weights[i] / natural[i]:.2f} x" if natural[i] else "" for i in range(len(natural))]
    rows = [(search.space.domains[i], f"{weights[i]:.1%}", f"{natural[i]:.1%}", ratios[i]) for i in order]
    table(title, ("domain", "weight", "natural", "ratio"), rows)


def _gain(outcome: Outcome) -> str:
    low, high = outcome.gain_interval
    if not math.isfinite(low):
        return f"{outcome.gain:+.4f} (one run; confirm with more)"
    verdict = "beyond the noise" if low > 0 or high < 0 else "within the noise"
    natural = sum(of for _, of in outcome.pairs) / len(outcome.pairs)
    pairs = f"in {len(outcome.pairs)} pairs of runs with the same seed (natural's there: {natural:.4f})"
    return f"{outcome.gain:+.4f} {pairs}, 95 % interval {low:+.4f} to {high:+.4f}: {verdict}"


def _gains(outcome: Outcome) -> str:
    """The gain in each metric, the worst first: what is better on the whole may be worse in a part."""
    told = []
    for name, (mean, (low, high)) in sorted(outcome.gains.items(), key=lambda entry: entry[1][0]):
        known = "" if low <= 0 <= high else ", better" if low > 0 else ", worse" if high < 0 else ""
        told.append(f"{name} {mean:+.4f}{known}")
    return "; ".join(told) + " (beyond the noise where it says better or worse)"


def _show_best(best: dict[str, Any]) -> None:
    """The best single run so far, with what keeps one from believing it."""
    say(f"  best so far      {best['score']:.4f} (trial {best['id']}, 1 run)")
    if best["gain"] is not None:
        flatters = "the best of many single runs flatters itself"
        pairs = "" if best["paired"] else ", and it shares no seed with natural's"
        say(f"    over natural   {best['gain']:+.4f}; {flatters}{pairs}: the search confirms its choice at the end")


def _best(search: Search, outcome: Outcome) -> dict[str, Any] | None:
    """The best measured trial that is no run of the natural mixture, and its lead over the mean of those."""
    best = _leader(search)
    if best is None:
        return None
    natural = sum(outcome.natural) / len(outcome.natural) if outcome.natural else math.nan
    paired = any(t.origin == "natural" and t.result and t.seed == best.seed for t in search.own)
    score = search.score(best)
    return {"id": best.id, "score": finite(score), "gain": finite(score - natural), "paired": paired}


def _leader(search: Search) -> Trial | None:
    others = [trial for trial in search.own if trial.result and trial.origin != "natural"]
    return max(others, key=search.score, default=None)


def _show_expected(chosen: Choice) -> None:
    low, high = chosen.gain_interval
    if math.isfinite(low):
        say(f"  expected gain    {chosen.gain:+.4f}, 95 % {low:+.4f} to {high:+.4f}, by the predictor")


def _show_trust(chosen: Trust | None, now: Trust | None) -> None:
    """The predictor as it was when it chose, as it is now, or both where it has learned from more since."""
    if chosen and now and chosen.trials != now.trials:
        say(f"  predictor        when it chose: {_checked(chosen)}")
        say(f"    now            {_checked(now)}")
    elif trust := now or chosen:
        say(f"  predictor        {_checked(trust)}")
    if (latest := now or chosen) and latest.warning:
        say(f"Warning: {latest.warning}")


def _checked(trust: Trust) -> str:
    how = f"{trust.predictor}{' by metric' if trust.by_metric else ''} on {trust.trials} trials"
    inside = f"{trust.coverage:.0%} inside the 80 % interval"
    return f"{how}: cross-validated rank correlation {trust.spearman:.2f}, {inside}"


def _trust_now(search: Search) -> Trust | None:
    """The predictor cross-validated on what is measured by now; None where that is too little, or would take long."""
    measured = sum(math.isfinite(search.score(trial)) for trial in search.trials)
    if not FEWEST <= measured <= _CHECKED or search.config.predictor == "auto":
        return None
    with one_thread():
        return search.trust(search.validation())


def _one_more(search: Search, trust: Trust | None) -> str:
    with one_thread():
        hint = search.stop_hint(trust or (search.choice.trust if search.choice else None))
    return f"{hint.text} (costs {seconds_text(hint.seconds)} of training, {hint.flops:.1e} FLOPs)"


def _fit(found: Fit, domains: tuple[str, ...]) -> dict[str, Any]:
    known = found.validation
    report = (
        {"name": known.name, "spearman": known.spearman, "rmse": known.rmse, "coverage": known.coverage}
        if known
        else None
    )
    return {
        "trials": found.trials,
        "target": dict(found.target),
        "predictor": report,
        "warning": found.warning or None,
        "noise_sd": finite(found.noise_sd),
        "natural": vars(found.natural),
        "best_measured": found.best_measured,
        "best": [vars(one) for one in found.best],
        "batch": [dict(zip(domains, row, strict=True)) for row in found.batch.tolist()],
    }


def _scores(scores: Sequence[float]) -> str:
    if not scores:
        return "not measured"
    mean = sum(scores) / len(scores)
    if len(scores) == 1:
        return f"{mean:.4f} (1 run)"
    sd = math.sqrt(sum((score - mean) ** 2 for score in scores) / (len(scores) - 1))
    return f"{mean:.4f} +- {sd:.4f} ({len(scores)} runs)"


def _seconds(run: Run, stage: str) -> str:
    artifact = run.artifact(stage)
    return seconds_text(artifact.manifest["seconds"]) if artifact else ""


def _trial(search: Search, index: int) -> dict[str, Any]:
    trial = search.trials[index]
    return {
        "id": trial.id,
        "iteration": trial.iteration,
        "origin": trial.origin,
        "seed": trial.seed,
        "score": finite(search.score(trial)),
        "error": trial.error,
        "weights": trial.mixture.as_dict(),
    }
