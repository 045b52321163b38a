PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test browser-test check format ui clean

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	touch $@

setup: $(READY)  ## A virtual environment with everything in it

demo: $(READY)  ## Real text, real embedder, real proxies: from nothing to an exported mixture
	$(BIN)/climb demo

test: check  ## Everything that this machine can test; says what it skipped
	$(BIN)/pytest -n 2 -rs

browser-test: $(READY)  ## The app in a real browser; needs Chromium on the path
	$(BIN)/pytest -m browser -rs

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

ui: $(READY)  ## The app in the browser
	$(BIN)/climb ui

clean:
	rm -rf $(VENV)
