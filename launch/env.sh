#!/usr/bin/env bash
# Settings of every launcher, each with its reason. Source this file; variables that are already set
# keep their values.

# Print output at once: JAX prints the reason for a crash last.
export PYTHONUNBUFFERED=1
# A crash inside a library reports the Python line.
export PYTHONFAULTHANDLER=1

# Compiled programs are kept in .jax_cache next to the workdir, so that a restarted run, also on
# another machine, does not compile again. Set CACHE_DIR to another folder or gs:// address, or
# JAX_COMPILATION_CACHE_DIR to the empty string for no cache. Anyone who can write to the cache can
# run code in your job: never use a public folder.
if [[ -n ${CACHE_DIR:-} ]]; then
    export JAX_COMPILATION_CACHE_DIR="$CACHE_DIR"
fi

# GPU: JAX takes 75 % of the memory by default. 90 % leaves enough for NCCL and cuDNN, which allocate
# memory of their own.
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.9}"
# GPU: overlap gradient sums with the rest of the step. NVIDIA's own containers set only this flag.
# XLA ends the program at an unknown flag; add one only if a profile shows a gain
# (--config.profile=START:STOP).
if command -v nvidia-smi >/dev/null; then
    export XLA_FLAGS="${XLA_FLAGS:---xla_gpu_enable_latency_hiding_scheduler=true}"
fi
# NCCL only reports failed connections. The cluster chooses the network: NCCL_SOCKET_IFNAME and
# NCCL_IB_HCA are passed on unchanged.
export NCCL_DEBUG="${NCCL_DEBUG:-WARN}"

# TPU: flags of libtpu belong here; in XLA_FLAGS they end the program. None is needed: the step's
# only collective is the all-reduce, which the compiler overlaps by itself.
export LIBTPU_INIT_ARGS="${LIBTPU_INIT_ARGS:-}"
