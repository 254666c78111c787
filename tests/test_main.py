import errno
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from absl import logging
from PIL import Image

from ipixmatch_jax.cli import flags
from ipixmatch_jax.cli.flags import parsed_arguments
from ipixmatch_jax.config import load_config
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.main import RUN_MODE, _show_unraisable, main
from ipixmatch_jax.run.split import with_split


def run(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "ipixmatch_jax.main", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def errors(capsys, *arguments):
    """The message of a command that ends with exit code 2."""
    assert main([str(argument) for argument in arguments]) == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EROFS])
def test_a_full_disk_anywhere_is_one_message(number, monkeypatch, capsys):
    def fails(*_):
        raise OSError(number, os.strerror(number), "runs/cache.bin")

    monkeypatch.setitem(RUN_MODE, "config", fails)
    message = errors(capsys, "--mode", "config")
    assert message.startswith(f"UserError: runs/cache.bin: {os.strerror(number)}; make room")


def test_train_eval_predict_and_sighup_from_the_command_line(config_file, folder_data, tmp_path):
    work = tmp_path / "run"
    # The method with the least to compile: this test is about commands.
    shared = ["--config", f"{config_file}:supervised", "--workdir", work]
    process = run(*shared, "--config.total_steps=100000", "--config.checkpoint_every=50000",
                  "--config.eval_every=50000")  # fmt: skip
    while not (work / "metrics.jsonl").exists() or not (work / "metrics.jsonl").stat().st_size:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.2)
    process.send_signal(signal.SIGHUP)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert "SIGHUP: saved step" in printed and "Traceback" not in printed

    shared += ["--config.total_steps=100000"]
    process = run(*shared, "--mode", "eval", "--network", "teacher")
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "mIoU" in printed, printed

    process = run(*shared, "--mode", "predict", "--input", folder_data / "val" / "images",
                  "--output", tmp_path / "out")  # fmt: skip
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    mask = Image.open(tmp_path / "out" / "v0.png")
    assert mask.mode == "P" and mask.size == (24, 20) and np.asarray(mask).max() < 2
    # Image and legend.
    overlay = Image.open(tmp_path / "out" / "v0_overlay.png")
    assert overlay.width > 24 and overlay.height >= 20


def test_misspelt_key(capsys, config_file, tmp_path):
    text = errors(capsys, "--config", config_file, "--workdir", tmp_path / "w", "--config.sed=3")
    assert text == "ConfigError: no config key 'sed' (did you mean 'seed'?)\n"
    assert not (tmp_path / "w").exists()


def test_a_workdir_that_cannot_be_written(one_device, capsys, config_file, tmp_path):
    (tmp_path / "file").write_text("in the way")
    text = errors(capsys, "--config", config_file, "--workdir", tmp_path / "file" / "w")
    assert "cannot be written" in text and "choose another folder" in text


def test_missing_root(one_device, capsys, config_file, tmp_path):
    text = errors(
        capsys, "--config", config_file, "--workdir", tmp_path / "w", "--config.data.root=nowhere"
    )
    assert text.startswith("DataError:") and "nowhere" in text
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "train/masks/t0.png").unlink(), "t0"),
        (lambda root: (root / "val.txt").write_text(""), "holds no id"),
        (lambda root: (root / "labeled.txt").write_text("v0\n"), "v0"),
        (lambda root: (root / "labeled.txt").unlink(), "labeled.txt"),
        (
            lambda root: Image.fromarray(np.zeros((5, 5), np.uint8)).save(
                root / "val/masks/v1.png"
            ),
            "5x5",
        ),
        (
            lambda root: Image.fromarray(np.full((20, 24), 9, np.uint8)).save(
                root / "train/masks/t1.png"
            ),
            "mask value 9",
        ),
    ],
)
def test_inspect_names_the_damage(capsys, config_file, folder_data, damage, message):
    assert main(["--config", str(config_file), "--mode", "inspect", "--config.seed=3"]) == 0
    said = f"next: ipixmatch --config {config_file} --workdir runs/NAME --config.seed=3\n"
    assert capsys.readouterr().out.endswith(said)
    damage(folder_data)
    text = errors(capsys, "--config", config_file, "--mode", "inspect")
    assert re.search(message, text), text


def test_inspect_names_no_training_that_would_stop_at_once(capsys, config_file):
    assert (
        main(["--config", str(config_file), "--mode", "inspect", "--config.data.unlabeled="]) == 0
    )
    printed = capsys.readouterr().out
    assert "set method.name=supervised" in printed and "next:" not in printed


