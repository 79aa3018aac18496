# `make help` lists the targets. Everything happens in this checkout: .venv and .services.
SHELL := /bin/bash
PYTHON_ENV := PYTHONUNBUFFERED=1
# Tests start hundreds of processes: each would compile every module where no bytecode is kept.
TEST_ENV := $(PYTHON_ENV) PYTHONDONTWRITEBYTECODE=
# Processes that run the suite. More than cores, because tests wait for servers half of the time.
WORKERS ?= 6
# Modules with tests that take long, which `make test` leaves out.
LONG = $(filter-out tests/chaos/%,$(shell grep -rl 'mark\.long' tests --include='test_*.py'))
DEPLOY := $(PYTHON_ENV) .venv/bin/python -m infra.deploy

.DEFAULT_GOAL := help
.PHONY: help run up down status reset demo test test-debian13 bench bench-full chaos upgrade check lock venv venv-run venv-bench

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

run: venv-run ## run the whole system in the foreground; Ctrl-C ends it
	@$(DEPLOY) run

up: venv-run ## run it in the background; returns when every process is ready
	@$(DEPLOY) up

down: venv-run ## end what run or up has started; the data stays
	@$(DEPLOY) down

status: venv-run ## what runs, where, since when
	@$(DEPLOY) status

reset: venv-run ## end it and delete its data
	@$(DEPLOY) reset

demo: venv-run ## drive the whole story against the running system (REPEAT=n for traffic)
	@$(PYTHON_ENV) .venv/bin/python -m infra.deploy.demo $(if $(REPEAT),--repeat $(REPEAT))

test: venv ## the test suite, on private servers of its own (ARGS="-k word": in one process)
	@$(DEPLOY) install
	@$(TEST_ENV) .venv/bin/python -m pytest $(or $(ARGS),-n $(WORKERS))

test-debian13: ## the suite, the demo and chaos on Debian 13 (as root): RabbitMQ 4, Postgres 17, Python 3.13
	@tests/debian13.sh $(ARGS)

chaos: venv ## every fault, on servers of its own that are killed and frozen (CHAOS_SEED=n repeats, CHAOS_SOAK_SECONDS=60 is quick)
	@$(DEPLOY) install
	@$(TEST_ENV) .venv/bin/python -m pytest tests/chaos $(LONG) -m "long or not long" $(ARGS)

upgrade: venv ## the release before and this one side by side under load, there and back (a part of chaos)
	@$(DEPLOY) install
	@$(TEST_ENV) .venv/bin/python -m pytest tests/upgrade -m "long or not long" $(ARGS)

bench: $(if $(AGAINST)$(filter capacity,$(ARGS)),venv,venv-bench) ## our speed beside its peers' (ARGS=consume: a section of it), or AGAINST=commit
	@$(PYTHON_ENV) .venv/bin/python -m $(if $(AGAINST),tests.bench.against $(AGAINST) $(if $(PAIRS),--pairs $(PAIRS)),tests.bench) $(ARGS)

bench-full: venv-bench ## how speed and memory grow with backlog, processes, inbox and event size
	@$(PYTHON_ENV) .venv/bin/python -m tests.bench growth --rounds 1 $(ARGS)

check: venv ## ruff, mypy --strict, the rules on imports, names and words
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/python -m pytest tests/test_imports.py tests/test_names.py tests/test_words.py

lock: venv ## write requirements/*.txt from pyproject.toml (UPGRADE=1 for newer versions)
	infra/deploy/lock.sh $(if $(UPGRADE),--upgrade)

venv: ## .venv with everything for development
	@infra/deploy/venv.sh dev

venv-bench:
	@infra/deploy/venv.sh bench

venv-run: ## .venv with what running needs
	@infra/deploy/venv.sh run
