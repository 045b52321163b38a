"""The house rules of imports, held by reading them."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "faiss", "lightgbm", "ray", "transformers", "sentence_transformers", "sklearn", "streamlit", "plotly")
MAY_IMPORT = {
    "types": set(),
    "faults": set(),
    "config": {"types", "faults"},
    "packages": {"types"},
    "workspace": {"types", "config"},
    "runners": {"types"},
    "curate": {"types", "config", "packages"},
    "search": {"types", "config", "packages"},
    "console": {"types"},
    "demo": {"types", "config", "packages", "workspace"},
    "training": {"types", "config", "workspace", "search"},
    "clusters": {"types", "config", "workspace", "curate"},
    "stages": {"types", "config", "workspace", "runners", "curate", "search", "training", "clusters"},
    "export": {"types", "workspace", "search"},
    "external": {"types", "workspace"},
    "waiting": {"types", "workspace"},
    "reuse": {"types", "workspace", "search"},
    "tables": {"types", "config", "external", "search"},
    "pipeline": {
        *("types", "config", "workspace", "runners", "stages", "training", "external", "export", "curate", "search"),
        *("reuse", "clusters", "waiting"),
    },
    "curation": {"types", "config", "workspace", "curate", "clusters", "pipeline"},
    "earlier": {"types", "config", "search", "pipeline"},
    "browse": {"types", "config", "console", "stages", "pipeline", "curation"},
    "rated": {"types", "workspace", "curate", "pipeline"},
    "rating": {"types", "console", "workspace", "curate", "stages", "pipeline", "browse", "rated"},
    "rescoring": {
        *("types", "config", "workspace", "curate", "clusters", "stages", "pipeline", "curation", "rated"),
    },
    "domain_names": {"types", "config", "curate", "stages", "pipeline", "browse", "curation"},
    "summary": {"types", "console", "pipeline", "tables", "search"},
    "jobs": {"types", "workspace"},
    "compare": {"types", "config", "workspace", "runners", "search", "training", "pipeline"},
    "cli": {
        *("types", "config", "workspace", "console", "demo", "pipeline", "tables", "summary", "curate", "jobs"),
        *("browse", "curation", "domain_names", "export", "rated", "rating", "rescoring", "compare", "reuse"),
        "earlier",
    },
}
INSIDE = {  # the few edges between neighbours in a room
    "stages/quality": {"corpus", "work"},
    "stages/splits": {"clustering", "work"},
    "stages/graph": {
        "work",
        *("clustering", "corpus", "domains", "duplicates", "embedding", "projection", "quality", "splits", "tokens"),
        "trunk",
    },
    **{
        f"stages/{stage}": {"work"}
        for stage in ("clustering", "corpus", "domains", "duplicates", "embedding", "projection", "tokens", "trunk")
    },
    "curate/corpus": {"inputs"},
    "curate/quality": {"heuristics", "fasttext", "transformers", "ratings", "head", "annotator"},
    "curate/annotator": {"ratings"},
    "curate/domains": {"merging", "naming", "overrides"},
    "curate/overrides": {"merging", "naming"},
    "search/renaming": {"objective"},
    "search/loop": {
        "space",
        "threads",
        "predictor",
        "regression",
        "objective",
        "methods",
        "baselines",
        "outcome",
        "record",
        "reuse",
    },
    "search/methods": {"space", "predictor", "regression", "acquisition", "baselines"},
    "search/baselines": {"space", "predictor"},
    "search/record": {"outcome", "reuse"},
    "search/reuse": {"objective", "space"},
    "search/acquisition": {"regression"},
    "search/trees": {"regression"},
    "search/laws": {"regression"},
    "search/gaussian": {"regression"},
    "search/predictor": {"regression", "trees", "laws", "gaussian"},
    "search/proxy": {"llama", "sampling"},
    "search/doremi": {"llama", "proxy", "sampling"},
    "search/checkpoint": {"llama"},
    "export/mixture": {"recipes"},
    "export/kept": {"drawing"},
    "export/shards": {"drawing"},
    "export/dataset": {"card", "drawing", "kept", "recipes", "shards"},
    "compare/outcome": {"plan"},
    "compare/doremi": {"outcome", "plan"},
    "compare/search": {"outcome", "plan"},
    "compare/targets": {"outcome", "plan"},
    "compare/table": {"outcome"},
    "compare/figure": {"outcome"},
    "compare/engine": {"doremi", "figure", "outcome", "plan", "search", "table", "targets"},
    "cli/program": {"arguments", "compare", "curate", "export", "knobs", "rate", "runs", "search"},
    "cli/compare": {"arguments"},
    "cli/knobs": {"arguments"},
    "cli/runs": {"arguments"},
    "cli/rate": {"arguments"},
    "cli/search": {"arguments"},
    "cli/curate": {"arguments"},
    "cli/export": {"arguments"},
}


def imports_of(path: Path) -> set[str]:
    """Modules of the engine that a file imports anywhere, as dotted names below climb_engine."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("climb_engine"):
            inner = node.module.removeprefix("climb_engine").lstrip(".")
            found |= {inner} if inner else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("climb_engine.") for alias in node.names if "climb_engine." in alias.name}
    return found


MODULES = sorted((ROOT / "climb_engine").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    inner = path.relative_to(ROOT / "climb_engine")
    room = inner.parts[0].removesuffix(".py")
    if inner.stem in ("__init__", "__main__"):
        return
    for name in imports_of(path):
        other, _, module = name.partition(".")
        if other != room:
            assert other in MAY_IMPORT[room], f"{inner} must not import climb_engine.{name}"
        elif module:
            allowed = INSIDE.get(inner.with_suffix("").as_posix(), set())
            assert module in allowed, f"{inner} must not import its neighbour {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_engine_knows_no_front_end(path):
    text = path.read_text(encoding="utf-8")
    assert "import plotly" not in text
    assert "from plotly" not in text
    assert not re.search(r"^\s*(from|import) (app|pages)\b", text, re.MULTILINE)
    if path.name != "runs.py":  # which asks whether the app can be started
        assert "import streamlit" not in text


@pytest.mark.parametrize(
    "module", ["climb_engine", "climb_engine.cli", "climb_engine.pipeline", "climb_engine.search.loop"]
)
def test_importing_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


STARTED = """
import sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file(sys.argv[1], default_timeout=60).run()
assert not app.exception, app.exception
assert app.button, "the page is empty"
print(*[name for name in sys.argv[2:] if name in sys.modules])
"""


def test_starting_the_app_loads_nothing_heavy(tmp_path):
    heavy = ("torch", "faiss", "transformers", "sentence_transformers", "lightgbm", "sklearn", "datasets")
    command = [sys.executable, "-c", STARTED, str(ROOT / "app" / "main.py"), *heavy]
    environment = {**os.environ, "CLIMB_RUNS": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == ""


PURE = (
    *("charts", "knobs", "steps", "words", "curate/charts", "curate/dendrogram", "curate/draft"),
    *("overview/happenings", "overview/reasons"),
    *("search/charts", "search/counts", "search/estimates", "search/livecurves", "search/mixing", "search/notes"),
    "search/ranking",
    *("compare/charts", "compare/compared", "compare/gains", "compare/proofs", "compare/proofwords", "compare/sums"),
    *("export/files", "export/former"),
)


@pytest.mark.parametrize("name", PURE)
def test_figures_sums_and_the_next_step_know_no_streamlit(name):
    assert "streamlit" not in (ROOT / "app" / f"{name}.py").read_text(encoding="utf-8").replace("Streamlit", "")
