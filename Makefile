# make run   sets up .venv from the lock and runs the workflow on the default configuration
# make test  style, types, architecture and tests, from the same .venv
# make test-slurm  the workflow on a real Slurm of one node, which root on Debian installs with it
# make test-long kills every stage in every way, and what else takes too long for each change
# make bench measures speed (and agreement with published jets, where a dataset names some), apart from the report
# make fuzz  feeds spoiled files to all readers for ten minutes, or MINUTES=1
# make verify compares results with their sidecars (RESULTS=folder)
# make report writes Snakemake's own report of a finished run, report.zip
# make lock  compiles requirements.in into requirements.txt
# Configuration: make run CONFIG="config/mine.yaml"; more options: make run ARGS="--dry-run"
# Results shared between folders: SNAKEMAKE_OUTPUT_CACHE=folder make run (docs/staleness.md)

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
VALIDATOR := $(VENV)/crate
RESULTS ?= results
CONFIG ?=
ARGS ?=
PYTHON ?= $(shell for p in python3 python3.11 python3.12; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$p && break; done)

.PHONY: run test test-long test-slurm bench fuzz verify report lock defaults clean

run: $(READY)
	@$(BIN)/snakemake $(if $(SNAKEMAKE_OUTPUT_CACHE),--cache) --cores $(or $(CORES),all) $(if $(CONFIG),--configfile $(CONFIG)) $(ARGS)
	@echo "The report is report.html in the folder of results (results/, unless the configuration names another)"

test: $(READY) $(VALIDATOR)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules workflow/Snakefile
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(ARGS)

test-slurm: $(READY)
	tests/slurm/slurm.sh install
	$(BIN)/python -m pytest tests/slurm $(ARGS)

test-long: $(READY)
	$(BIN)/python -m pytest -m long $(ARGS)

bench: $(READY)
	@$(BIN)/snakemake bench --cores $(or $(CORES),all) $(if $(CONFIG),--configfile $(CONFIG)) $(ARGS)

fuzz: $(READY)
	@$(BIN)/python tests/hostile/fuzz.py --minutes $(or $(MINUTES),10) $(ARGS)

verify: $(READY)
	@$(BIN)/python -m softjet.provenance.verify "$(RESULTS)"

report: $(READY)
	@$(BIN)/snakemake --cores $(or $(CORES),all) --report report.zip $(if $(CONFIG),--configfile $(CONFIG)) $(ARGS)

# The validator of research objects wants an older rich than import-linter does, so it has an environment of its own.
$(VALIDATOR)/ready: tests/workflow/validator.txt $(READY)
	$(PYTHON) -m venv $(VALIDATOR)
	$(VALIDATOR)/bin/pip install -q --disable-pip-version-check --no-deps -r $<
	@touch $@

# --no-deps: the lock names everything but what torch itself wants on this kind of machine.
$(READY): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "softjet needs Python 3.11 or 3.12 (Pythia has no other wheels): install one, or make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || { echo "softjet needs Python 3.11 or 3.12 (Pythia has no other wheels), not $(PYTHON)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c requirements.txt "$$(grep '^torch==' requirements.txt)"
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -r requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock: requirements.in
	pip-compile -q --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --allow-unsafe --no-header -o requirements.txt requirements.in
	sed -i 's/^\(torch==[0-9.]*\)+.*/\1/' requirements.txt

defaults: $(READY)
	$(BIN)/python -m softjet.config.generate config

clean:
	git clean -fdXq results .state logs resources
