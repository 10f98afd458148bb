# make stage2: set up and pre-train.  make test: set up and run every check.  make help: the rest.
SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV   := .venv
STAMP  := $(VENV)/.installed
# The first Python of at least 3.11 on PATH, or the one you name: make env PYTHON=/path/to/python3.11
PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
NO_PYTHON := Python 3.11 or newer is needed; install it, or name it: make env PYTHON=/path/to/python3.11
# Options for pip, e.g. another build of torch: make env PIP_ARGS='--index-url URL'
PIP_ARGS ?=
# Options for papermill, e.g. make stage2 ARGS='-p epochs 5 -p seed 1'
ARGS     ?=
# Options for pytest, e.g. make test TESTS='-k house'
TESTS    ?=
# For make reproduce-tiny: seeds of each cell (empty: as each notebook has it), and the folder that holds esc10, fsdd and esc10-scenes
# (empty: the tables of real clips are left out)
SEEDS    ?=
REAL     ?=
# YES=1: make reproduce-tiny starts without asking
YES      ?=
WORKERS  ?= $(shell nproc 2>/dev/null || echo 2)

# A worker of pytest gets whole files, so that what a file prepares is made once; tests/conftest.py says which come first
SPREAD := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Waiting threads sleep: see sslam_nb/__init__.py
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help env stage1 stage2 finetune linear_eval tables reproduce-tiny lab sync inline test pytest chaos bench readme clean interfaces demo docs

help: ## This list
	@grep -E '^[a-z0-9_ -]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r targets text; do \
		for target in $$targets; do printf 'make %-16s %s\n' "$$target" "$$text"; done; done

env: $(STAMP) ## Make .venv from constraints.txt (about two minutes, 2.2 GB with a CPU build of torch)

