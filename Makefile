# make repro   installs what is pinned into .venv and runs the pipeline
# make experiment NAME=handbook   runs another experiment and keeps its evidence in reports/<name>/; the default stays in place
#              SET="runtime.threads=1 seed=2"   overrides for it
# make evidence  makes again what is out of date among the kept runs in reports/, and checks all of them
# make test    the whole test suite      make lint   ruff and mypy      make bench   side-by-side measurements
# make matrix  try every adapter with every quantization and class of model, write docs/reference/support-matrix.md
# PIP_FLAGS    e.g. an index that has the CPU build of torch; without one, pip on Linux takes the build with CUDA
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
