"""The house rules of imports, held by reading them."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "faiss", "lightgbm", "ray", "transformers", "sentence_transformers", "sklearn", "streamlit", "plotly")
MAY_IMPORT = {
    "types": set(),
    "config": {"types"},
    "packages": {"types"},
    "workspace": {"types", "config"},
    "runners": {"types"},
    "curate": {"types", "config", "packages"},
    "search": {"types", "config", "packages"},
    "console": {"types"},
    "demo": {"types", "config", "packages", "workspace"},
    "training": {"types", "config", "workspace", "search"},
    "stages": {"types", "config", "workspace", "curate", "search", "training"},
    "export": {"types", "workspace", "search"},
    "pipeline": {"types", "config", "workspace", "runners", "stages", "training", "export", "curate", "search"},
    "summary": {"console", "pipeline", "search"},
    "jobs": {"types", "workspace"},
    "cli": {"types", "config", "workspace", "console", "demo", "pipeline", "summary", "curate", "jobs"},
}
INSIDE_SEARCH = {
    "loop": {"space", "predictor", "objective", "acquisition"},
    "acquisition": {"predictor"},
    "trees": {"regression"},
    "laws": {"regression"},
    "gaussian": {"regression"},
    "predictor": {"regression", "trees", "laws", "gaussian"},
    "proxy": {"sampling"},
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
    if room == "__init__":
        return
    for name in imports_of(path):
        other, _, module = name.partition(".")
        if other != room:
            assert other in MAY_IMPORT[room], f"{inner} must not import climb_engine.{name}"
        elif module:
            allowed = INSIDE_SEARCH.get(inner.stem, set()) if room == "search" else set()
            assert module in allowed, f"{inner} must not import its neighbour {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_engine_knows_no_front_end(path):
    text = path.read_text(encoding="utf-8")
    assert "import plotly" not in text
    assert "from plotly" not in text
    if path.name != "cli.py":  # which asks whether the app can be started
        assert "import streamlit" not in text


@pytest.mark.parametrize(
    "module", ["climb_engine", "climb_engine.cli", "climb_engine.pipeline", "climb_engine.search.loop"]
)
def test_importing_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
