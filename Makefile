# make study   the paper's Table 1 and figures from nothing: environment, data, training, notebooks, report
# make paper   the same for every table and figure of the paper, and what goes beyond it
# make test    every test, the notebooks included
# make lab     the notebooks in JupyterLab
# make lint    what a commit must pass; make lock  renews the pins; make clean  removes all but the results

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PARAMS ?= params/table1.yaml
PAPER := table1 memorization true_correction single_label methods gold_size single_budget beyond
NOTEBOOKS := $(wildcard notebooks/[0-9]*.ipynb)
# Absolute: notebooks in JupyterLab have a working directory of their own.
ifneq ($(GALC_OUTPUTS),)
override GALC_OUTPUTS := $(abspath $(GALC_OUTPUTS))
export GALC_OUTPUTS
endif
OUT := $(or $(GALC_OUTPUTS),outputs)
DONE := $(OUT)/.$(basename $(notdir $(PARAMS))).done

# Tried in this order; `make PYTHON=... study` names another one.
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)

.PHONY: study paper test lab lint lock clean
.DELETE_ON_ERROR:

study: $(DONE)
	@echo "up to date: $(OUT)/report.html and the executed notebooks beside it"

# Written last, so that an interrupted study goes on from its cache; a finished one is not even started.
$(DONE): $(STAMP) $(wildcard $(PARAMS) $(shell find galc -type f ! -name '*.pyc') notebooks/*.ipynb)
	$(BIN)/python -m galc.sweep $(PARAMS)
	@mkdir -p $(@D) && touch $@

# One after the other; one that fails does not keep the others from being tried.
paper:
	@status=0; for name in $(PAPER); do \
	    $(MAKE) --no-print-directory study PARAMS=params/$$name.yaml || status=1; done; exit $$status

# Two workers, one thread each: more threads than cores only fight. A file's tests stay in one worker.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope \
	    --nbval-lax --nbval-current-env --nbval-cell-timeout=600 tests $(NOTEBOOKS)

lab: $(STAMP)
	$(BIN)/jupyter lab --notebook-dir=.

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# One lock for every system and every Python from 3.11 on: pins that differ carry a marker.
lock:
	$(find_python) && "$$python" -m venv build/lock
	build/lock/bin/python -m pip install --quiet uv==0.13.9
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --extra all --extra test \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	    $(if $(UPGRADE),--upgrade) --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) build galc.egg-info .pytest_cache .ruff_cache .hypothesis
	find galc tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
	@echo "outputs/ is kept; remove it by hand to compute everything again"

# The stamp is written last, so that an interrupted installation is taken up again by the next call.
$(STAMP): requirements.lock pyproject.toml
	$(BIN)/python -m pip --version >/dev/null 2>&1 || { $(find_python) && "$$python" -m venv --clear $(VENV); }
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Shell code that sets $$python to the first command of $(PYTHONS) that is Python 3.11 or newer, or says what is missing.
find_python = python=$$(for name in $(PYTHONS); do \
	    "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; done); \
	test -n "$$python" || { echo "error: Python 3.11 or newer is needed; tried: $(PYTHONS)." \
	    "Install it, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
