"""Training in two processes, and what happens when one of them ends."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from trained import ENVIRONMENT, FILES, SHAPE, command, curve, files, run, train, weights

from lsampler import LsamplerError
from lsampler.models import ConvAutoencoder


def signalled(out: Path, number: int, *arguments: object, child: bool = False) -> tuple[int, str, str]:
    """Train in two processes, and send a signal to the first or the second one after the first epoch."""
    process = subprocess.Popen(
        command(*arguments, "--out", out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        # A background job of a shell ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline() + process.stdout.readline()
        assert first.startswith("held out: ")
        assert "\nepoch 1/" in first
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]) if child else process.pid, number)
        said, complaints = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    return process.returncode, first + said, complaints


@pytest.fixture(scope="module")
def team(digits_npy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A training by two processes, interrupted, and then resumed under torchrun."""
    out = tmp_path_factory.mktemp("team") / "run"
    settings = (digits_npy, *SHAPE, "--held-out", 297, "--batch-size", 5, "--epochs", 3)
    interrupted = signalled(out, signal.SIGINT, *settings, "--devices", 2)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    return out, interrupted, run(*settings, "--resume", "--out", out, start=torchrun)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find the second process")
class TestTwoProcesses:
    def test_they_train_as_one_with_batches_twice_as_large(
        self, team: tuple[Path, Any, Any], digits_npy: Path, tmp_path: Path
    ) -> None:
        """Though interrupted and resumed. Measured: 2e-7; with gradients that are not averaged 0.04."""
        train(digits_npy, tmp_path / "one", epochs=3, held_out=297, batch_size=10, flip=False)
        one, two = weights(tmp_path / "one"), weights(team[0])
        assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
        for alone, together in zip(curve(tmp_path / "one"), curve(team[0]), strict=True):
            assert together["train_mse"] == pytest.approx(alone["train_mse"], rel=1e-5)
            assert together["held_out_mse"] == pytest.approx(alone["held_out_mse"], rel=1e-5)
        record = ConvAutoencoder.load(team[0] / "model.safetensors").training_record
        assert (record["devices"], record["nodes"], record["batch_size"]) == (2, 1, 5)

    def test_only_the_first_prints_and_nothing_is_written_twice(
        self, team: tuple[Path, Any, Any], digits_npy: Path
    ) -> None:
        out, (code, said, complaints), resumed = team
        model = str(out / "model.safetensors")
        assert (code, complaints) == (130, "lsampler: interrupted\n")
        assert [line.split(":")[0] for line in said.splitlines()] == [
            "held out",
            "epoch 1/3",
            model,
            "interrupted after 1 of 3 epochs; rerun with --resume to continue",
        ]
        assert resumed.returncode == 0, resumed.stderr
        assert [line.split(":")[0] for line in resumed.stdout.splitlines()] == ["epoch 2/3", "epoch 3/3", model]
        assert files(out) == FILES
        # With another number of processes, the schedule of the learning rate would count other steps.
        with pytest.raises(LsamplerError, match="began with processes 2, not 1"):
            train(digits_npy, out, epochs=3, held_out=297, batch_size=5, flip=False, resume=True)

    def test_an_error_of_both_is_told_once(self, few_npy: Path, tmp_path: Path) -> None:
        settings = ("--learning-rate", 1e18, "--devices", 2, "--held-out", 60, "--out", tmp_path / "run")
        done = run(few_npy, *SHAPE, *settings)
        assert (done.returncode, done.stdout) == (2, "held out: 60 of 300 images at random, seed 0\n")
        assert done.stderr == f"lsampler: {tmp_path}/run: the training diverged in epoch 1; lower --learning-rate\n"

    def test_when_one_is_killed_all_end(self, few_npy: Path, tmp_path: Path) -> None:
        settings = (few_npy, *SHAPE, "--held-out", 60, "--epochs", 10_000, "--devices", 2)
        code, _, complaints = signalled(tmp_path / "run", signal.SIGKILL, *settings, child=True)
        # Lightning looks every 5 seconds for a process that ended, and kills the others if it comes first.
        assert code in (2, -signal.SIGKILL)
        assert complaints.count("\n") == (code == 2)
        assert ("is there enough memory?" in complaints) == (code == 2)
        assert (tmp_path / "run" / "model.safetensors").exists()
