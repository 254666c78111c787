#!/usr/bin/env bash
# A run on GKE, with the JobSet of gke_jobset.yaml.
#
#     export NAME=voc IMAGE=REGISTRY/ipixmatch ACCELERATOR=tpu-v5-lite-podslice TOPOLOGY=4x4 HOSTS=4 CHIPS=4
#     launch/gke.sh apply -- --config configs/voc.py --workdir gs://bucket/runs/voc
#     launch/gke.sh logs                 output of the first pod
#     launch/gke.sh delete               the run saves first; `apply` resumes it
#     launch/gke.sh print -- …           the filled-in YAML
#     launch/gke.sh xpk -- …             the same by xpk; also set CLUSTER and TPU_TYPE (v5litepod-16)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=launch/common.sh
source "$here/common.sh"

split "$@"
commands="apply, print, logs, delete, xpk"
[[ ${#OWN[@]} == 1 ]] || fail "expected one of $commands"
: "${NAME:?set NAME, the name of the run}"

# A JSON list is YAML too.
json_list() {
    local list="" word
    for word in "$@"; do
        word="${word//\\/\\\\}"
        list+=", \"${word//\"/\\\"}\""
    done
    echo "[${list:2}]"
}

filled() {
    [[ ${#MODULE_ARGS[@]} -gt 0 ]] || fail "expected -- ARGUMENTS of ipixmatch_jax.main"
    local name text
    text="$(grep -v '^#' "$here/gke_jobset.yaml")"
    for name in NAME IMAGE ACCELERATOR TOPOLOGY HOSTS CHIPS; do
        [[ ${!name:-} =~ ^[A-Za-z0-9._/:@-]+$ ]] || fail "set $name; it is '${!name:-}'"
        text="${text//: $name/: ${!name}}"
    done
    # Not by substitution, which would interpret & and \.
    echo "${text%%ARGUMENTS*}$(json_list "${MODULE_ARGS[@]}")${text#*ARGUMENTS}"
}

case "${OWN[0]}" in
    print) filled ;;
    apply)
        yaml="$(filled)"
        run kubectl apply -f - <<<"$yaml"
        ;;
    logs) run kubectl logs --follow "job/$NAME-train-0" ;;
    delete) run kubectl delete jobset "$NAME" ;;
    xpk)
        : "${CLUSTER:?set CLUSTER}" "${TPU_TYPE:?set TPU_TYPE, such as v5litepod-16}" "${IMAGE:?set IMAGE}"
        [[ ${#MODULE_ARGS[@]} -gt 0 ]] || fail "expected -- ARGUMENTS of ipixmatch_jax.main"
        run xpk workload create --workload "$NAME" --cluster "$CLUSTER" --tpu-type "$TPU_TYPE" \
            --docker-image "$IMAGE" --max-restarts 1000 \
            --command "bash /app/launch/pod.sh $(quoted "${MODULE_ARGS[@]}")"
        ;;
    *) fail "unknown command '${OWN[0]}'; expected one of $commands" ;;
esac
