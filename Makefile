# make quick    environment, quick profile, verdicts, report: no account, no GPU, no data
# make test     the tests
# make docs     the documentation as a site in build/site, every link checked, notebooks executed
# make repro    the reference results (CIFAR-10; README says where it may come from)
# make env      the environment alone
# make lock     new exact versions from the ranges in pyproject.toml
# make clean    remove the environment and the scratch workspace; results and runs stay

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
# Stages call `python`; the environment's must be the first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
JOBS ?= 2

.PHONY: quick test docs repro env lint lock clean

quick: env
	bench quick -j $(JOBS)

test: env
	python -m pytest -n 2

docs: env
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "site: $(CURDIR)/build/site/index.html"

repro: env
	bench repro -j $(JOBS)

lint: env
	ruff check .
	ruff format --check .

env: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	@command -v uv >/dev/null 2>&1 || test -x .tools/bin/uv || \
		{ $(PYTHON) -m venv .tools && .tools/bin/python -m pip install --quiet uv==$(UV_VERSION); }
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	$(UV) pip sync --quiet --python $(BIN)/python requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

lock:
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 \
		--all-extras --upgrade pyproject.toml --output-file requirements.lock

clean:
	rm -rf .venv .tools .quick
