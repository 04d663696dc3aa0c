#!/usr/bin/env bash
# A planner that outgrows dualsys, in vLLM: large_planner.sh [--check] MODEL KEYS [key=value ...]
#
# MODEL is a local folder of a vision-language model. vLLM listens on this machine alone (its key
# guards a part of it only); what other machines reach is System 2's own door, which asks vLLM. The
# flags are those of the version in vllm-flags.txt. Ends with either. --check only shows the commands.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=steps.sh
source "$(dirname "$0")/steps.sh"
[ $# -ge 2 ] || usage
model=$1 keys=$2
shift 2

# One robot asks at a time, with a picture of each camera: few sequences, little context.
vllm=(vllm serve "$model" --host 127.0.0.1 --port 8000 --served-model-name planner
    --max-model-len 8192 --max-num-seqs 4 --gpu-memory-utilization 0.85
    --limit-mm-per-prompt '{"image": 4, "video": 0}' --generation-config vllm)
planner=(system2=remote system2.url=http://127.0.0.1:8000/v1 system2.model=planner system2.deadline_s=5)
serve=("$dualsys" serve system2 "${planner[@]}" "link.bind=tcp://*:7300" "link.server_keys=$keys" "$@")

if $checked; then
    step "${vllm[@]}"
    step "${serve[@]}"
    exit
fi
trap 'kill $(jobs -p) 2> /dev/null; wait' EXIT
"${vllm[@]}" &
# vLLM loads for minutes; until it answers, thoughts come to nothing and are counted as such.
"${serve[@]}" &
wait -n
