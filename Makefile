# Everything runs in .venv, made on first use; nothing but Python 3.10+ and make is needed.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/ance-tele

.PHONY: setup demo test check audit bench docs package clean

setup: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: setup  ## train on real text: three episodes, four minutes on two cores with AVX-512
	$(RUN) demo --out runs/demo

test: setup  ## the tests: offline, about five minutes on two cores
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

check: setup audit  ## style, types, layers, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py

audit: setup  ## known vulnerabilities of what is installed, where pip-audit and its database are at hand
	$(BIN)/python tools/audit.py

bench: setup  ## one table: ours beside every competitor, small sizes; kept in benchmarks/results
	$(BIN)/python benchmarks/bench.py

docs: setup  ## the site, strictly, into build/docsite/site; and llms.txt
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	PYTHONPATH=tools $(BIN)/python -m docsite.build

package: setup  ## wheel and source distribution into dist; the wheel installed into a fresh environment, and used there
	$(BIN)/python tools/package.py --python $(PYTHON)

clean:
	rm -rf .venv build dist
