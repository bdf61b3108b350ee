# make repro       installs the pinned packages into .venv and runs the pipeline
# make experiment NAME=handbook   runs another experiment and stores its evidence in reports/<name>/; keeps the default run
#                  SET="runtime.threads=1 seed=2"   overrides for the experiment
# make evidence    repeats the stored runs in reports/ that are out of date, and checks all of them
# make test        runs the whole test suite
# make lint        runs ruff and mypy
# make bench       measures training steps, the local teacher and the novelty filter against the usual libraries
# make matrix      tests every adapter with every quantisation and class of model; writes docs/reference/support-matrix.md
# make lock        writes the installed versions to requirements.lock
# PIP_FLAGS        e.g. an index with the CPU build of torch; by default, pip on Linux installs the build with CUDA
PYTHON ?= python3
PIP_FLAGS ?=
export PATH := $(CURDIR)/.venv/bin:$(PATH)

NAME ?=
SET ?=
.PHONY: repro experiment evidence test lint bench matrix lock
repro: .venv/.ready
	tunetrail doctor --fix
	@python -m stages.validate > /dev/null # before DVC reads lists of params.yaml into dvc.yaml
	dvc repro
	tunetrail summary

experiment: .venv/.ready
	.ci/experiment.sh "$(NAME)" $(SET)

evidence: .venv/.ready
	bash .ci/evidence.sh

test: .venv/.ready
	pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder

lint: .venv/.ready
	ruff check .
	ruff format --check .
	mypy

bench: .venv/.ready
	python bench/step.py
	python bench/teacher.py
	python bench/novelty.py

matrix: .venv/.ready
	python bench/matrix.py

lock: .venv/.ready
	pip freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+cpu$$//' | sort -f > requirements.lock

.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --disable-pip-version-check --quiet $(PIP_FLAGS) -r requirements.lock
	.venv/bin/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	touch $@
