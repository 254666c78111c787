#!/usr/bin/env bash
# Several processes on this machine, each with virtual CPU devices: a cluster run in miniature.
#
#     launch/local_processes.sh 2 4 -- --config configs/demo.py --workdir runs/two
#
# 2 processes with 4 devices each. SIGTERM, SIGHUP and Ctrl-C are passed to all of them. If one fails,
# the others are killed, and its exit code is returned. PORT sets the coordinator's port, PYTHON the
# Python.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=launch/common.sh
source "$here/common.sh"
# shellcheck source=launch/env.sh
source "$here/env.sh"

split "$@"
[[ ${#OWN[@]} == 2 && ${#MODULE_ARGS[@]} -gt 0 ]] ||
    fail "expected PROCESSES DEVICES -- ARGUMENTS of python -m ipixmatch_jax.main"
count="${OWN[0]}" devices="${OWN[1]}"
[[ $count =~ ^[1-9][0-9]*$ && $devices =~ ^[1-9][0-9]*$ ]] ||
    fail "PROCESSES is '$count' and DEVICES '$devices'; expected positive numbers"
port="${PORT:-$((20000 + RANDOM % 20000))}"
export JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES="$devices"

pids=()
forward() {
    for pid in "${pids[@]}"; do kill -"$1" "$pid" 2>/dev/null || true; done
}
trap 'forward TERM' TERM
trap 'forward INT' INT
trap 'forward HUP' HUP

for ((index = 0; index < count; index++)); do
    command=("${PYTHON:-python}" -m ipixmatch_jax.main --coordinator "localhost:$port"
        --processes "$count" --process "$index" "${MODULE_ARGS[@]}")
    if [[ ${DRY_RUN:-} == 1 ]]; then
        run env "JAX_PLATFORMS=$JAX_PLATFORMS" "JAX_NUM_CPU_DEVICES=$devices" "${command[@]}"
    else
        "${command[@]}" &
        pids+=($!)
    fi
done

code=0
left=${#pids[@]}
while ((left > 0)); do
    status=0
    wait -n "${pids[@]}" || status=$?
    # A trapped signal ends the wait early: no process has ended then.
    running=0
    for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null && running=$((running + 1)); done
    if ((running == left)); then continue; fi
    left=$running
    if ((status != 0 && code == 0)); then
        code=$status
        forward KILL
    fi
done
exit "$code"
