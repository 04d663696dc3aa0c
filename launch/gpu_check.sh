#!/usr/bin/env bash
# Builds, compares and times everything of engines and kernels on a GPU, within ten minutes.
# Installs nothing. launch/gpu_check.sh [--out DIR] [--seconds 560] [--rehearse]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
PYTHONPATH=.${PYTHONPATH:+:$PYTHONPATH} exec "$python" launch/gpu_check.py "$@"
