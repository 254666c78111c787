#!/usr/bin/env bash
# Settings of every launcher, in one place, each with its reason. To be sourced; what is already set
# in the environment wins.

# Output appears when it is printed: jax prints what ended a process last of all.
export PYTHONUNBUFFERED=1
# A crash inside a library says at which Python line it happened.
export PYTHONFAULTHANDLER=1

# Compiled programs are kept in .jax_cache beside the workdir, so that a restarted run, also on
# another machine, does not compile again. Another folder or gs:// address: set this; none: set it
# to the empty string. Whoever may write there decides what runs: no public folder.
if [[ -n ${CACHE_DIR:-} ]]; then
    export JAX_COMPILATION_CACHE_DIR="$CACHE_DIR"
fi

# GPU: jax takes 75 % of the memory at the start. The last tenth is left to NCCL's buffers and to
# cuDNN, which do not take theirs from jax.
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.9}"
# GPU: gradients are summed while the rest of the step still computes. NVIDIA's own containers set
# this flag and no other. Flags that this XLA does not know end the program: add one only with a
# profile that pays for it (--config.profile=START:STOP).
if command -v nvidia-smi >/dev/null; then
    export XLA_FLAGS="${XLA_FLAGS:---xla_gpu_enable_latency_hiding_scheduler=true}"
fi
# NCCL says why a connection failed, and nothing else. Which network it takes is the cluster's
# matter: NCCL_SOCKET_IFNAME and NCCL_IB_HCA go through as they are.
export NCCL_DEBUG="${NCCL_DEBUG:-WARN}"

# TPU: flags of libtpu go here, not into XLA_FLAGS (there they end the program). None is needed: the
# step's only collective is the all-reduce, which the compiler overlaps by itself.
export LIBTPU_INIT_ARGS="${LIBTPU_INIT_ARGS:-}"
