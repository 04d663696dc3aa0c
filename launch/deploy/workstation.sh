#!/usr/bin/env bash
# System 2 on a workstation, for a robot elsewhere: workstation.sh [--check] KEYS [key=value ...]
#
# KEYS is a folder; without keys in it they are made, for one client named `robot`. Carry
# KEYS/clients/robot to the robot, over a way that you trust. --check only shows the commands.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=steps.sh
source "$(dirname "$0")/steps.sh"
[ $# -ge 1 ] || usage
keys=$1
shift

[ -f "$keys/server.key_secret" ] || step "$dualsys" keys "clients=[robot]" "out=$keys"
become "$dualsys" serve system2 system2=vlm "link.bind=tcp://*:7300" "link.server_keys=$keys" "$@"