def test_a_labeled_id_that_is_also_in_val(one_device, capsys, config_file, folder_data, tmp_path):
    for kind in ("images", "masks"):
        source = folder_data / "val" / kind / "v0.png"
        (folder_data / "train" / kind / "v0.png").write_bytes(source.read_bytes())
    (folder_data / "labeled.txt").write_text("t0\nv0\n")
    text = errors(capsys, "--config", config_file, "--workdir", tmp_path / "w")
    assert "labeled and in the val split: v0" in text


def test_only_the_tracebacks_of_orbax_threads_are_dropped(caplog):
    main(["--mode", "config", "relation"])
    logging.error("%s.run() raised an exception: %s", "_SignalingThread", "disk full")
    logging.error("Failed to run 6 Handler Commit operations or the Commit callback in background "
                  "save thread, directory: run")  # fmt: skip
    logging.error("[step=2][wait_until_finished] Save Finalize thread (save_finalize) failed.")
    logging.error("another error")
    assert caplog.messages == ["another error"]


def test_writes_of_a_failed_save_print_nothing(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "__unraisablehook__", shown.append)
    errors_ = [SimpleNamespace(exc_value=RuntimeError(text)) for text in
               ("Event loop is closed", "something else")]  # fmt: skip
    for error in errors_:
        _show_unraisable(error)
    assert shown == errors_[1:]


def test_flags(capsys):
    for arguments in (["--config", "x.py"], ["--workdir", "x"], ["--mode", "report"]):
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == 2
    for words in ([], ["convert"], ["inspect", "photos"]):
        with pytest.raises(SystemExit) as exit_:
            main([*words, "--help"])
        assert exit_.value.code == 0 and "--config.KEY=VALUE" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, message", [
    (["--wokdir", "x", "--config", "demo"], "no flag --wokdir (did you mean '--workdir'?)"),
    (["--mode", "trian"], "argument --mode: no mode 'trian' (did you mean 'train'?)"),
    (["--mode", "eval", "--workdir", "x", "--network", "best"], "invalid choice: 'best'"),
    (["--workdir", "", "--config", "demo"], "argument --workdir: is empty; expected a path"),
    (["--mode", "predict"], "--mode predict needs --workdir"),
    (["convert", "src"], "convert needs SRC and DST, and 1 are given"),
    (["inspect", "--workdir", "x"], "inspect needs FOLDER, and 0 are given"),
    (["inspect", "photos", "--config", "demo"], "takes no --config; use --mode inspect with it"),
    (["konvert", "a", "b"], "no command 'konvert' (did you mean 'convert'?)"),
    (["train", "--config", "demo"], "no command 'train'; write --mode train"),
])  # fmt: skip
def test_usage_errors_are_one_line(capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    text = capsys.readouterr().err
    assert exit_.value.code == 2 and message in text
    assert text.count("\n") == 1 and text.endswith("see ipixmatch --help\n")


def test_usage_errors_fit_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with pytest.raises(SystemExit):
        main(["train", "--config", "demo"])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1 and max(map(len, lines)) <= 50
    assert "write --mode train; see ipixmatch --help" in " ".join(map(str.strip, lines))


def test_both_spellings_of_a_flag():
    for spelling in ("--tile-above", "--tile_above"):
        arguments, _ = parsed_arguments(["--mode", "predict", "--workdir", "w", f"{spelling}=7"])
        assert arguments.tile_above == 7
    arguments, overrides = parsed_arguments(["--mode", "config", "data", "--config.batch_size=3"])
    assert arguments.groups == ("data",) and overrides == ["--config.batch_size=3"]


def test_commands_that_name_folders():
    key = "--config.data.folder.mask_tail=_m"
    short, overrides = parsed_arguments(["convert", "a: b", "new", key])
    flags_ = ["--mode", "convert", "--config", "folder:a: b", "--output", "new", key]
    assert (short, overrides) == parsed_arguments(flags_)
    short, overrides = parsed_arguments(["inspect", "a b", "--workdir", "w", key])
    flags_ = ["--mode", "inspect", "--config", "folder:a b", "--workdir", "w", key]
    assert (short, overrides) == parsed_arguments(flags_)


def test_a_misspelt_split_is_suggested(config_file):
    with pytest.raises(DataError, match="--split tset .did you mean 'test'"):
        with_split(load_config(str(config_file)), "tset")


def test_every_mode_of_the_command_line_is_run_by_something():
    assert set(flags.MODES) == set(RUN_MODE)