$(STAMP): constraints.txt settings.ini setup.py
	@test -n "$(PYTHON)" || { echo "$(NO_PYTHON)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "PYTHON=$(PYTHON) will not do. $(NO_PYTHON)" >&2; exit 1; }
	@echo "Making $(VENV) with $$("$(PYTHON)" --version); installing takes a few minutes ..."
	@test -x $(VENV)/bin/pip || "$(PYTHON)" -m venv $(VENV)
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt --use-pep517 -e '.[dev]'
	@$(VENV)/bin/python -c 'import torch; print("torch", torch.__version__)'
	@mkdir -p runs
	@touch $@

stage1 stage2 finetune linear_eval: env ## Pre-train, or judge on labels; results in runs/. Options: ARGS='-p epochs 5'
	@mkdir -p runs
	@papermill --no-progress-bar nbs/$@.ipynb runs/$@.ipynb $(ARGS)
	@echo "notebook   $(CURDIR)/runs/$@.ipynb"

tables: env ## Render every table and figure of the paper from the committed records, without training
	@OMP_NUM_THREADS=1 python .ci/tables.py $(WORKERS)

reproduce-tiny: env ## Run every experiment of the paper at tiny-study that has no record. Options: SEEDS=5 REAL=FOLDER YES=1
	@python .ci/reproduce.py tiny-study $(WORKERS) "$(REAL)" "$(YES)" $(SEEDS)

lab: env ## Open JupyterLab on the chapters in nbs/. Options: ARGS='--port 8889'
	jupyter lab --config=.ci/jupyter_server_config.py --ServerApp.root_dir='$(CURDIR)' --LabApp.default_url=/lab/tree/nbs $(ARGS)

sync: env ## Clean the notebooks, export sslam_nb/, write README.md; an error if anything changed
	@python .ci/sync.py

inline: env ## Run the tests inside the library notebooks
	@OMP_NUM_THREADS=1 python .ci/inline.py $(WORKERS)

# Two environments beside .venv: one with sslam_nb and all extras but X-ARES, one with X-ARES and transformers but without sslam_nb
EXTRAS := parquet,datasets,tensorboard,onnx,transformers,maeb,sed
INTERFACES := .venv-interfaces/.installed .venv-xares/.installed

.venv-interfaces/.installed: constraints.txt settings.ini setup.py | env
	@echo "Making .venv-interfaces ..."
	@test -x .venv-interfaces/bin/pip || "$(PYTHON)" -m venv .venv-interfaces
	@.venv-interfaces/bin/pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt --use-pep517 \
		-e '.[$(EXTRAS)]' pytest pytest-xdist matplotlib setuptools
	@.venv-interfaces/bin/pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt --no-deps hearvalidator
	@touch $@

.venv-xares/.installed: constraints.txt | env
	@echo "Making .venv-xares ..."
	@test -x .venv-xares/bin/pip || "$(PYTHON)" -m venv .venv-xares
	@.venv-xares/bin/pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt xares pytest
	@touch $@

interfaces: $(INTERFACES) ## Test every interface against its real library
	@cd tests && PYTHONPATH='$(CURDIR)' OMP_NUM_THREADS=1 ../.venv-xares/bin/python -m pytest -q -rs -p no:cacheprovider interfaces/test_xares.py
	@SSLAM_NB_BARE_PYTHON='$(CURDIR)/.venv-xares/bin/python' OMP_NUM_THREADS=1 \
		.venv-interfaces/bin/python -m pytest -q -rs $(SPREAD) --durations 5 tests/interfaces

test: $(VENV)/.docs ## Everything that CI checks: sync, inline tests, tables, pytest, interfaces
	@echo "1/5 sync";         python .ci/sync.py
	@echo "2/5 inline tests"; OMP_NUM_THREADS=1 python .ci/inline.py $(WORKERS)
	@echo "3/5 tables";       OMP_NUM_THREADS=1 python .ci/tables.py $(WORKERS) --check
	@echo "4/5 pytest; the environments of 5/5 are made meanwhile"
	@$(MAKE) --no-print-directory -j 2 pytest $(INTERFACES)
	@echo "5/5 interfaces";   $(MAKE) --no-print-directory interfaces

pytest: $(VENV)/.docs ## Run tests/. Options: TESTS='-k house'
	@env -u MAKEFLAGS OMP_NUM_THREADS=1 pytest -q -rs $(SPREAD) --durations 5 tests --ignore tests/interfaces $(TESTS)

# Sphinx and what it needs, beside the rest in .venv
$(VENV)/.docs: constraints.txt settings.ini | env
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt --use-pep517 -e '.[dev,docs]'
	@touch $@

docs: $(VENV)/.docs ## Build the site in _docs/html: chapters, tables, API; an error where a link is broken
	@python .ci/docs.py _docs $(WORKERS)

chaos: env ## Kill, cut and damage runs and files at length; writes papers_tables/reliability.md (a quarter of an hour)
	@OMP_NUM_THREADS=1 python benchmarks/chaos.py

# QUICK=1: smallest sizes, written into runs/benchmarks; ARGS='--no-stage2' or names of sections
bench: env ## Speed and memory beside a plain baseline; writes papers_tables/performance.md (20 minutes). Options: QUICK=1
	@python -W ignore benchmarks/performance.py $(if $(QUICK),--quick) $(ARGS)

demo: env ## Train the model that the package ships (sslam_nb/demo) anew, about ten minutes
	@mkdir -p runs
	papermill --no-progress-bar nbs/stage1.ipynb runs/demo-stage1.ipynb -p run_name demo-stage1 -p n_clips 2048
	papermill --no-progress-bar nbs/stage2.ipynb runs/demo-stage2.ipynb -p run_name demo-stage2 -p n_clips 2048 \
		-p init runs/demo-stage1
	python .ci/demo.py runs/demo-stage2

readme: env ## Write README.md from nbs/index.ipynb
	@python .ci/readme.py

clean: ## Remove what tests and builds leave behind; keeps .venv and runs
	rm -rf build dist *.egg-info .pytest_cache _proc _docs
	find . -path ./$(VENV) -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) \
		-exec rm -rf {} +
