"""A mixture with its provenance, as files that other programs read."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from climb_engine.export.recipes import RECIPES
from climb_engine.search.loop import Outcome, Search
from climb_engine.types import ClimbError, Mixture, finite
from climb_engine.workspace import digest_of, write_atomically


def exported(search: Search, trial: int | None, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Everything there is to say about the chosen mixture, or about a trial's.

    Raises ClimbError when the search has chosen nothing yet, or there is no such trial.
    """
    outcome = search.outcome()
    mixture, measured = _picked(search, outcome, trial)
    natural = Mixture(search.space.domains, search.space.natural)  # as it was trained, so within the limits
    return {
        "hash": content_hash(mixture.as_dict(), provenance),
        "weights": mixture.as_dict(),
        "natural_weights": natural.as_dict(),
        "score": {**measured, "higher_is": "better", "target": dict(search.objective.weights)},
        "natural_score": _spread(outcome.natural),
        "gain_over_natural": {"mean": finite(outcome.gain), "interval_95": [finite(v) for v in outcome.gain_interval]}
        if trial is None
        else None,
        "noise": {"sd": finite(outcome.noise_sd), "degrees_of_freedom": outcome.noise_freedom},
        "provenance": dict(provenance),
    }


def content_hash(weights: Mapping[str, float], provenance: Mapping[str, Any]) -> str:
    """What identifies an export: it changes with any weight, and with the data, proxies or items they were found on.

    Not with what leads to the same weights: the run's name, a method's knobs, the number of trials.
    """
    return digest_of({"weights": dict(weights), "search": provenance["addresses"]["search"]})


def texts(record: Mapping[str, Any]) -> dict[str, str]:
    """File name -> text of the formats that need no framework: JSON and YAML with everything, CSV of the weights."""
    return {
        "mixture.json": json.dumps(record, indent=2) + "\n",
        "mixture.yaml": yaml.safe_dump(dict(record), sort_keys=False, allow_unicode=True),
        "mixture.csv": _csv(record["weights"], record["natural_weights"]),
    }


def read_weights(text: str) -> dict[str, float]:
    """Domain -> weight from the text of an exported JSON, YAML or CSV, or of a plain object of domain: weight.

    Raises ClimbError when it is none of these.
    """
    if text.startswith("domain,weight"):
        found: Any = {row[0]: row[1] for row in csv.reader(io.StringIO(text, newline="")) if len(row) > 1}
        del found["domain"]  # the header
    else:
        try:
            found = yaml.safe_load(text)  # which reads JSON too
        except (yaml.YAMLError, RecursionError) as error:
            raise ClimbError(f"this is no JSON, YAML or CSV of an export: {error}") from error
        found = found.get("weights", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not found:
        raise ClimbError("there are no weights in this; give an exported file, or an object of domain: weight")
    try:
        return {str(name): float(weight) for name, weight in found.items()}
    except (TypeError, ValueError) as error:
        raise ClimbError(f"every weight must be a number: {error}") from error


def write(folder: Path, record: Mapping[str, Any], recipes: Mapping[str, str] = MappingProxyType({})) -> Path:
    """Write ``mixture.json``, ``mixture.yaml``, ``mixture.csv`` and the recipes into ``folder``; returns it.

    Recipes that an earlier export left there and this one has not are removed: they hold other weights.
    """
    files = {**texts(record), **recipes}
    for recipe in (recipe for some in RECIPES.values() for recipe in some):
        if recipe.file not in files:
            (folder / recipe.file).unlink(missing_ok=True)
    for name, text in files.items():
        write_atomically(folder / name, text.encode())
    return folder


def _picked(search: Search, outcome: Outcome, trial: int | None) -> tuple[Mixture, dict[str, Any]]:
    if trial is None:
        if outcome.chosen is None:
            best = (
                f"; the best so far is trial {outcome.best.id}, to be had with --trial {outcome.best.id}"
                if outcome.best
                else ""
            )
            raise ClimbError(f"the search has not chosen a mixture yet{best}; 'climb search' goes on with it")
        choice = outcome.chosen
        predicted = {"predicted": finite(choice.predicted), "predicted_sd": finite(choice.sd)}
        return choice.mixture, {**_spread(outcome.confirmed), **predicted}
    found = [known for known in search.trials if known.id == trial]
    if not found:
        raise ClimbError(f"there is no trial {trial}; there are {len(search.trials)}, counted from 0")
    return found[0].mixture, {"trial": trial, **_spread(() if found[0].open else (search.score(found[0]),))}


def _spread(scores: tuple[float, ...]) -> dict[str, Any]:
    count = len(scores)
    mean = sum(scores) / count if count else math.nan
    sd = math.sqrt(sum((s - mean) ** 2 for s in scores) / (count - 1)) if count > 1 else math.nan
    return {"mean": finite(mean), "sd": finite(sd), "runs": count}


def _csv(weights: Mapping[str, float], natural: Mapping[str, float]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["domain", "weight", "natural_weight"])
    writer.writerows([name, repr(weight), repr(natural[name])] for name, weight in weights.items())
    return text.getvalue()
