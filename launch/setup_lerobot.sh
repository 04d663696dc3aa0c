#!/usr/bin/env bash
# Makes .venv-lerobot: LeRobot and dualsys beside one another. LeRobot wants older versions of much
# that dualsys brings, so that the two share no environment with the tests. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(command -v python3.11 || command -v python3)
[ -x .venv-lerobot/bin/python ] || "$python" -m venv .venv-lerobot
pip=(.venv-lerobot/bin/python -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" "lerobot>=0.4.4,<0.5" safetensors pytest
"${pip[@]}" -e ".[sim,data]"
