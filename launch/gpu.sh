#!/usr/bin/env bash
# One host with GPUs: one process drives all of them.
#
#     launch/gpu.sh -- --config configs/voc.py --workdir runs/voc
#     launch/gpu.sh 0,1 -- …                                        only these GPUs
#
# A run that crashes is started again, at most RETRIES times (default 3), and resumes from its last
# checkpoint. SIGTERM, SIGHUP and Ctrl-C save a checkpoint and exit. Exit code 2, an error that a
# person must fix, is not retried.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=launch/common.sh
source "$here/common.sh"
# shellcheck source=launch/env.sh
source "$here/env.sh"

split "$@"
[[ ${#OWN[@]} -le 1 && ${#MODULE_ARGS[@]} -gt 0 ]] ||
    fail "expected [GPUS] -- ARGUMENTS of python -m ipixmatch_jax.main"
if [[ ${#OWN[@]} == 1 ]]; then
    export CUDA_VISIBLE_DEVICES="${OWN[0]}"
fi
command=("${PYTHON:-python}" -m ipixmatch_jax.main --processes 1 "${MODULE_ARGS[@]}")
if [[ ${DRY_RUN:-} == 1 ]]; then
    run env ${CUDA_VISIBLE_DEVICES:+"CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES"} "${command[@]}"
    exit 0
fi

stopped=0 pid=0
trap 'stopped=1; kill -TERM "$pid" 2>/dev/null || true' TERM INT HUP
for ((left = ${RETRIES:-3}; ; left--)); do
    "${command[@]}" &
    pid=$!
    code=0
    wait "$pid" || code=$?
    # A trapped signal ends the first wait; the run is still saving.
    if ((stopped)); then
        code=0
        wait "$pid" || code=$?
    fi
    if ((code == 0 || code == 2 || stopped || left <= 0)); then exit "$code"; fi
    echo "gpu.sh: the run ended with code $code; restarting it ($left retries left)" >&2
done
