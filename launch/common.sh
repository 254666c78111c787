#!/usr/bin/env bash
# What the launchers share. To be sourced.

# fail MESSAGE…: one message, exit code 2.
fail() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

# run COMMAND…: runs it, or prints it with DRY_RUN=1.
run() {
    if [[ ${DRY_RUN:-} == 1 ]]; then
        printf '%q ' "$@" | sed 's/ $//'
        echo
    else
        "$@"
    fi
}

# split ARGUMENTS…: those before `--` to OWN, those after it to MODULE_ARGS.
# shellcheck disable=SC2034
split() {
    OWN=()
    while [[ $# -gt 0 && $1 != -- ]]; do
        OWN+=("$1")
        shift
    done
    [[ $# -gt 0 ]] && shift
    MODULE_ARGS=("$@")
}

# quoted WORDS…: as one line that a shell reads back as the same words.
quoted() {
    local line
    printf -v line '%q ' "$@"
    echo "${line% }"
}
