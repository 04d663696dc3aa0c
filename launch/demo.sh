#!/usr/bin/env bash
# One driving and one manipulation scenario in both runtimes, then one table. Minutes, no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/demo}
dualsys=.venv/bin/dualsys

for scenario in driving/merge manipulation/door-open; do
    name=${scenario/\//-}
    echo "== $scenario, lockstep: virtual time, one tick of latency, bit-reproducible"
    $dualsys eval "scenario=$scenario" seeds=0:6 workers=2 videos=1 "out=$out/$name-lockstep"
    echo "== $scenario, realtime: four processes on the wall clock"
    $dualsys eval "scenario=$scenario" runtime=realtime runtime.duration_s=20 seeds=0:20 \
        "out=$out/$name-realtime"
done
.venv/bin/python launch/results_table.py "$out"/*/results.json
echo "logs, results and videos: $out ($SECONDS s)"
