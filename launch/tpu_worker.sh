#!/usr/bin/env bash
# On one worker of a TPU slice: installs, starts or stops. Called by tpu_vm.sh on all of them.
#
#     launch/tpu_worker.sh setup
#     launch/tpu_worker.sh start --config configs/voc.py --workdir gs://bucket/runs/voc
#     launch/tpu_worker.sh stop                     SIGTERM; returns after the run has saved
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/common.sh
source launch/common.sh
# shellcheck source=launch/env.sh
source launch/env.sh
# Hosts of a slice may start minutes apart.
export IPIXMATCH_START_TIMEOUT="${IPIXMATCH_START_TIMEOUT:-600}"

running() { [[ -f train.pid ]] && kill -0 "$(cat train.pid)" 2>/dev/null; }

case "${1:-}" in
    setup)
        # The TPU images have an older Python; uv installs a newer one.
        uv="$HOME/.local/bin/uv"
        [[ -x $uv ]] || curl -LsSf https://astral.sh/uv/install.sh | sh
        "$uv" venv --allow-existing --python 3.12 venv
        "$uv" pip install --python venv/bin/python -e '.[tpu,gs]'
        ;;
    start)
        shift
        running && fail "a run is active here; stop it first"
        # Its own session, so that it keeps running when the connection ends.
        setsid nohup "${PYTHON:-venv/bin/python}" -m ipixmatch_jax.main "$@" \
            >>train.log 2>&1 </dev/null &
        echo $! >train.pid
        ;;
    stop)
        if running; then
            kill -TERM "$(cat train.pid)"
            while running; do sleep 0.5; done
        fi
        [[ ! -f train.log ]] || tail -n 2 train.log
        ;;
    *) fail "expected setup, start ARGUMENTS or stop" ;;
esac
