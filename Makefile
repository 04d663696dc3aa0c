# make test and make demo do all the set-up themselves on a fresh machine with Python 3.11.
SHELL := /bin/bash
PY := .venv/bin/python
export MUJOCO_GL ?= egl
export PYOPENGL_PLATFORM ?= $(MUJOCO_GL)
export SDL_VIDEODRIVER ?= dummy
export OMP_NUM_THREADS ?= 1
# More than cores: many tests wait for processes of theirs. The long files of tests/bench begin.
TEST_WORKERS ?= 3
STAMP := .venv/.ready-$(shell cat pyproject.toml constraints.txt launch/setup.sh | sha256sum | cut -c1-16)

.PHONY: setup demo test lint docs format clean

setup: $(STAMP)

$(STAMP):
	bash launch/setup.sh
	touch $(STAMP)

demo: setup
	bash launch/demo.sh

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: lint
	$(PY) -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder
	PYTHONPATH=.venv/kernels $(PY) -m pytest -n $(TEST_WORKERS) tests/kernels/test_fused.py

docs: setup
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --site-dir site

format: setup
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf site .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
