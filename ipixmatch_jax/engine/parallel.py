"""How a per-device step is spread over devices: `pmap`, or `jit` of `shard_map`; same results.

In both, state is replicated, and every process passes its own share of the batch, in host memory.
"""

import abc
import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ipixmatch_jax.engine.objective import DATA_AXIS
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.registry import Registry

PARALLEL: Registry[type["Parallel"]] = Registry("parallel")


class Parallel(abc.ABC):
    """Spreads steps over devices along the axis `data`.

    Attributes:
        devices: all devices of all processes.
        replicated: the sharding of state.
    """

    def __init__(self, devices: Sequence[jax.Device] | None = None):
        self.devices = list(jax.devices() if devices is None else devices)
        counts = collections.Counter(device.process_index for device in self.devices)
        if len(set(counts.values())) > 1:
            raise ConfigError(
                f"the processes have {sorted(counts.values())} devices; expected the same number "
                "for each, so that they share a batch evenly"
            )
        self.mesh = jax.make_mesh(
            (len(self.devices),), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=self.devices
        )
        self.replicated = NamedSharding(self.mesh, PartitionSpec())

    @property
    def local_count(self) -> int:
        """Devices of this process."""
        return sum(d.process_index == jax.process_index() for d in self.devices)

    def replicate(self, tree: Any) -> Any:
        """Host arrays, the same on every process, as replicated global arrays."""
        if jax.process_count() == 1:
            return jax.tree.map(lambda leaf: jax.device_put(leaf, self.replicated), tree)

        def put(leaf: Any) -> jax.Array:
            host = np.asarray(leaf)
            return jax.make_array_from_callback(host.shape, self.replicated, host.__getitem__)

        return jax.tree.map(put, tree)

    def global_arrays(self, tree: Any) -> Any:
        """Results of a spread step as global arrays, of which each process holds copies."""
        return tree

    def check_batch_size(self, key: str, size: int) -> None:
        """ConfigError where a global batch cannot be dealt out evenly."""
        count = len(self.devices)
        if size % count:
            raise ConfigError(
                f"{key} is {size}, which {count} devices cannot share evenly; "
                f"set it to a multiple of {count}, for example {-(-size // count) * count}"
            )

    @abc.abstractmethod
    def spread(self, step: Callable, *, donate: bool = False) -> Callable:
        """The step over all devices.

        Args:
            step: per-device function of replicated arguments and, last, a batch; it reduces over
                the axis `data`, so that its results are the same on every device.
            donate: give the buffers of the first argument to the result.

        Returns:
            A function of replicated arguments and, last, `put_batch` of this process's records;
            its `lower`, with the same arguments, is that of `jax.jit`.
        """

    @abc.abstractmethod
    def put_batch(self, batch: Any) -> Any:
        """This process's records, NumPy arrays [b, …], as the spread step takes them."""


@PARALLEL.register("pmap")
class Pmap(Parallel):
    """`jax.pmap` with unmapped state.

    On several processes its results are arrays over this process's devices, its arguments those or
    global arrays.
    """

    def global_arrays(self, tree: Any) -> Any:
        if jax.process_count() == 1:
            return tree

        def joined(leaf: jax.Array) -> jax.Array:
            if not leaf.is_fully_addressable:
                return leaf
            copies = [shard.data for shard in leaf.addressable_shards]
            return jax.make_array_from_single_device_arrays(leaf.shape, self.replicated, copies)

        return jax.tree.map(joined, tree)

    def spread(self, step: Callable, *, donate: bool = False) -> Callable:
        @functools.cache
        def mapped(arguments: int) -> Callable:
            # in_axes has one entry an argument, known only at the first call.
            return jax.pmap(
                step,
                axis_name=DATA_AXIS,
                in_axes=(None,) * (arguments - 1) + (0,),
                out_axes=None,
                devices=self.devices,
                donate_argnums=(0,) if donate else (),
            )

        def call(*args):
            return mapped(len(args))(*args)

        call.lower = lambda *args: mapped(len(args)).lower(*args)
        return call

    def put_batch(self, batch: Any) -> Any:
        count = self.local_count

        def split(leaf: np.ndarray) -> np.ndarray:
            return leaf.reshape(count, leaf.shape[0] // count, *leaf.shape[1:])

        return jax.tree.map(split, batch)


@PARALLEL.register("shard_map")
class ShardMap(Parallel):
    """`jax.jit(jax.shard_map)` over global arrays."""

    def spread(self, step: Callable, *, donate: bool = False) -> Callable:
        def call(*args):
            specs = (PartitionSpec(),) * (len(args) - 1) + (PartitionSpec(DATA_AXIS),)
            # With check_vma the gradient of replicated parameters would be summed over devices
            # implicitly, and once more by the step itself.
            return jax.shard_map(
                step,
                mesh=self.mesh,
                in_specs=specs,
                out_specs=PartitionSpec(),
                check_vma=False,
            )(*args)

        return jax.jit(call, donate_argnums=(0,) if donate else ())

    def put_batch(self, batch: Any) -> Any:
        sharding = NamedSharding(self.mesh, PartitionSpec(DATA_AXIS))
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), batch
        )
