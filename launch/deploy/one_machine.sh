#!/usr/bin/env bash
# Both systems on this machine: one_machine.sh [--check] SCENARIO [key=value ...]
#
# Looks at the machine, then drives on the wall clock with the shipped planner. --check only shows
# the commands.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=steps.sh
source "$(dirname "$0")/steps.sh"
[ $# -ge 1 ] || usage
scenario=$1
shift

step "$dualsys" doctor
become "$dualsys" run "scenario=$scenario" runtime=realtime system2=vlm "$@"
