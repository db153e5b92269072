# The two set-up commands are `make run` and `make test`; both need only Python 3.11, make and no root.
PYTHON ?= python3
PY := .venv/bin/python
LOCKS := requirements

.DEFAULT_GOAL := help
.PHONY: help install run test demo bench lint lock soak mutants audit clean

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
