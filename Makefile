# make repro       installs the pinned packages into .venv and runs the pipeline
# make experiment NAME=handbook   runs another experiment and stores its evidence in reports/<name>/; keeps the default run
#                  SET="runtime.threads=1 seed=2"   overrides for the experiment
# make evidence    repeats the stored runs in reports/ that are out of date, and checks all of them
# make test        runs the whole test suite
# make lint        runs ruff, mypy and zizmor, which checks the workflows
# make bench       measures training steps, decoding, the local teacher and the novelty filter against the usual libraries
# make matrix      tests every adapter with every quantization and class of model; writes docs/reference/support-matrix.md
# make lock        writes the installed versions to torch.lock and, with the hashes of all published files, to requirements.lock
# TORCH_INDEX      the index of torch, e.g. one with its CPU builds; by default, pip on Linux installs the build with CUDA
PYTHON ?= python3
TORCH_INDEX ?=
# Without --no-compile pip compiles every module of every package, one by one. Python compiles those that it imports.
PIP = .venv/bin/pip install --disable-pip-version-check --quiet --no-compile
FROM_INDEX = $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)")
export PATH := $(CURDIR)/.venv/bin:$(PATH)

NAME ?=
SET ?=
.PHONY: repro experiment evidence test lint bench matrix lock
repro: .venv/.ready
	@python -m stages.validate > /dev/null # names every mistake, before DVC reads lists of params.yaml into dvc.yaml
	tunetrail doctor --fix
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
	zizmor --offline --quiet .github

bench: .venv/.ready
	python bench/step.py
	python bench/decode.py
	python bench/teacher.py
	python bench/novelty.py

matrix: .venv/.ready
	python bench/matrix.py

# uv asks its own index (UV_DEFAULT_INDEX), not pip's. The libraries of a CUDA build are left to torch.
lock: .venv/.ready
	pip freeze --all --exclude-editable | sed 's/+.*//' > .venv/frozen
	grep '^torch==' .venv/frozen > torch.lock
	grep -Ev '^(pip|torch|triton|(cuda|nvidia)-[^=]*)==' .venv/frozen | uv pip compile --quiet --no-deps --no-annotate --no-header \
		--generate-hashes --output-file requirements.lock -

# Builds of torch differ, so it has no hash. It comes first and alone: what it needs is in requirements.lock, with hashes. Two
# packages are built from source, with the setuptools of that file. The last line adds what only this build of torch needs: CUDA.
.venv/.ready: requirements.lock torch.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --no-deps $(FROM_INDEX) --requirement torch.lock
	sed -n '/^setuptools==/,/[^\\]$$/p' requirements.lock > .venv/setuptools.lock
	$(PIP) --no-deps --require-hashes --requirement .venv/setuptools.lock
	$(PIP) --no-deps --require-hashes --no-build-isolation --requirement requirements.lock
	$(PIP) --no-build-isolation $(FROM_INDEX) --editable .
	touch $@
