"""A flag that the mode does not read is an error, not left out in silence."""

import pytest

from ipixmatch_jax.cli.flags import parsed_arguments


@pytest.mark.parametrize("words, message", [
    (["--config", "demo", "--checkpoint", "500"], "--mode train has no --checkpoint"),
    (["--config", "demo", "--split=fold1"], "--mode train has no --split"),
    (["--mode", "predict", "--split", "test"], "--mode predict has no --split"),
    (["--mode", "eval", "--input", "a.jpg"], "--mode eval has no --input"),
    (["--mode", "report", "--checkpoint", "best"], "--mode report has no --checkpoint"),
    (["--mode", "predict", "--tile_above", "9", "--count", "3"], "--mode predict has no --count"),
    (["--mode", "export", "--size", "64", "64"], "--size is for --format stablehlo and onnx"),
    (["--mode", "eval", "--split", ""], "--split: is empty"),
    (["--mode", "predict", "--tile-above", "-5"], "expected a whole number of at least 1"),
])  # fmt: skip
def test_flags_of_another_mode(words, message, capsys):
    with pytest.raises(SystemExit):
        parsed_arguments(["--workdir", "x", *words])
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("words", [
    ["--config", "demo"],
    ["--mode", "eval", "--split", "val", "--checkpoint", "best", "--processes", "1"],
    ["--mode", "export", "--format", "onnx", "--size", "64", "64", "--output", "a.onnx"],
    ["--mode", "inspect", "--config", "demo", "--output", "report"],
])  # fmt: skip
def test_flags_of_the_mode(words):
    parsed_arguments(["--workdir", "x", *words])


def test_a_variable_that_jax_refuses(monkeypatch, capsys):
    import builtins

    from ipixmatch_jax.main import main

    whole = builtins.__import__

    def refusing(name, *arguments, **options):
        if name == "jax":
            raise ValueError("invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'")
        return whole(name, *arguments, **options)

    monkeypatch.setattr("builtins.__import__", refusing)
    assert main(["--mode", "config"]) == 2
    assert "JAX cannot be imported: invalid truth value 'maybe'" in capsys.readouterr().err


def test_too_little_memory_is_one_message(monkeypatch, capsys):
    from ipixmatch_jax.main import RUN_MODE, main

    def hungry(config, arguments):
        error = MemoryError("Unable to allocate 671. GiB")
        error.add_note("step 4 is saved")
        raise error

    monkeypatch.setitem(RUN_MODE, "config", hungry)
    assert main(["--mode", "config"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "does not suffice (Unable to allocate 671. GiB); step 4 is saved; set a" in said
