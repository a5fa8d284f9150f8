# Each target sets up what it needs into .venv; a machine has to bring Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp

.DEFAULT_GOAL := help
.PHONY: help setup demo methods test compose-test images check fix serve bench lock clean

help: ## Say what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## Install everything, pinned, into .venv

$(STAMP): pyproject.toml constraints.txt deploy/older-python.txt
	@$(PYTHON) -c 'import sys; sys.exit("Stillhouse needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement constraints.txt --requirement deploy/older-python.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP) ## A real job on real data, from a checkpoint to a downloaded student and its report
	$(BIN)/python -m examples.demo

methods: $(STAMP) ## Every objective against the control on real data, into docs/methods.md
	$(BIN)/python -m examples.methods

serve: $(STAMP) ## The service on this machine: http://127.0.0.1:8000, everything in ./data
	$(BIN)/python -m app

test: $(STAMP) ## All tests, against servers that they start themselves
	$(BIN)/python -m pytest $(T)

images: ## Build the images of docker-compose.yml
	docker compose build api worker

compose-test: $(STAMP) images ## The composed service, from `up` to `down -v`, with docker compose
	$(BIN)/python -m tests.compose.acceptance
	$(BIN)/python -m tests.compose.manual

check: $(STAMP) ## Format, lint, types, contracts, docstrings, migrations
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/pydoclint --quiet stillhouse core app worker
	$(BIN)/python -m tests.migrations

fix: $(STAMP) ## Format, and mend what a tool can mend
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --fix --quiet .

bench: $(STAMP) ## The benchmarks of benchmarks/README.md
	$(BIN)/python benchmarks/run.py

lock: ## Pin the newest versions that pyproject.toml allows, with hashes, into constraints.txt
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --upgrade pip pip-tools
	.venv-lock/bin/pip-compile --quiet --upgrade --extra dev --generate-hashes --strip-extras --allow-unsafe \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--output-file constraints.txt pyproject.toml
	sed -i '/^stillhouse @/d; /^# /d' constraints.txt  # our own path is nobody else's
	rm -rf .venv-lock
	$(MAKE) setup
	$(BIN)/python -m deploy.pins

clean: ## Remove what the targets and the first job made, all but the service's ./data
	rm -rf .venv .venv-lock demo-data first-job .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
