"""Distributes a per-device step over devices: by `pmap`, or by `jit` of `shard_map`.

The results are the same. Every process passes its own share of the batch, and the state is
replicated. `zero1` is `shard_map` for models that are large compared with a device's memory: each
device holds a piece of the optimizer's state and of the teacher.
"""

import abc
import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ipixmatch_jax.engine.state import DATA_AXIS, TrainState, create_state
from ipixmatch_jax.engine.step import TrainStep
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.registry import Registry

PARALLEL: Registry[type["Parallel"]] = Registry("parallel")


class Parallel(abc.ABC):
    """Distributes steps over devices along the axis `data`.

    Attributes:
        devices: all devices of all processes.
        replicated: the sharding of arrays that every device holds whole.
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
        """Number of devices of this process."""
        return sum(d.process_index == jax.process_index() for d in self.devices)

    def replicate(self, tree: Any) -> Any:
        """Replicated global arrays from host arrays, which are the same on every process."""
        if jax.process_count() == 1:
            return jax.tree.map(lambda leaf: jax.device_put(leaf, self.replicated), tree)

        def put(leaf: Any) -> jax.Array:
            host = np.asarray(leaf)
            return jax.make_array_from_callback(host.shape, self.replicated, host.__getitem__)

        return jax.tree.map(put, tree)

    def global_arrays(self, tree: Any) -> Any:
        """Results of a distributed step as global arrays; each process holds copies."""
        return tree

    def state_shardings(self, state: TrainState) -> TrainState:
        """The sharding of every array of a (possibly abstract) state."""
        return jax.tree.map(lambda _: self.replicated, state)

    def first_state(
        self,
        variables: Any,
        optimizer: optax.GradientTransformation,
        balanced: int = 0,
        frozen: Sequence[str] = (),
    ) -> TrainState:
        """`create_state` on the devices, from host arrays that are the same on every process."""
        make = functools.partial(
            create_state, optimizer=optimizer, balanced=balanced, frozen=frozen
        )
        shardings = self.state_shardings(jax.eval_shape(make, variables))
        return jax.jit(make, out_shardings=shardings)(self.replicate(variables))

    def whole(self, tree: Any) -> Any:
        """Gathers the arrays of a state, so that every device holds them whole.

        All processes call it together.
        """
        return tree

    def check_batch_size(self, key: str, size: int, parts: int = 1) -> None:
        """Checks that devices share a global batch evenly, each share in `parts` micro-batches.

        Raises:
            ConfigError: they do not; with a size that works.
        """
        count = len(self.devices) * parts
        if size % count:
            each = f", each in {parts} micro-batches (accumulate_steps)," if parts > 1 else ""
            raise ConfigError(
                f"{key} is {size}, which {len(self.devices)} devices{each} cannot share evenly; "
                f"set it to a multiple of {count}, for example {-(-size // count) * count}"
            )

    def distribute_train(self, step: TrainStep) -> Callable:
        """Runs the train step on all devices; the state's buffers are donated."""
        return self.distribute(step, donate=True)

    @abc.abstractmethod
    def distribute(self, step: Callable, *, donate: bool = False) -> Callable:
        """Runs the step on all devices.

        Args:
            step: per-device function of replicated arguments and, last, a batch; it reduces over
                the axis `data`, so that its results are the same on every device.
            donate: reuse the buffers of the first argument for the result.

        Returns:
            A function of replicated arguments and, last, `put_batch` of this process's records;
            its `lower` takes the same arguments, as that of a `jax.jit` function.
        """

    @abc.abstractmethod
    def put_batch(self, batch: Any) -> Any:
        """Puts this process's records, NumPy arrays [b, …], on its devices for the step."""


@PARALLEL.register("pmap")
class Pmap(Parallel):
    """`jax.pmap` with unmapped state.

    On several processes it returns arrays over this process's devices, and takes those or global
    arrays.
    """

    def __init__(self, devices: Sequence[jax.Device] | None = None):
        super().__init__(devices)
        own = [d for d in self.devices if d.process_index == jax.process_index()]
        mesh = jax.make_mesh((len(own),), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=own)
        self._split = NamedSharding(mesh, PartitionSpec(DATA_AXIS))

    def global_arrays(self, tree: Any) -> Any:
        if jax.process_count() == 1:
            return tree

        def joined(leaf: jax.Array) -> jax.Array:
            if not leaf.is_fully_addressable:
                return leaf
            copies = [shard.data for shard in leaf.addressable_shards]
            return jax.make_array_from_single_device_arrays(leaf.shape, self.replicated, copies)

        return jax.tree.map(joined, tree)

    def distribute(self, step: Callable, *, donate: bool = False) -> Callable:
        @functools.cache
        def mapped(arguments: int) -> Callable:
            # in_axes has one entry per argument; their number is known at the first call.
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

        def put(leaf: np.ndarray) -> jax.Array:
            split = leaf.reshape(count, leaf.shape[0] // count, *leaf.shape[1:])
            return jax.device_put(split, self._split)

        return jax.tree.map(put, batch)


@PARALLEL.register("shard_map")
class ShardMap(Parallel):
    """`jax.jit(jax.shard_map)` over global arrays."""

    def distribute(self, step: Callable, *, donate: bool = False) -> Callable:
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


@PARALLEL.register("zero1")
class Zero1(ShardMap):
    """`shard_map` that keeps one piece of the optimizer's state and of the teacher on each device.

    Every device updates its piece, and the new parameters are gathered; the teacher is gathered for
    its forward pass. The arithmetic is that of `shard_map` (ZeRO stage 1, arXiv 1910.02054).
    """

    def state_shardings(self, state: TrainState) -> TrainState:
        whole = super().state_shardings(state)
        pieces = jax.tree.map(self._piece, (state.opt_state, state.teacher_params))
        return whole.replace(opt_state=pieces[0], teacher_params=pieces[1])

    def whole(self, tree: Any) -> Any:
        return jax.jit(lambda arrays: arrays, out_shardings=self.replicated)(tree)

    def distribute_train(self, step: TrainStep) -> Callable:
        gradients = super().distribute(step.gradients)

        def call(state: TrainState, batch: Any) -> tuple[TrainState, Any]:
            # Gradients do not need the optimizer's state, which no device holds whole.
            found = gradients(state.replace(opt_state=()), batch)
            state, metrics = step.update(state, found)
            return jax.lax.with_sharding_constraint(state, self.state_shardings(state)), metrics

        return jax.jit(call, donate_argnums=(0,))

    def _piece(self, leaf: Any) -> NamedSharding:
        """A split along the longest axis that the devices share evenly; replicated without one."""
        count = len(self.devices)
        lengths = [size if size % count == 0 else 0 for size in leaf.shape]
        if not any(lengths):
            return self.replicated
        axis = lengths.index(max(lengths))
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, DATA_AXIS))
