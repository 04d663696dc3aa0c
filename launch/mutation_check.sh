#!/usr/bin/env bash
# How many of the changes that a tool makes to the shield do its tests notice? Needs the extra
# `mutation` (mutmut). Writes the counts and the survivors. launch/mutation_check.sh [OUT] [WORKERS]
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-runs/mutation-shield.json}")
root=$PWD
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp -r conf dualsys kernels sim tests pyproject.toml "$folder"
rm -rf "$folder/dualsys/weights" "$folder/tests/shield/test_coverage.py"  # the tool cuts the code up
cat >> "$folder/pyproject.toml" <<'CONFIG'

[tool.mutmut]
source_paths = ["dualsys/shield", "dualsys/limits.py"]
also_copy = ["dualsys", "tests", "conf", "kernels", "sim", "pyproject.toml"]
pytest_add_cli_args_test_selection = ["tests/shield"]
CONFIG
cd "$folder"
"$root/.venv/bin/mutmut" run --max-children "${2:-2}" > run.log 2>&1 || { tail -20 run.log; exit 2; }
"$root/.venv/bin/mutmut" export-cicd-stats > /dev/null
"$root/.venv/bin/mutmut" results > survivors.txt
mkdir -p "$(dirname "$out")"
cd "$root"
.venv/bin/python - "$folder" "$out" <<'REPORT'
import json
import sys
from pathlib import Path

from dualsys.runtime.results import git_state, versions

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
counts = json.loads((folder / "mutants/mutmut-cicd-stats.json").read_text())
left = [line.strip() for line in (folder / "survivors.txt").read_text().splitlines() if line.strip()]
score = counts["killed"] / counts["total"]
report = {"score": score, **counts, "left": left, "versions": versions(), "git": git_state()}
out.write_text(json.dumps(report, indent=1))
print(f"{counts['killed']} of {counts['total']} changes noticed: {score:.1%}")
sys.exit(0 if score >= 0.95 else 1)
REPORT
