# The two commands:  make run   make test
# They need Python 3.11, 3.12 or 3.13 and nothing else; the first call makes the environment in .venv.

PROFILE ?= openmoji
JOBS ?= 2
ONLY ?=
CORPUS ?= openmoji
TESTS ?= tests
VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help run search test lint record
.DELETE_ON_ERROR:

help:
	@echo "make run      run the notebooks; results and overview in runs/$(PROFILE)/index.html (skips what is done)"
	@echo "              PROFILE=smoke for a quick try, ONLY=\"03 04\" for some, JOBS=1 for one at a time"
	@echo "make search   a page in the browser that searches the embedded pictures (CORPUS=... for others)"
	@echo "make test     check the style and run all tests (TESTS=tests/test_x.py for some)"
	@echo "make record   take the finished run into results/ and notebooks/ (PROFILE=...)"
	@echo "make lint     check the style only"

run: $(READY)
	@$(BIN)/python -m lib.run --profile $(PROFILE) --jobs $(JOBS) --resume $(if $(ONLY),--only $(ONLY))

search: $(READY)
	@$(BIN)/python -m lib.search --corpus $(CORPUS)

test: lint
	@echo "running the tests (about 20 minutes on 2 cores; the notebooks with tiny settings are among them)"
	@$(BIN)/python -m pytest $(TESTS)

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

record: $(READY)
	@$(BIN)/python -m lib.run.record runs/$(PROFILE)

# The stamp is written last, so an interrupted installation is continued by the next call.
$(READY): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found on PATH (python3 is: $$(python3 --version 2>&1));" \
		"install one, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) or sys.exit(f"Python {v[0]}.{v[1]} is not \
	supported; this project needs 3.11, 3.12 or 3.13: make PYTHON=python3.11")'
	@rm -f $@
	@echo "[1/3] environment in $(VENV) ($$($(PYTHON) --version))"
	@$(PYTHON) -m venv $(VENV)
	@echo "[2/3] installing requirements.txt: up to 5 GB, most of it PyTorch; minutes, depending on the network"
	@$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	@echo "[3/3] installing this project in place"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	@touch $@
	@echo "environment ready"
