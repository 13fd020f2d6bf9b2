# `make demo` and `make test` install all they need into .venv; they only assume python3.11 and a package index.

PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check
# ChimeraX's library uses pkg_resources, which warns at every start.
export PYTHONWARNINGS ?= ignore:pkg_resources:UserWarning

.PHONY: demo test lint types unit wheel clean

demo: $(VENV)/ready
	$(RUN) demo/demo.py

test: lint types unit wheel

lint: $(VENV)/ready
	$(RUN) -m ruff check .

types: $(VENV)/ready
	$(RUN) -m mypy

unit: $(VENV)/ready
	$(RUN) -m pytest

wheel: $(VENV)/ready
	$(RUN) scripts/build_wheel.py dist

$(VENV)/ready: requirements/develop.txt requirements/chimerax.txt requirements/wheel.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements/develop.txt
	$(PIP) --no-deps -r requirements/chimerax.txt
	$(PIP) --no-deps --upgrade --target $(VENV)/wheel-tools -r requirements/wheel.txt
	touch $@

clean:
	rm -rf $(VENV) build dist demo-output *.egg-info
