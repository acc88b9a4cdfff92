# Every command a contributor or CI needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tools of the environment come first, also for what Ansible and Molecule start.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: help packages install demo test test-all lint unit meta mutants molecule faults sites integration bench words lab-up lab-status lab-down lab-image clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

packages: ## Install Debian packages the lab needs (as root)
	@tests/lab/install-packages.sh

$(BIN)/.installed: pyproject.toml | packages
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Python packages into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

install: $(BIN)/.installed ## Install everything the project needs
	@tests/apps/fetch.sh

demo: install ## Move the lab's live site to Toulouse and back, under load
	@$(BIN)/python tests/lab/demo.py

test: install ## Run lint, unit, meta, Molecule per role, faults, integration on the lab
	@tests/run-all.sh

test-all: install ## Run every test there is, also long sets of faults; goes on where it was interrupted
	@tests/run-all.sh --long

lint: install ## Run ansible-lint, yamllint, ruff and mypy
	@tests/lint.sh

unit: install ## Run the unit tests, without the long sets of `make test-all`
	@$(BIN)/pytest -q -n 2 -m "not long" tests/unit

meta: install ## Run the tests of the repository's own rules
	@$(BIN)/pytest -q tests/meta

mutants: install ## Change the code that decides, bit by bit, and see that the tests notice (ONLY="rule gates" for some)
	@$(BIN)/python tools/mutants.py $(ONLY)

molecule: lab-image ## Run Molecule for every role (ONLY=role for one)
	@$(BIN)/pytest -q -n 2 -m long tests/molecule $(if $(ONLY),-k $(ONLY))

faults: lab-image ## The fault matrix, with what came of each cell (ONLY=area or test for some); goes on where it was interrupted
	@tests/matrix.sh $(ONLY)

sites: install ## Move a site of one's own there and back: Debian 13, sudo with a password, through a bastion
	@$(BIN)/pytest -q -x tests/sites

integration: lab-image ## Run the lab forward, back and forward again, with faults
	@$(BIN)/pytest -q -x tests/integration

words: install ## Bring the catalogues of words in line with the English one, and compile them
	@$(BIN)/python tools/words.py

bench: lab-image ## Run the benchmarks (ONLY=name for one, FULL=1 for the full sizes)
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(FULL),--full)

lab-image: install ## Build the images of the lab's hosts and guest (cached)
	@$(BIN)/python tests/lab/lab.py image

lab-up: install ## Bring the two sites up
	@$(BIN)/python tests/lab/lab.py up

lab-status: install ## Show the lab's hosts and services
	@$(BIN)/python tests/lab/lab.py status

lab-down: install ## Remove the lab
	@$(BIN)/python tests/lab/lab.py down

clean: lab-down ## Remove the lab, its caches and the environment
	@$(BIN)/python tests/lab/lab.py down --purge
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build
