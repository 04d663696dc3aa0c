#!/usr/bin/env bash
# Every scenario for 60 s on the wall clock, then one table. Leave the machine alone meanwhile.
# usage: launch/realtime_check.sh [OUT] [SECONDS] [WORDS of dualsys eval ...]
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/realtime}
seconds=${2:-60}
for suite in driving mt10; do
    .venv/bin/dualsys eval "suite=$suite" runtime=realtime "runtime.duration_s=$seconds" \
        seeds=0:500 "out=$out" "${@:3}"
done
.venv/bin/python launch/results_table.py "$out"/*/*/results.json
