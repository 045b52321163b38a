"""The comparison as a whole: searches, targets, and the files that tell of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from climb_engine.compare.doremi import run_doremi
from climb_engine.compare.figure import figure
from climb_engine.compare.outcome import Comparison, Found, Model
from climb_engine.compare.plan import Options, Plan
from climb_engine.compare.search import found_mixtures, open_searches, own_choice, run_searches
from climb_engine.compare.table import as_json, markdown
from climb_engine.compare.targets import Wanted, measured_targets, run_targets, target_trunk, wanted_targets
from climb_engine.config import RunConfig
from climb_engine.pipeline import Run
from climb_engine.runners import LocalRunner, Runner
from climb_engine.search.llama import LlamaShape
from climb_engine.training import steps_of
from climb_engine.types import Report, silent
from climb_engine.workspace import Artifact, lock, write_atomically


def compare(run: Run, options: Options, report: Report = silent, runner: Runner | None = None) -> Comparison:
    """Find every method's mixture with the same budget, train targets on them, and say what differs.

    It may be stopped anywhere: called again, it goes on. Files are in ``runs/<name>/compare/<digest>/``: plan.json,
    searches/, targets.jsonl, results.json, table.md, gains.svg. Raises ClimbError when the run has no trunk yet, for
    unknown tasks, and for a target model that cannot be.
    """
    plan, runner = Plan.of(run, options), runner or LocalRunner()
    with lock(plan.folder / "lock", f"this comparison of {run.workspace.name}"):
        write_atomically(plan.folder / "plan.json", json.dumps(plan.identity, indent=1).encode())
        searches = open_searches(plan)
        run_searches(plan, searches, runner, report)
        others = {**run_doremi(plan, report), **own_choice(plan)}
        found = found_mixtures(plan, searches, others)
        trunk, wanted = target_trunk(plan, report), wanted_targets(plan, found)
        try:
            run_targets(plan, wanted, runner, report)
        finally:  # so that whoever stops it early sees how it stands
            comparison = _summed(plan, found, trunk, wanted)
            _write(plan, comparison)
    return comparison


def _summed(plan: Plan, found: Sequence[Found], trunk: Artifact, wanted: Sequence[Wanted]) -> Comparison:
    run = plan.run
    return Comparison(
        run=run.workspace.name,
        digest=plan.digest,
        options=plan.options,
        calibrated=tuple(task for task, weight in run.config.target.tasks.items() if weight),
        items=Counter(item.task for item in plan.reported),
        proxy=_model(run.config, run.needed("trunk")),
        target=_model(plan.target, trunk),
        found=tuple(found),
        measured=measured_targets(plan, wanted),
        warnings=plan.warnings,
    )


def _model(config: RunConfig, trunk: Artifact) -> Model:
    shape, proxy = LlamaShape(**trunk.facts["shape"]), config.proxy
    per_step = proxy.batch_size * proxy.sequence_length
    return Model(
        parameters=shape.parameters,
        tokens=steps_of(proxy.tokens, config) * per_step,
        trunk_tokens=trunk.facts["steps"] * per_step,
        trunk_seconds=trunk.manifest["seconds"],
        trunk_flops=trunk.facts["steps"] * per_step * shape.flops_per_token(proxy.sequence_length),
    )


def _write(plan: Plan, comparison: Comparison) -> None:
    files = {
        "results.json": json.dumps(as_json(comparison), indent=1) + "\n",
        "table.md": markdown(comparison),
        "gains.svg": figure(comparison),
    }
    for name, text in files.items():
        write_atomically(plan.folder / name, text.encode())
