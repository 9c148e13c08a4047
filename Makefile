# Each target first makes .venv from requirements.lock, once; later calls need no network.
PY := .venv/bin/python
export PYTHON
# Else each process of a house, some ten, compiles all that it imports at each start: seconds of work.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help ready demo up test test-all chaos proofs bench profile lint screenshots fidelity format lock clean
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile

ready:
	@sh bin/bootstrap

demo: ready ## the whole system on real servers, fed by a local Salesforce (make demo ARGS="--help")
	@.venv/bin/fairturn demo $(ARGS)

up: ready ## all processes in the foreground, on the settings of the environment and .env
	@.venv/bin/fairturn up $(ARGS)

test: ready ## the tests, but for the long ones (make test ARGS="-k fairness")
	@$(PY) -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not long" $(ARGS)

test-all: ready ## every test, the long ones too
	@$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

SEED ?= 1
MINUTES ?= 5
LEADS ?= 10000
PROFILE ?= all
chaos: ready ## the house under fire (make chaos SEED=1 MINUTES=5 PROFILE=kills LEADS=10000; docs/chaos.md)
	@$(PY) -m tests.chaos --seed $(SEED) --minutes $(MINUTES) --profile $(PROFILE) --leads $(LEADS) $(ARGS)

# A whole run leaves its figures and writes the page from them; a short one, or a part alone, only tells them.
KEPT := $(if $(QUICK)$(ARGS),,--json bench/results/latest.json --docs docs/performance.md)
bench: ready ## speed beside the servers' own limits, 15 minutes (make bench QUICK=1, make bench ARGS="--only core")
	@$(PY) -m bench --size $(if $(QUICK),quick,full) $(KEPT) $(ARGS)

profile: ready ## flame graphs of routing and intake, into docs/
	@$(PY) -m bench.flames $(ARGS)

PROOFS ?= writes stream resync imports crowd answers fairness same_rule simulate
proofs: ready ## what takes minutes to prove, a file each in tests/proofs (make proofs PROOFS=writes MINUTES=30 SPEED=1, PROOFS=volume MINUTES=60)
	@for proof in $(PROOFS); do $(PY) -m tests.proofs.$$proof || exit 1; done

lint: ready ## format, style, types, and who may import whom
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports

screenshots: ready ## the pictures of the partners' page and of a simulation, into docs/ (needs Chromium)
	@SCREENSHOTS=docs NEEDS_BROWSER=1 $(PY) -m pytest -q tests/browser/test_pictures.py

fidelity: ready ## public Salesforce clients against the sandbox (needs Node 20 and, once, the registries)
	@$(PY) -m tests.fidelity

format: ready ## put the code into house style
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

lock: ## write requirements.lock anew from pyproject.toml (needs uv)
	@sh bin/lock

clean: ## forget .venv and caches; data in .fairturn is kept
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
