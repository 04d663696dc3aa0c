#!/usr/bin/env bash
# A benchmark on several machines with Ray:
#   cluster.sh [--check] head                              on the first machine
#   cluster.sh [--check] worker HEAD                       on every other one
#   cluster.sh [--check] bench HEAD OUT [key=value ...]    on the first one
#   cluster.sh [--check] stop                              on every one
#
# Every machine needs the same checkout, weights and packages. Who reaches Ray's ports runs code:
# only on a network of your own. --check only shows the commands.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=steps.sh
source "$(dirname "$0")/steps.sh"
ray=ray
[ -x "$here/../../.venv/bin/ray" ] && ! $checked && ray="$here/../../.venv/bin/ray"
port=6379
role=${1:-}
[ $# -eq 0 ] || shift
case "$role" in
    head) step "$ray" start --head "--port=$port" --include-dashboard=false ;;
    worker)
        [ $# -eq 1 ] || usage
        step "$ray" start "--address=$1:$port"
        ;;
    bench)
        [ $# -ge 2 ] || usage
        address="$1:$port" out=$2
        shift 2
        become "$dualsys" bench "ray_address=$address" "out=$out" "$@"
        ;;
    stop) step "$ray" stop ;;
    *) usage ;;
esac
