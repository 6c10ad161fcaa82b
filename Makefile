# make demo      install, run the quickstart notebook, print what it learnt
# make test      install with the test extra, then lint, types, JavaScript checks and the whole suite
# make install   the environment of make test, alone
# make lab       JupyterLab on notebooks/
# make dashboard runs, leaderboard, explorer and live board as an application on http://localhost:8866
# make lock      write requirements.lock from what is installed

PYTHON ?= python3
BIN := .venv/bin
INPUTS := pyproject.toml requirements.lock

.PHONY: demo test install lab dashboard lock clean

demo: .venv/core
	@$(BIN)/aigym run notebooks/quickstart.ipynb
	@echo "next       make lab"

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --reruns 1

install: .venv/test node_modules/.package-lock.json

lab: .venv/core
	PLOTLY_RENDERER=plotly_mimetype $(BIN)/jupyter lab --notebook-dir=notebooks

PORT ?= 8866
dashboard: .venv/dashboard
	@$(BIN)/aigym dashboard --port $(PORT)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; use: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { echo "error: $(PYTHON) cannot make a virtual environment (on Debian: apt-get install python3-venv)"; exit 1; }

.venv/core: .venv/bin/python $(INPUTS)
	@echo "installing the pinned packages into .venv (a few minutes the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e .
	@touch $@

.venv/dashboard: .venv/core
	@$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dashboard]'
	@touch $@

.venv/test: .venv/core
	@$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[test]'
	@touch $@

# Only the checks of the widgets' JavaScript need it; without npm they are skipped by name.
node_modules/.package-lock.json: package.json package-lock.json
	@if command -v npm >/dev/null; then npm ci --silent --no-fund --no-audit; \
	  else echo "npm not found: the JavaScript checks will be skipped"; fi

lock:
	@( echo "# Every package that the workbench was tested with; a constraint file for pip (make lock)."; \
	   $(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' ) > requirements.lock

clean:
	rm -rf .venv node_modules tests/artifacts .mypy_cache .ruff_cache .pytest_cache
