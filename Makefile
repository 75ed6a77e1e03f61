# Runs with GNU make 3.81 (macOS) and later. A second run of any goal does only what is stale.

PYTHON ?= python3
BIN := .venv/bin
WEB := server/web
CLIENT := protocol/javascript
OPENID := tests/openid
NPM_CI := npm ci --no-audit --no-fund --loglevel=error >/dev/null

WEB_SOURCES := $(shell find $(WEB) $(CLIENT)/src -type f \
	-not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null | sed 's/ /\\ /g')

.DEFAULT_GOAL := help
.PHONY: help run setup test test-python test-javascript check format docs stress faults fuzz bench load clean console

help: ## Show this list
	@echo "Memory App backend"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

run: .venv/run.stamp console ## Set up what is needed and serve on http://127.0.0.1:8000
	@$(BIN)/memo serve

setup: .venv/dev.stamp $(CLIENT)/node_modules/.stamp $(OPENID)/node_modules/.stamp console ## Install everything for development

test: test-python test-javascript ## Run all tests

test-python: .venv/dev.stamp $(CLIENT)/node_modules/.stamp $(OPENID)/node_modules/.stamp $(WEB)/dist/.stamp
	@echo "Running the Python and browser tests..."
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

test-javascript: $(CLIENT)/node_modules/.stamp
	@echo "Running the tests of the JavaScript client..."
	@cd $(CLIENT) && npm test --silent

check: .venv/dev.stamp $(CLIENT)/node_modules/.stamp $(WEB)/node_modules/.stamp ## Check format, lint, types, layers and generated files
	@echo "Format..."          && $(BIN)/ruff format --check --quiet . || { echo "Run: make format"; exit 1; }
	@echo "Lint..."            && $(BIN)/ruff check --quiet .
	@echo "Types..."           && $(BIN)/mypy --no-error-summary
	@echo "Layers..."          && $(BIN)/lint-imports --no-logo > .venv/layers.txt || { cat .venv/layers.txt; exit 1; }
	@echo "Generated files..." && $(BIN)/python -m protocol.schema --check
	@echo "TypeScript..."      && (cd $(CLIENT) && npm run --silent typecheck) && (cd $(WEB) && npm run --silent typecheck)
	@echo "All checks passed."

format: .venv/dev.stamp ## Format the Python code and mend what the linter can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

docs: .venv/run.stamp ## Write the generated reference: docs/ and the TypeScript types
	@$(BIN)/python -m protocol.schema

stress: .venv/dev.stamp ## Run the convergence test on many random sessions (EXAMPLES=300)
	@CONVERGENCE_EXAMPLES=$(or $(EXAMPLES),300) $(BIN)/python -m pytest --timeout 0 \
		tests/convergence/test_devices.py

faults: .venv/dev.stamp ## Run two nodes under faults drawn by seed (RUNS=30, SEED=0)
	@FAULT_RUNS=$(or $(RUNS),30) FAULT_SEED=$(or $(SEED),0) $(BIN)/python -m pytest \
		tests/faults/test_faults.py

fuzz: .venv/dev.stamp ## Call every operation and endpoint in very many ways (EXAMPLES=200, SEED=0)
	@FUZZ_EXAMPLES=$(or $(EXAMPLES),200) FUZZ_SEED=$(or $(SEED),0) \
		OPENAPI_EXAMPLES=$(or $(EXAMPLES),200) OPENAPI_SEED=$(or $(SEED),0) \
		OPENAPI_PHASES=examples,coverage,fuzzing $(BIN)/python -m pytest --timeout 0 \
		tests/e2e/test_bodies.py tests/e2e/test_openapi.py

bench: .venv/dev.stamp ## Measure the server beside others and write docs/performance.md (ARGS=--quick: a smoke run)
	@$(BIN)/python -m bench $(ARGS)

load: .venv/load.stamp ## Put a server under the load of many people (PROFILE=smoke, plan or large; ARGS=--host=...)
	@LOCUST_SKIP_MONKEY_PATCH=1 $(BIN)/python -m locust -f bench/locustfile.py --headless --only-summary \
		--load $(or $(PROFILE),smoke) $(ARGS)

clean: ## Remove everything that was installed or built; your data stays
	rm -rf .venv build *.egg-info $(WEB)/node_modules $(WEB)/dist $(CLIENT)/node_modules $(CLIENT)/dist
	rm -rf bench/peers/node_modules bench/peers/.venv $(OPENID)/node_modules
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Python

.venv/made.stamp:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or later is needed, and there is no '$(PYTHON)'. Install it, or name it: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.11"; exit 1; }
	@echo "Making a Python environment in .venv..."
	@$(PYTHON) -m venv .venv || { echo "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv"; rm -rf .venv; exit 1; }
	@touch $@

.venv/run.stamp: .venv/made.stamp pyproject.toml constraints.txt
	@echo "Installing Python packages (first run: about a minute)..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/dev.stamp: .venv/made.stamp pyproject.toml constraints.txt
	@echo "Installing Python packages for development (first run: about a minute)..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ .venv/run.stamp

.venv/load.stamp: .venv/made.stamp pyproject.toml constraints.txt
	@echo "Installing Python packages for load tests..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[load]'
	@touch $@ .venv/run.stamp

# JavaScript

NODE_20 := node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null
NODE_IS_MISSING := Node.js 20 or later is needed (https://nodejs.org)

console:
	@if $(NODE_20); then \
		$(MAKE) --silent --no-print-directory $(WEB)/dist/.stamp; \
	else \
		echo "$(NODE_IS_MISSING) to build the web console. Going on without it."; \
	fi

$(CLIENT)/node_modules/.stamp: $(CLIENT)/package.json $(CLIENT)/package-lock.json
	@$(NODE_20) || { echo "$(NODE_IS_MISSING)."; exit 1; }
	@echo "Installing the packages of the JavaScript client..."
	@cd $(CLIENT) && $(NPM_CI)
	@touch $@

$(OPENID)/node_modules/.stamp: $(OPENID)/package.json $(OPENID)/package-lock.json
	@$(NODE_20) || { echo "$(NODE_IS_MISSING)."; exit 1; }
	@echo "Installing the OpenID provider of the tests..."
	@cd $(OPENID) && $(NPM_CI)
	@touch $@

$(WEB)/node_modules/.stamp: $(WEB)/package.json $(WEB)/package-lock.json
	@$(NODE_20) || { echo "$(NODE_IS_MISSING)."; exit 1; }
	@echo "Installing the packages of the web console..."
	@cd $(WEB) && $(NPM_CI)
	@touch $@

$(WEB)/dist/.stamp: $(WEB)/node_modules/.stamp $(WEB_SOURCES)
	@echo "Building the web console..."
	@cd $(WEB) && npm run --silent build
	@touch $@
