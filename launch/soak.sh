#!/usr/bin/env bash
# An hour of realtime runs under random faults and random blows; see launch/soak.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/python launch/soak.py "$@"
