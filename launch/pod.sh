#!/usr/bin/env bash
# The command of a pod: runs the module and passes SIGTERM on, which the first process of a container
# does not do by itself.
#
# A pod that is told to stop saves and exits with code 143, although the program exits with 0: with 0
# Kubernetes would consider the job done and never restart it.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=launch/common.sh
source "$here/common.sh"
# shellcheck source=launch/env.sh
source "$here/env.sh"
# Hosts of a slice may start minutes apart.
export IPIXMATCH_START_TIMEOUT="${IPIXMATCH_START_TIMEOUT:-600}"

[[ $# -gt 0 ]] || fail "expected the arguments of python -m ipixmatch_jax.main"
stopped=0 pid=0
trap 'stopped=1; kill -TERM "$pid" 2>/dev/null || true' TERM
"${PYTHON:-python}" -m ipixmatch_jax.main "$@" &
pid=$!
code=0
wait "$pid" || code=$?
# A trapped signal ends the first wait; the run is still saving.
if ((stopped)); then
    wait "$pid" || true
    exit 143
fi
exit "$code"
