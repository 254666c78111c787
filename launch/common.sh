#!/usr/bin/env bash
# Functions that the launchers share. Source this file.

# fail MESSAGE…: prints one message and exits with code 2.
fail() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

# run COMMAND…: runs the command; with DRY_RUN=1, prints it.
run() {
    if [[ ${DRY_RUN:-} == 1 ]]; then
        printf '%q ' "$@" | sed 's/ $//'
        echo
    else
        "$@"
    fi
}

# split ARGUMENTS…: sets OWN to the arguments before `--` and MODULE_ARGS to those after it.
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

# quoted WORDS…: prints the words as one line that a shell reads back as the same words.
quoted() {
    local line
    printf -v line '%q ' "$@"
    echo "${line% }"
}
