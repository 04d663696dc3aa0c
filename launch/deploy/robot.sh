#!/usr/bin/env bash
# A robot whose System 2 is on HOST: robot.sh [--check] HOST KEYS SCENARIO [key=value ...]
#
# KEYS is the folder clients/NAME that was made on HOST (workstation.sh). Looks at the machine and
# at the link, then drives. --check only shows the commands.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=steps.sh
source "$(dirname "$0")/steps.sh"
[ $# -ge 3 ] || usage
link=("link.requests=tcp://$1:7300" "link.client_keys=$2")
scenario=$3
shift 3

step "$dualsys" doctor "${link[@]}"
become "$dualsys" run "scenario=$scenario" runtime=realtime system2=served "${link[@]}" "$@"
