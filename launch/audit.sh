#!/usr/bin/env bash
# Have the pinned packages known holes? Asks the package index's database of advisories, and fails
# where it can not be asked. Needs the extra `audit` (pip-audit). launch/audit.sh [words for pip-audit]
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -x .venv/bin/pip-audit ]; then
    echo "audit.sh: pip-audit is not there; .venv/bin/pip install -e '.[audit]'" >&2
    exit 2
fi
# The index knows no builds (torch +cpu), only versions.
exec .venv/bin/pip-audit --no-deps --disable-pip --strict \
    --requirement <(sed 's/+[a-z0-9.]*$//' constraints.txt) "$@"
