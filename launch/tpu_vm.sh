#!/usr/bin/env bash
# A Cloud TPU slice, from creating to deleting it.
#
#     export NAME=ipix ZONE=us-west4-a ACCELERATOR=v5litepod-16 RUNTIME=v2-alpha-tpuv5-lite
#     launch/tpu_vm.sh create            or `queue`, which waits for a free slice; SPOT=1 for either
#     launch/tpu_vm.sh setup             copies this checkout to all workers and installs it
#     launch/tpu_vm.sh run -- --config configs/voc.py --workdir gs://bucket/runs/voc
#     launch/tpu_vm.sh attach            output of worker 0; Ctrl-C only ends the display
#     launch/tpu_vm.sh stop              the run saves and exits; `run` resumes it
#     launch/tpu_vm.sh status
#     launch/tpu_vm.sh delete
#
# JAX runs one process per worker, and the processes find each other; `run` starts all of them, and
# they keep running when this connection ends. Also: PROJECT, EXTRA (more arguments for create or queue),
# QUEUED=1 (delete a slice made by `queue`).
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=launch/common.sh
source "$here/common.sh"

split "$@"
commands="create, queue, setup, run, attach, stop, status, delete"
[[ ${#OWN[@]} == 1 ]] || fail "expected one of $commands"
: "${NAME:?set NAME, the name of the slice}" "${ZONE:?set ZONE, such as us-west4-a}"
where=(--zone "$ZONE" ${PROJECT:+--project "$PROJECT"})
read -ra extra <<<"${EXTRA:-}"
if [[ ${SPOT:-} == 1 ]]; then extra+=(--spot); fi

on_all() {
    run gcloud compute tpus tpu-vm ssh "$NAME" "${where[@]}" --worker=all --command "$1"
}

machine() {
    : "${ACCELERATOR:?set ACCELERATOR, such as v5litepod-16}" "${RUNTIME:?set RUNTIME, the software version}"
}

create() {
    machine
    run gcloud compute tpus tpu-vm create "$NAME" "${where[@]}" \
        --accelerator-type "$ACCELERATOR" --version "$RUNTIME" \
        ${extra[@]+"${extra[@]}"}
}

queue() {
    machine
    run gcloud compute tpus queued-resources create "$NAME" "${where[@]}" --node-id "$NAME" \
        --accelerator-type "$ACCELERATOR" --runtime-version "$RUNTIME" \
        ${extra[@]+"${extra[@]}"}
}

setup() {
    local folder
    folder="$(mktemp -d)"
    run tar --create --gzip --file "$folder/ipixmatch.tar.gz" --directory "$here/.." \
        --exclude .git --exclude runs --exclude venv --exclude __pycache__ .
    run gcloud compute tpus tpu-vm scp "$folder/ipixmatch.tar.gz" "$NAME:ipixmatch.tar.gz" \
        "${where[@]}" --worker=all
    on_all "mkdir -p ipixmatch && tar -xzf ipixmatch.tar.gz -C ipixmatch &&\
 ipixmatch/launch/tpu_worker.sh setup"
    rm -rf "$folder"
}

start() {
    [[ ${#MODULE_ARGS[@]} -gt 0 ]] || fail "run: expected -- ARGUMENTS of ipixmatch_jax.main"
    on_all "ipixmatch/launch/tpu_worker.sh start $(quoted "${MODULE_ARGS[@]}")"
}

remove() {
    if [[ ${QUEUED:-} == 1 ]]; then
        run gcloud compute tpus queued-resources delete "$NAME" "${where[@]}" --force --quiet
    else
        run gcloud compute tpus tpu-vm delete "$NAME" "${where[@]}" --quiet
    fi
}

case "${OWN[0]}" in
    create | queue | setup) "${OWN[0]}" ;;
    run) start ;;
    stop) on_all "ipixmatch/launch/tpu_worker.sh stop" ;;
    delete) remove ;;
    attach)
        run gcloud compute tpus tpu-vm ssh "$NAME" "${where[@]}" --worker=0 \
            --command "tail -n 200 -F ipixmatch/train.log"
        ;;
    status)
        run gcloud compute tpus tpu-vm describe "$NAME" "${where[@]}" --format "value(state,health)"
        ;;
    *) fail "unknown command '${OWN[0]}'; expected one of $commands" ;;
esac
