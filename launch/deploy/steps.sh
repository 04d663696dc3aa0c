# Read by the scripts beside it: `step` carries a command out, or with --check only shows it.
# shellcheck shell=bash
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checked=false
if [ "${1:-}" = --check ]; then
    checked=true
    shift
fi

# The dualsys of the checkout where it is set up, else the one that is installed.
dualsys=dualsys
[ -x "$here/../../.venv/bin/dualsys" ] && dualsys="$here/../../.venv/bin/dualsys"

step() {
    if $checked; then
        [ "$1" = "$dualsys" ] && set -- dualsys "${@:2}"
        printf '%q ' "$@"
        printf '\n'
    else
        "$@"
    fi
}

# The last step: the process becomes the command, so that it gets the signals meant for it.
become() {
    if $checked; then step "$@"; else exec "$@"; fi
}

usage() {
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}
