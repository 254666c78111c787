"""Every test runs on eight virtual CPU devices, with strict promotion of dtypes and ranks."""

import gc
import importlib.metadata
import os
import pathlib
import signal
import tempfile

# Before jax is imported; subprocesses that tests start inherit the cache and share its compiles.
os.environ["JAX_PLATFORMS"] = "cpu"
_CACHE = tempfile.TemporaryDirectory(prefix="ipixmatch-jit-")  # removed at exit
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Compiles take most of the time, and no test needs fast code. In one part instead of many a program
# compiles in less processor time; without XLA's fusion emitters, which newer versions always use,
# a train step compiles in a third of the time.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
_FLAGS = ["--xla_cpu_parallel_codegen_split_count=1"]
if importlib.metadata.version("jaxlib").startswith("0.10."):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([*_FLAGS, os.environ.get("XLA_FLAGS", "")])

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402
from PIL import Image  # noqa: E402

from tests.references.parameter_shapes import check_shapes_once  # noqa: E402
from tests.references.processor_time import ProcessorTime  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

check_shapes_once()

# Background jobs of a shell ignore SIGINT, those of nohup SIGHUP, and so would the subprocesses
# that tests interrupt.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# grain reads absl flags, which only app.run parses.
if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()


def pytest_addoption(parser):
    parser.addoption(
        "--budget", type=float, metavar="SECONDS",
        help="processor time that the tests may take; fails above 1.5 times as much",
    )  # fmt: skip


def pytest_configure(config):
    config.pluginmanager.register(ProcessorTime(config.getoption("budget")), "processor-time")


def pytest_collection_finish():
    # Tracing makes many objects: by default the collector takes 8 % of the time of a first step.
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


@pytest.fixture(autouse=True, scope="module")
def few_memory_maps():
    """Drops compiled programs in time: each takes memory maps, of which Linux allows 65,530."""
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def folder_data(tmp_path):
    """Bright squares on dark ground, on disk: 6 labeled, 6 unlabeled, 5 for validation."""
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    ids = {"train": [f"t{i}" for i in range(12)], "val": [f"v{i}" for i in range(5)]}
    for split, names in ids.items():
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for name in names:
            mask = np.zeros((20, 24), np.uint8)
            row, column = rng.integers(0, 10, 2)
            mask[row : row + 8, column : column + 10] = 1
            image = rng.integers(0, 90, (20, 24, 3)) + 140 * mask[..., None]
            mask[0, 0] = 255
            Image.fromarray(image.astype(np.uint8)).save(root / split / "images" / f"{name}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"{name}.png")
    lists = {"labeled": ids["train"][:6], "unlabeled": ids["train"][6:], "val": ids["val"]}
    for name, members in lists.items():
        (root / f"{name}.txt").write_text("\n".join(members) + "\n")
    return root


@pytest.fixture
def config_file(tmp_path, folder_data):
    """A config file that trains on `folder_data` within seconds."""
    path = tmp_path / "small.py"
    path.write_text(
        f"""
from ipixmatch_jax.config import default_config


def get_config(arg="fixmatch"):
    config = default_config()
    config.total_steps = 6
    config.batch_size = config.unlabeled_batch_size = config.eval_batch_size = 2
    config.log_every, config.eval_every, config.checkpoint_every = 1, 3, 2
    config.pictures = 1
    config.data.root = {str(folder_data)!r}
    config.data.labeled, config.data.unlabeled = "labeled.txt", "unlabeled.txt"
    config.data.val = "val.txt"
    config.data.crop_size = (16, 16)
    config.data.class_names = ("ground", "square")
    config.model.name = "unet"
    config.model.width, config.model.depth = 4, 1
    config.method.name = arg
    config.method.confidence = 0.3
    return config
"""
    )
    return path


@pytest.fixture
def one_device(monkeypatch):
    """The package sees one of the devices."""
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)


@pytest.fixture
def own_relation(monkeypatch):
    """Forgets a relation that the test registers: error messages of other tests list all."""
    from ipixmatch_jax.losses import RELATIONS

    monkeypatch.setattr(RELATIONS, "_entries", dict(RELATIONS._entries))


@pytest.fixture
def short_encoder(monkeypatch):
    """EfficientNet-Lite0 of five blocks; test_efficientnet_lite.py has all sixteen."""
    from ipixmatch_jax.models import efficientnet_lite

    stages = (efficientnet_lite.Stage(1, 3, stride, 2, 8) for stride in (1, 2, 2, 2, 2))
    monkeypatch.setattr(efficientnet_lite, "LITE0_STAGES", tuple(stages))


@pytest.fixture
def small_backbones(monkeypatch):
    """The smallest backbone of each family of transformers and of ConvNeXt, with few channels."""
    from ipixmatch_jax.models import convnext, dinov3, dpt, mit, vit

    shapes = (
        (convnext.CONVNEXT, "convnext_tiny", convnext.ConvNextShape((4, 6, 8, 10), (1,) * 4)),
        (dinov3.DINOV3, "dinov3_small", dinov3.Dinov3Shape(16, 4, 2, (0, 1, 2, 3), 24)),
        (mit.MIT, "mit_b0", mit.MitShape((8, 8, 16, 16), (1,) * 4, 8, heads=(1, 2, 2, 2))),
        (vit.DINOV2, "dinov2_small", vit.VitShape(16, 4, 2, (0, 1, 2, 3), grid=3)),
    )
    for registry, name, shape in shapes:
        monkeypatch.setitem(registry._entries, name, shape)
    for name in ("dinov2_small", "dinov3_small"):
        monkeypatch.setitem(dpt.DPT_SHAPES, name, dpt.DptShape(6, (4, 6, 8, 10)))


@pytest.fixture(scope="module")
def steps_of_module():
    return {}


@pytest.fixture
def shared_steps(monkeypatch, steps_of_module):
    """Runs of equal settings in this module trace and compile their steps once."""
    from tests.references.shared_steps import share_steps

    share_steps(monkeypatch, steps_of_module)


@pytest.fixture
def run(config_file, tmp_path, one_device):
    """Folder, config and networks of a run that was saved without training."""
    from tests.references.untrained import save_untrained

    config, student, teacher = save_untrained(config_file, tmp_path / "run")
    return tmp_path / "run", config, {"student": student, "teacher": teacher}
