# divisi: two commands do everything on a fresh machine, `make demo` and `make test`.
# Only Python 3.11 (or 3.12) with venv, and make, are needed; all else is installed into .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
REQUIREMENTS := $(BIN)/python service/images/requirements.py pyproject.toml
DEV_REQUIREMENTS := $(REQUIREMENTS); $(REQUIREMENTS) dev; $(REQUIREMENTS:pyproject.toml=service/workshop/pyproject.toml) | grep -v '^divisi-'

.PHONY: help demo up test lint unit coverage chaos bench images compose fresh screenshot constraints locked clean

help:  ## Show what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/installed-standalone  ## Separate the sample chorale through the REST API into out/
	$(BIN)/divisi demo --out out

up: .venv/installed-standalone  ## Run the service on this machine
	$(BIN)/divisi up

test: lint unit  ## Everything that must hold before a change lands

lint: .venv/installed-dev tests/page/node_modules/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/node tests/page/node_modules/typescript/bin/tsc --project tests/page
	$(BIN)/node tests/page/node_modules/typescript/bin/tsc --project service/clients/typescript --noEmit
	$(BIN)/node tests/page/node_modules/eslint/bin/eslint.js --config tests/page/eslint.config.js service/divisi/gateway
	$(BIN)/shellcheck $$(git ls-files '*.sh' .ci/run)

unit: .venv/installed-dev .venv/installed-policy
	tests/system_packages.sh
	$(BIN)/pytest -n 3 --dist loadfile

coverage: .venv/installed-dev .venv/installed-policy  ## The tests once more, counting the lines that they run; too few fail
	tests/system_packages.sh
	rm -rf build/coverage
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

chaos: .venv/installed-dev  ## The reliability promises at full length (minutes); each script prints its table
	$(BIN)/python tests/chaos/kill_workers.py --kills 30 --jobs 120
	$(BIN)/python tests/chaos/freeze_workers.py --freezes 20 --whole-trees 5
	$(BIN)/python tests/chaos/restart_redis.py
	$(BIN)/python tests/chaos/drain_workers.py
	$(BIN)/python tests/chaos/poison.py
	$(BIN)/python tests/chaos/cut_link.py
	$(BIN)/python tests/chaos/broken_store.py
	$(BIN)/python tests/chaos/cancel_jobs.py
	$(BIN)/python tests/chaos/same_key.py
	$(BIN)/python tests/chaos/drop_events.py
	$(BIN)/python tests/chaos/bad_sources.py

bench: .venv/installed-dev  ## Memory, speed and quality figures; each script prints its table
	$(BIN)/python benchmarks/long_recording.py
	$(BIN)/python benchmarks/conservation.py
	$(BIN)/python benchmarks/queue_load.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/torch_serve.py
	$(BIN)/python benchmarks/page.py
	$(BIN)/divisi evaluate --dataset sample

images:  ## Build gateway, worker, store and Redis images with podman (root); prints their sizes
	service/images/build.sh

compose: .venv/installed-dev  ## Bring docker-compose.yml up, put a job through it, tear it down; prints the times
	$(BIN)/python tests/deployment/compose_job.py

fresh: .venv/installed-dev  ## The wheels in an empty environment: install, separate, serve; prints the times
	$(BIN)/python tests/deployment/fresh_install.py

screenshot: .venv/installed-dev  ## Take the picture of the page in the README again
	$(BIN)/python docs/screenshot.py

constraints: .venv/installed-dev .venv/installed-lock  ## Write down the versions installed and tested now, and the hashes of their files
	$(BIN)/python -m pip list --format=freeze --exclude-editable --exclude pip | sed -E 's/^(torch==[0-9.]+).*/\1/' > constraints.txt
	{ $(REQUIREMENTS) worker-gpu; $(DEV_REQUIREMENTS); } | .venv/lock/bin/uv pip compile - --quiet --universal --python-version 3.11 \
		--generate-hashes --no-annotate --custom-compile-command 'make constraints' --constraint constraints.txt --output-file constraints.lock

locked: .venv/bin/python  ## Install what the tests need by the hashes of constraints.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip==26.3
	{ $(DEV_REQUIREMENTS); } > .venv/dev.txt
	$(BIN)/python -m pip install --quiet --require-hashes --constraint constraints.lock --requirement .venv/dev.txt

clean:
	rm -rf .venv tests/page/node_modules out build dist .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed-standalone: .venv/bin/python pyproject.toml service/pyproject.toml constraints.txt
	$(INSTALL) --editable ./service --editable '.[standalone]'
	@touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml service/pyproject.toml service/workshop/pyproject.toml constraints.txt
	$(INSTALL) --editable ./service --editable '.[dev]' --editable service/workshop
	@touch $@ .venv/installed-standalone

# Node comes with the development environment.
tests/page/node_modules/installed: tests/page/package-lock.json .venv/installed-dev
	$(BIN)/npm --prefix tests/page ci --silent --no-audit --no-fund
	@touch $@

# checkov pins other versions of what we use, hence an environment of its own.
.venv/installed-policy: .venv/bin/python tests/k8s/checkov.txt
	$(BIN)/python -m venv .venv/policy
	.venv/policy/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/k8s/checkov.txt
	@touch $@

# What finds the hashes, in an environment of its own: it is not needed to run or to test.
.venv/installed-lock: .venv/bin/python
	$(BIN)/python -m venv .venv/lock
	.venv/lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	@touch $@
