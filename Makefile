# The two set-up commands are `make run` and `make test`; both need only Python 3.11, make and no root.
PYTHON ?= python3
PY := .venv/bin/python
LOCKS := requirements

.DEFAULT_GOAL := help
.PHONY: help install run test check demo bench lint lock soak soak-market mutants audit clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: .venv/.run ## make .venv and install the pinned dependencies

lock: ## write the hashed lock files anew from pyproject.toml (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --all-extras pyproject.toml -o $(LOCKS)/run.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --all-extras --group dev pyproject.toml -o $(LOCKS)/dev.lock

.venv/.run .venv/.dev: .venv/.%: $(LOCKS)/%.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

run: .venv/.run ## start the whole site with a demo class; Ctrl-C stops it
	@exec $(PY) -m marketplace.quickstart run

test: .venv/.dev check ## lint, types, import contracts, migrations, tests
	$(PY) -m pytest -q -n auto --maxprocesses 4 --dist loadfile

check: .venv/.dev ## everything `make test` does before the tests
	@! grep -nE '://|^--' $(LOCKS)/*.lock
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	SECRET_KEY=types DATABASE_URL=postgresql:///types REDIS_URL=redis://localhost .venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/bandit -q -ll -c pyproject.toml -r gpu_agent accounts jobs marketplace
	$(PY) -m tests.with_stores $(PY) manage.py makemigrations --check --dry-run

demo: .venv/.run ## one job on a throw-away site: make demo [WORKFLOW=file.json] [NODE_DEFINITIONS=file]
	@exec $(PY) -m marketplace.quickstart demo $(WORKFLOW)

bench: .venv/.dev ## benchmarks, one JSON object a line: make bench [BENCH="name ..."]
	@exec $(PY) -m tests.benchmarks $(BENCH)

soak: .venv/.dev ## longer proofs
	SOAK=1 $(PY) -m pytest -q tests/accounts/ledger tests/soak

soak-market: .venv/.dev ## a class at work for ten minutes, with kills and levers: [LIVE_CLASS_SECONDS=600]
	SOAK_MARKET=1 $(PY) -m pytest -q -s tests/soak/market

mutants: .venv/.dev ## plant mutants in the ledger; each must be killed
	$(PY) -m tests.mutants

audit: .venv/.dev ## known vulnerabilities in the pinned packages
	.venv/bin/pip-audit --disable-pip --require-hashes -r $(LOCKS)/run.lock
