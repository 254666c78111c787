"""The launchers, with fake commands first on PATH that record their calls."""

import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest
import yaml

from tests.references import ROOT

LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), LAUNCH / "slurm.sbatch"])
FAKES = ("gcloud", "srun", "scontrol", "kubectl", "xpk", "tar")
ARGUMENTS = ["--config", "configs/voc.py:92", "--workdir", "gs://b/a run", "--config.seed=1"]
TPU = {
    "NAME": "ipix",
    "ZONE": "us-west4-a",
    "ACCELERATOR": "v5litepod-16",
    "RUNTIME": "v2-alpha-tpuv5-lite",
}
GKE = {
    "NAME": "voc",
    "IMAGE": "r/ipixmatch:1",
    "ACCELERATOR": "tpu-v5-lite-podslice",
    "TOPOLOGY": "4x4",
    "HOSTS": "4",
    "CHIPS": "4",
}


@pytest.fixture
def fakes(tmp_path):
    """A folder of commands that append their arguments, and standard input, to `calls`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in (*FAKES, "python"):
        path = folder / name
        path.write_text(
            f"#!{sys.executable}\n"
            "import json, os, sys\n"
            "text = sys.stdin.read() if sys.argv[-1] == '-' else ''\n"
            f"call = [{name!r}, *sys.argv[1:]] + ([text] if text else [])\n"
            f"open({str(tmp_path / 'calls')!r}, 'a').write(json.dumps(call) + '\\n')\n"
            "sys.exit(int(os.environ.get('FAKE_CODE', 0)))\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


def launch(fakes, script, *arguments, cwd=None, **environment):
    """Exit code, output, and the calls of fake commands."""
    path = f"{fakes}{os.pathsep}/usr/bin{os.pathsep}/bin"
    done = subprocess.run(
        [LAUNCH / script, *arguments],
        env={"PATH": path, "HOME": str(fakes), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd or LAUNCH.parent,
    )
    calls = fakes.parent / "calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    recorded = [json.loads(line) for line in lines]
    return done.returncode, done.stdout + done.stderr, recorded


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(script):
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", script], check=True)
    # Scripts that are run stop at the first error; the two that are sourced leave that to them.
    if script.name not in ("env.sh", "common.sh"):
        assert "\nset -euo pipefail\n" in script.read_text()
    shellcheck = shutil.which("shellcheck") or shutil.which(
        "shellcheck", path=pathlib.Path(sys.executable).parent
    )
    if not shellcheck:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, "-x", script], capture_output=True, text=True,
                          cwd=LAUNCH.parent)  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("command", "environment", "expected"),
    [
        (
            "create",
            {"SPOT": "1"},
            "gcloud compute tpus tpu-vm create ipix --zone us-west4-a --accelerator-type "
            "v5litepod-16 --version v2-alpha-tpuv5-lite --spot",
        ),
        (
            "queue",
            {"SPOT": "1", "PROJECT": "p", "EXTRA": "--valid-until-duration 6h"},
            "gcloud compute tpus queued-resources create ipix --zone us-west4-a --project p "
            "--node-id ipix --accelerator-type v5litepod-16 --runtime-version v2-alpha-tpuv5-lite "
            "--valid-until-duration 6h --spot",
        ),
        ("delete", {}, "gcloud compute tpus tpu-vm delete ipix --zone us-west4-a --quiet"),
        (
            "delete",
            {"QUEUED": "1"},
            "gcloud compute tpus queued-resources delete ipix --zone us-west4-a --force --quiet",
        ),
    ],
)
def test_tpu_slices_are_made_and_deleted(fakes, command, environment, expected):
    code, printed, calls = launch(fakes, "tpu_vm.sh", command, **TPU, **environment)
    assert code == 0, printed
    assert calls == [expected.split()]
    code, printed, calls = launch(fakes, "tpu_vm.sh", command, **TPU, **environment, DRY_RUN="1")
    assert (code, printed) == (0, expected + "\n")
    assert len(calls) == 1  # a dry run calls nothing


def test_a_tpu_run_starts_on_all_workers_with_its_arguments_whole(fakes):
    code, printed, calls = launch(fakes, "tpu_vm.sh", "run", "--", *ARGUMENTS, **TPU)
    assert code == 0, printed
    ((*start, remote),) = calls
    assert start == (
        "gcloud compute tpus tpu-vm ssh ipix --zone us-west4-a --worker=all --command".split()
    )
    # The command as the shell of a worker parses it.
    command = f"printf '%s\\n' {remote}"
    read = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert read.stdout.splitlines() == ["ipixmatch/launch/tpu_worker.sh", "start", *ARGUMENTS]


def test_a_tpu_slice_is_set_up_looked_at_and_stopped(fakes):
    for command in ("setup", "attach", "stop", "status"):
        code, printed, calls = launch(fakes, "tpu_vm.sh", command, **TPU)
        assert code == 0, printed
    archive, copy, install, attach, stop, status = calls
    assert archive[0] == "tar" and {".git", "runs"} <= set(archive)
    assert copy[4:5] == ["scp"] and copy[6] == "ipix:ipixmatch.tar.gz" and "--worker=all" in copy
    assert install[-1].endswith("ipixmatch/launch/tpu_worker.sh setup")
    assert "--worker=0" in attach and attach[-1] == "tail -n 200 -F ipixmatch/train.log"
    assert "--worker=all" in stop and stop[-1] == "ipixmatch/launch/tpu_worker.sh stop"
    assert status[4:6] == ["describe", "ipix"]


@pytest.mark.parametrize(
    ("script", "arguments", "environment", "message"),
    [
        ("tpu_vm.sh", ["create"], {}, "set NAME"),
        ("tpu_vm.sh", ["create"], {"NAME": "a", "ZONE": "b"}, "set ACCELERATOR"),
        ("tpu_vm.sh", ["destroy"], TPU, "unknown command 'destroy'"),
        ("tpu_vm.sh", ["run"], TPU, "expected -- ARGUMENTS"),
        ("tpu_vm.sh", [], TPU, "expected one of create, queue"),
        ("gke.sh", ["apply", "--", "x"], {"NAME": "a"}, "set IMAGE"),
        ("gke.sh", ["apply"], GKE, "expected -- ARGUMENTS"),
        ("gpu.sh", ["0", "1", "--", "x"], {}, "expected [GPUS] --"),
        ("local_processes.sh", ["2", "--", "x"], {}, "expected PROCESSES DEVICES --"),
        ("local_processes.sh", ["2", "none", "--", "x"], {}, "DEVICES 'none'"),
        ("slurm.sbatch", ["x"], {"SLURM_SUBMIT_DIR": "/"}, "is not a checkout"),
        ("slurm.sbatch", ["x"], {}, "runs under sbatch only"),
        ("pod.sh", [], {}, "expected the arguments"),
    ],
)
def test_wrong_use_is_explained(fakes, script, arguments, environment, message):
    code, printed, calls = launch(fakes, script, *arguments, **environment)
    assert code != 0 and message in printed and not calls


def slurm(nodes=2, tasks=16, gpus="8", **more):
    return {
        "SLURM_JOB_NUM_NODES": str(nodes),
        "SLURM_NTASKS": str(tasks),
        "SLURM_GPUS_ON_NODE": gpus,
        "SLURM_JOB_ID": "77",
        "SLURM_SUBMIT_DIR": str(LAUNCH.parent),
        **more,
    }


@pytest.mark.parametrize("start", [[], ["--"]])
def test_slurm_runs_a_task_a_gpu(fakes, start):
    code, printed, calls = launch(fakes, "slurm.sbatch", *start, *ARGUMENTS, **slurm())
    assert code == 0, printed
    command = "srun --kill-on-bad-exit=1 --export=ALL python -m ipixmatch_jax.main".split()
    assert calls == [command + ARGUMENTS]


def test_slurm_refuses_idle_gpus_and_hands_on_exit_codes(fakes):
    code, printed, calls = launch(fakes, "slurm.sbatch", "x", **slurm(tasks=4))
    assert code == 2 and "2 tasks on a node with 8 GPUs" in printed and not calls
    assert launch(fakes, "slurm.sbatch", "x", **slurm(tasks=2), DRY_RUN="1")[0] == 0
    assert launch(fakes, "slurm.sbatch", "x", **slurm(), FAKE_CODE="2")[0] == 2


def slow(fakes, name, tmp_path):
    """A command that waits for SIGTERM, then takes a while, as a run that saves."""
    (fakes / name).write_text(
        f"#!{sys.executable}\n"
        "import pathlib, signal, sys, time\n"
        "def saved(*_):\n"
        "    time.sleep(0.5)\n"
        f"    pathlib.Path({str(tmp_path / 'saved')!r}).touch()\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, saved)\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
        "time.sleep(30)\n"
    )


@pytest.mark.parametrize(
    ("script", "child", "arguments", "environment", "code"),
    [
        ("slurm.sbatch", "srun", ["x"], slurm(), 0),
        ("pod.sh", "python", ["x"], {}, 143),
        ("gpu.sh", "python", ["--", "x"], {}, 0),
        ("local_processes.sh", "python", ["1", "1", "--", "x"], {}, 0),
    ],
)
def test_sigterm_reaches_the_run_which_saves_first(
    fakes, tmp_path, script, child, arguments, environment, code
):
    slow(fakes, child, tmp_path)
    process = subprocess.Popen(
        [LAUNCH / script, *arguments],
        env={"PATH": f"{fakes}:/usr/bin:/bin", "HOME": str(fakes), **environment},
        cwd=LAUNCH.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while not (tmp_path / "ready").exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == code and (tmp_path / "saved").exists()
    calls = (tmp_path / "calls").read_text() if (tmp_path / "calls").exists() else ""
    assert (json.dumps(["scontrol", "requeue", "77"]) in calls) == (script == "slurm.sbatch")


def test_one_host_starts_a_crashed_run_again_but_not_a_wrong_one(fakes):
    code, printed, calls = launch(fakes, "gpu.sh", "--", "x", FAKE_CODE="1", RETRIES="2")
    assert code == 1 and len(calls) == 3, printed
    assert launch(fakes, "gpu.sh", "0,1", "--", "x", FAKE_CODE="2")[0] == 2
    assert len((fakes.parent / "calls").read_text().splitlines()) == 4
    code, printed, _ = launch(fakes, "gpu.sh", "0,1", "--", *ARGUMENTS, DRY_RUN="1")
    assert code == 0 and printed.startswith("env CUDA_VISIBLE_DEVICES=0\\,1 python -m ")


def test_local_processes_end_together(fakes):
    code, printed, calls = launch(fakes, "local_processes.sh", "3", "2", "--", "x", PORT="5")
    assert code == 0, printed
    expected = "python -m ipixmatch_jax.main --coordinator localhost:5 --processes 3 --process {} x"
    assert sorted(calls) == [expected.format(i).split() for i in range(3)]
    assert launch(fakes, "local_processes.sh", "3", "2", "--", "x", FAKE_CODE="2")[0] == 2


def test_the_jobset_is_filled_in_and_parses(fakes):
    awkward = [*ARGUMENTS, '--config.data.root=a"b\\c']
    code, printed, calls = launch(fakes, "gke.sh", "apply", "--", *awkward, **GKE)
    assert code == 0, printed
    ((*command, text),) = calls
    assert command == ["kubectl", "apply", "-f", "-"]
    jobset = yaml.safe_load(text)
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert jobset["metadata"]["name"] == "voc"
    (job,) = jobset["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    assert (job["replicas"], spec["parallelism"], spec["completions"]) == (1, 4, 4)
    assert (spec["backoffLimit"], spec["completionMode"]) == (0, "Indexed")
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never" and pod["terminationGracePeriodSeconds"] >= 60
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    (container,) = pod["containers"]
    assert container["image"] == "r/ipixmatch:1" and container["args"] == awkward
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert (LAUNCH / pathlib.Path(container["command"][1]).name).exists()


def test_gke_logs_delete_and_xpk(fakes):
    more = {"CLUSTER": "c", "TPU_TYPE": "v5litepod-16"}
    for arguments in (["logs"], ["delete"], ["xpk", "--", *ARGUMENTS]):
        code, printed, calls = launch(fakes, "gke.sh", *arguments, **GKE, **more)
        assert code == 0, printed
    logs, delete, xpk = calls
    assert logs == "kubectl logs --follow job/voc-train-0".split()
    assert delete == "kubectl delete jobset voc".split()
    assert xpk[:-1] == (
        "xpk workload create --workload voc --cluster c --tpu-type v5litepod-16 --docker-image "
        "r/ipixmatch:1 --max-restarts 1000 --command".split()
    )
    assert xpk[-1].startswith("bash /app/launch/pod.sh --config configs/voc.py:92 --workdir")


def test_a_tpu_worker_starts_once_and_stops(fakes, tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(LAUNCH, checkout / "launch")
    slow(fakes, "python", tmp_path)
    worker = [checkout / "launch" / "tpu_worker.sh"]
    environment = {"PATH": f"{fakes}:/usr/bin:/bin", "HOME": str(fakes), "PYTHON": "python"}

    def call(*arguments):
        return subprocess.run([*worker, *arguments], env=environment, capture_output=True,
                              text=True, timeout=30)  # fmt: skip

    assert call("start", "x").returncode == 0
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    again = call("start", "x")
    assert again.returncode == 2 and "stop it first" in again.stderr
    assert call("stop").returncode == 0 and (tmp_path / "saved").exists()
    assert call("stop").returncode == 0
