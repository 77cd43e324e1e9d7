"""Training: it learns, stops cleanly, resumes exactly where it stopped, and says what is wrong."""

from __future__ import annotations

import csv
import functools
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support import Answer

from lsampler import ConvAutoencoder, ConvConfig, LsamplerError, TrainingOptions, TrainingResult, open_images
from lsampler.models.encoding import default_held_out

pytest.importorskip("lightning", reason="needs the extra 'train'")

from lsampler import train_autoencoder

SHAPE = ("--size", "8", "--grey", "--no-flip", "--filters", "8,16", "--latent-dim", "6", "--accelerator", "cpu")
CONFIG = ConvConfig(image_size=8, channels=1, filters=(8, 16), latent_dim=6)
FILES = ["checkpoints/last.ckpt", "model.safetensors", "reconstructions.png", "training.csv", "training.png"]
# One thread: small layers gain nothing from more, and threads that wait for a busy core take it from others.
# No line per minute, on a slow machine.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "LSAMPLER_PROGRESS": "off"}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def few_npy(digits: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 digits, enough for trainings whose error does not matter."""
    path: Path = tmp_path_factory.mktemp("few") / "few.npy"
    np.save(path, digits[:300])
    return path


def command(*arguments: object, start: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *start, "-m", "lsampler", "train", *map(str, arguments)]


def run(*arguments: object, start: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, start=start), capture_output=True, text=True, timeout=300, env=ENVIRONMENT
    )


def train(source: Path, out: Path, **changes: Any) -> TrainingResult:
    """A short training in this process; ``changes`` go to the options or to the function."""
    direct = {key: changes.pop(key) for key in ("resume", "report", "progress", "config") if key in changes}
    options = TrainingOptions(**{"epochs": 2, "held_out": 60, "batch_size": 60, "accelerator": "cpu"} | changes)
    defaults = {"report": lambda _: None, "config": CONFIG}
    return train_autoencoder(open_images(source), out, options=options, **defaults | direct)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return ConvAutoencoder.load(out / "model.safetensors").state_dict()


def same_weights(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def curve(out: Path) -> list[dict[str, float]]:
    with (out / "training.csv").open(newline="") as handle:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(handle)]


def files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def interrupt_after(line: str) -> Any:
    def report(text: str) -> None:
        if text.startswith(line):
            os.kill(os.getpid(), signal.SIGINT)

    return report


class Bars:
    """Progress that keeps [total, done] of each bar, and presses Ctrl-C after some training steps."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.seen: dict[str, list[int]] = {}
        self._interrupt_at = interrupt_at

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        bar = self.seen[what] = [total, done]

        def advance(amount: int) -> None:
            bar[1] += amount
            if what == "training" and bar[1] == self._interrupt_at:
                raise KeyboardInterrupt

        return advance


@pytest.fixture(scope="module")
def trained(digits_npy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A whole training by the command line."""
    out = tmp_path_factory.mktemp("trained") / "run"
    settings = ("--epochs", 8, "--held-out", 297, "--learning-rate", 1e-2, "--batch-size", 64)
    done = run(digits_npy, *SHAPE, *settings, "--out", out)
    return out, Answer(done.returncode, done.stdout, done.stderr)


# What a training leaves behind


def test_it_beats_the_mean_image(trained: tuple[Path, Any], digits: NDArray[np.float32]) -> None:
    out, _ = trained
    rest, held_out = digits[:-297], digits[-297:]
    of_the_mean = float(((held_out - rest.mean(axis=0)) ** 2).mean())
    rows = curve(out)
    assert rows[-1]["held_out_mse"] < 0.7 * of_the_mean
    assert rows[-1]["train_mse"] < rows[0]["train_mse"]
    # The stated error is that of the stored model, on the images that were held out.
    model = ConvAutoencoder.load(out / "model.safetensors")
    images = torch.from_numpy(np.rint(held_out * 255) / 255).float()[:, None]
    latents = model.encode(images)
    mse = torch.nn.functional.mse_loss(model.decode(latents), images).item()
    assert mse == pytest.approx(rows[-1]["held_out_mse"], rel=1e-4)
    assert model.training_record["held_out_mse"] == pytest.approx(mse, rel=1e-4)
    # The unit of the latents is their root mean square standard deviation over the components.
    assert float(latents.double().var(dim=0).mean().sqrt()) == pytest.approx(1, abs=0.01)


def test_it_leaves_model_curve_pictures_and_checkpoint(trained: tuple[Path, Any]) -> None:
    out, _ = trained
    assert files(out) == FILES
    rows = curve(out)
    assert list(rows[0]) == ["epoch", "train_mse", "held_out_mse", "seconds"]
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    for name in ("training.png", "reconstructions.png"):
        with Image.open(out / name) as image:
            assert min(image.size) > 200
    record = ConvAutoencoder.load(out / "model.safetensors").training_record
    known = {"epochs_done": 8, "epochs": 8, "images": 1797, "held_out": 297, "source": "digits.npy", "flip": False}
    assert record.items() >= (known | {"devices": 1, "nodes": 1}).items()
    assert str(out.parent) not in str(record)


def test_the_command_prints_the_epochs_and_nothing_of_lightnings(trained: tuple[Path, Answer]) -> None:
    out, answer = trained
    assert (answer.code, answer.err) == (0, "")
    *epochs, last = answer.out.splitlines()
    assert len(epochs) == 8
    pattern = r"epoch {}/8: train MSE 0\.\d{{5}}, held-out MSE 0\.\d{{5}}, \d+ s"
    assert all(re.fullmatch(pattern.format(k), line) for k, line in enumerate(epochs, 1))
    assert re.fullmatch(re.escape(str(out / "model.safetensors")) + r": held-out MSE 0\.\d{5}", last)


@pytest.mark.parametrize("threaded", [False, True])
def test_loggers_warnings_ctrl_c_and_random_state_are_as_before(few_npy: Path, tmp_path: Path, threaded: bool) -> None:
    """In a thread too; only the main thread can set the handler of a signal."""

    def state() -> tuple[Any, ...]:
        level, handler = logging.getLogger("lightning.pytorch").level, signal.getsignal(signal.SIGINT)
        random = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
        return level, handler, list(warnings.filters), torch.get_rng_state().tolist(), random

    before = state()
    with ThreadPoolExecutor(1) as pool:
        train_it = functools.partial(train, few_npy, tmp_path / "run", epochs=1)
        assert (pool.submit(train_it).result() if threaded else train_it()).epochs == 1
    assert state() == before


# Seeds, and resuming


def test_seed_and_flips_decide_on_the_weights(few_npy: Path, tmp_path: Path) -> None:
    """Seeds beyond 32 bits too."""
    cases = {"a": 1, "again": 1, "large": 2**40 + 1, "larger": 2**41 + 1, "plain": 1}
    for name, seed in cases.items():
        torch.rand(7)  # numbers drawn before do not matter
        train(few_npy, tmp_path / name, seed=seed, epochs=1, flip=name != "plain")
    assert same_weights(tmp_path / "a", tmp_path / "again")
    for one, two in (("a", "large"), ("large", "larger"), ("a", "plain")):
        assert not same_weights(tmp_path / one, tmp_path / two)


@pytest.fixture(scope="module")
def whole(few_npy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted training of three epochs."""
    out: Path = tmp_path_factory.mktemp("whole") / "run"
    train(few_npy, out, epochs=3)
    return out


@pytest.mark.parametrize(
    ("stop", "how"),
    [
        (1, {"report": interrupt_after("epoch 1/")}),
        (2, {"report": interrupt_after("epoch 2/")}),
        (2, {"progress": Bars(interrupt_at=10)}),  # in the middle of the third epoch
    ],
)
def test_a_resumed_training_equals_an_uninterrupted_one(
    few_npy: Path, tmp_path: Path, whole: Path, stop: int, how: dict[str, Any]
) -> None:
    """Also if its folder was moved meanwhile."""
    moved = tmp_path / "moved"
    first = train(few_npy, tmp_path / "parts", epochs=3, **how)
    assert (first.interrupted, first.epochs) == (True, stop)
    assert first.held_out_mse == curve(tmp_path / "parts")[-1]["held_out_mse"] == curve(whole)[stop - 1]["held_out_mse"]
    shutil.move(tmp_path / "parts", moved)
    said: list[str] = []
    second = train(few_npy, moved, epochs=3, resume=True, report=said.append)
    assert (second.interrupted, second.epochs) == (False, 3)
    assert [line.split(":")[0] for line in said] == [f"epoch {k}/3" for k in range(stop + 1, 4)]
    assert same_weights(whole, moved)
    assert files(moved) == FILES
    without_time = [[{**row, "seconds": 0} for row in curve(out)] for out in (whole, moved)]
    assert without_time[0] == without_time[1]


def test_ctrl_c_before_the_first_epoch_ended_leaves_the_folder_free(few_npy: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(few_npy, tmp_path / "run", progress=Bars(interrupt_at=2))
    assert files(tmp_path / "run") == []
    assert train(few_npy, tmp_path / "run", epochs=1).epochs == 1


def test_progress_counts_images_and_steps(few_npy: Path, tmp_path: Path) -> None:
    bars = Bars()
    train(few_npy, tmp_path / "run", progress=bars, report=interrupt_after("epoch 1/"))
    assert bars.seen == {"preparing images": [300, 300], "training": [8, 4]}
    bars = Bars()
    train(few_npy, tmp_path / "run", progress=bars, resume=True)
    assert bars.seen == {"training": [8, 8]}


# Images that cannot be used


def test_images_that_cannot_be_used_are_skipped_and_reported(digits: NDArray[np.float32], tmp_path: Path) -> None:
    images = digits[:300].copy()
    images[[5, 17, 299]] = np.nan
    np.save(tmp_path / "bad.npy", images)
    with pytest.raises(LsamplerError, match=r"'005' .* leave out `strict=True`"):
        train(tmp_path / "bad.npy", tmp_path / "strict", strict=True)
    result = train(tmp_path / "bad.npy", tmp_path / "run", report=interrupt_after("epoch 1/"))
    assert sorted(result.skipped) == ["005", "017", "299"]
    again = train(tmp_path / "bad.npy", tmp_path / "run", resume=True)
    assert again.skipped == result.skipped
    assert ConvAutoencoder.load(again.model).training_record["images"] == 297


def test_damaged_images_do_not_shift_the_held_out_split(digits: NDArray[np.float32], tmp_path: Path) -> None:
    """Encoding holds out what training did, though training counted only the images it could use."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for k, pixels in enumerate(digits[:30]):
        Image.fromarray((pixels * 255).astype(np.uint8)).save(photos / f"{k:02d}.png")
    (photos / "27.png").write_bytes(b"damaged")
    result = train(photos, tmp_path / "run", epochs=1, held_out=5)
    held_out, why = default_held_out(ConvAutoencoder.load(result.model), open_images(photos))
    assert (held_out, why) == (6, "as in training")  # 25 to 29 without 27, and so from 24 on


def test_a_fresh_start_never_uses_older_prepared_images(few_npy: Path, tmp_path: Path) -> None:
    """The same names may stand for other pixels by now."""
    train(few_npy, tmp_path / "older", report=interrupt_after("epoch 1/"))
    (tmp_path / "used").mkdir()
    for left in ("prepared.npy", "prepared.json"):
        shutil.copy(tmp_path / "older" / left, tmp_path / "used")
    (tmp_path / "darker").mkdir()
    np.save(tmp_path / "darker" / "few.npy", np.load(few_npy) / 2)
    for name in ("used", "clean"):
        train(tmp_path / "darker" / "few.npy", tmp_path / name, epochs=1)
    assert same_weights(tmp_path / "used", tmp_path / "clean")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("prepared.json", lambda content: content[:-9]),
        ("prepared.json", lambda content: content.replace(b'"ids"', b'"idz"')),
        ("prepared.json", lambda content: b"[" * 100_000),
        ("prepared.npy", lambda content: b""),
        ("prepared.npy", lambda content: content[:500]),
        ("prepared.npy", lambda content: content.replace(b"'|u1'", b"'|b1'")),
    ],
)
def test_damaged_prepared_images_are_prepared_anew(
    few_npy: Path, tmp_path: Path, whole: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    train(few_npy, tmp_path / "run", epochs=3, report=interrupt_after("epoch 2/"))
    left = tmp_path / "run" / name
    left.write_bytes(change(left.read_bytes()))
    train(few_npy, tmp_path / "run", epochs=3, resume=True)
    assert same_weights(whole, tmp_path / "run")
    assert files(tmp_path / "run") == FILES


def test_a_training_killed_after_its_last_epoch_is_finished(
    few_npy: Path, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("lsampler.models.training.recorder.reconstruction_grid", Mock(side_effect=RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            train(few_npy, tmp_path / "run", epochs=3)
    assert (tmp_path / "run" / "prepared.npy").exists()
    assert train(few_npy, tmp_path / "run", epochs=3, resume=True).epochs == 3
    assert files(tmp_path / "run") == FILES
    assert same_weights(whole, tmp_path / "run")


# What is refused


def test_a_folder_that_holds_a_training_is_refused(trained: tuple[Path, Any], digits_npy: Path) -> None:
    out, _ = trained
    before = {name: (out / name).read_bytes() for name in FILES}
    same = {"epochs": 8, "held_out": 297, "flip": False, "batch_size": 64, "learning_rate": 1e-2}
    with pytest.raises(LsamplerError, match=r"holds a training already; pass `resume=True`"):
        train(digits_npy, out)
    with pytest.raises(LsamplerError, match="finished all 8 epochs; there is nothing left to resume"):
        train(digits_npy, out, resume=True, **same)
    assert files(out) == FILES
    assert {name: (out / name).read_bytes() for name in FILES} == before


def test_resuming_another_training_is_refused(few_npy: Path, digits: NDArray[np.float32], tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(LsamplerError, match="no checkpoint to resume"):
        train(few_npy, out, resume=True)
    assert not out.exists()
    train(few_npy, out, report=interrupt_after("epoch 1/"))
    changes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"epochs": 5}, "epochs 2, not 5"),
        ({"batch_size": 50}, "batch size 60, not 50"),
        ({"learning_rate": 1e-4}, "learning rate"),
        ({"held_out": 100}, "held out 60, not 100"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"flip": False}, "flip"),
        ({"config": CONFIG.model_copy(update={"filters": (8, 17)})}, "filters"),
    )
    for change, part in changes:
        with pytest.raises(LsamplerError, match=f"^{re.escape(str(out))}: .*{part}"):
            train(few_npy, out, resume=True, **change)
    np.save(tmp_path / "other.npy", digits[:200])
    with pytest.raises(LsamplerError, match=r"began with source few\.npy, not other\.npy"):
        train(tmp_path / "other.npy", out, resume=True)
    assert not (out / "prepared.npy").exists()
    assert not train(few_npy, out, resume=True).interrupted
    checkpoint = out / "checkpoints" / "last.ckpt"
    data = checkpoint.read_bytes()
    for content in (b"", b"no checkpoint", data[: len(data) // 2]):
        checkpoint.write_bytes(content)
        with pytest.raises(LsamplerError, match=rf"^{re.escape(str(checkpoint))}: not a readable checkpoint.*\Z"):
            train(few_npy, out, resume=True)


def test_a_split_without_images_is_refused(few_npy: Path, tmp_path: Path) -> None:
    """One image alone has no spread, which is the unit of the latents."""
    for held_out in (0, 1, 300, 5000):
        with pytest.raises(LsamplerError, match=f"300 images, `held_out={held_out}` must be at least 2"):
            train(few_npy, tmp_path / "run", held_out=held_out)


def test_a_full_disk_while_images_are_prepared_is_one_line(
    few_npy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        np.lib.format, "write_array_header_1_0", Mock(side_effect=OSError(28, "No space left on device"))
    )
    with pytest.raises(LsamplerError, match="No space left on device"):
        train(few_npy, tmp_path / "run")
    assert not (tmp_path / "run").exists()


DEVICES = "--accelerator cpu --devices"
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("options", "torchrun", "parts"),
    [
        ("--filters 1,2,x --size 8", False, ["--filters x"]),
        ("--size 8 --filters 8,16 --grey --held-out 300", False, ["300 images, --held-out 300 must"]),
        ("--size 8 --filters 8,16 --grey --precision nope", False, ["--precision nope"]),
        ("--epochs 0", False, ["--epochs"]),
        (f"{DEVICES} 0", False, ["--devices 0"]),
        (f"{DEVICES} 0,1", False, ["--devices 0,1"]),  # which one is a question of GPUs
        (f"{DEVICES} 2 --held-out 299", False, ["leave one image per process"]),
        (f"{DEVICES} 1 --nodes 2", False, ["--nodes 2: start the training with torchrun on every machine"]),
        (f"{DEVICES} 1", True, ["torchrun started 2 processes"]),
        (f"{DEVICES} auto --nodes 2", True, ["torchrun started 2 processes"]),
    ],
)
def test_wrong_options_are_one_line_and_exit_code_2(
    few_npy: Path,
    tmp_path: Path,
    options: str,
    torchrun: bool,
    parts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    cli: Callable[..., Answer],
) -> None:
    for name, value in TORCHRUN.items() if torchrun else ():
        monkeypatch.setenv(name, value)
    answer = cli("train", few_npy, *options.split(), "--out", tmp_path / "run")
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err.strip().splitlines()) == 1
    assert all(part in answer.err for part in parts), answer.err
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_without_the_extra_the_command_names_it(
    few_npy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Answer]
) -> None:
    for module in [name for name in sys.modules if name.startswith("lsampler.models.training.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "lightning", None)
    answer = cli("train", few_npy, "--size", 16, "--out", tmp_path / "run")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "pip install 'lsampler[train]'" in answer.err


# Several processes


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
        first = process.stdout.readline()
        assert first.startswith("epoch 1/")
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
        settings = ("--learning-rate", 1e30, "--devices", 2, "--held-out", 60, "--out", tmp_path / "run")
        done = run(few_npy, *SHAPE, *settings)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"lsampler: {tmp_path}/run: the training diverged in epoch 1; lower --learning-rate\n"

    def test_when_one_is_killed_all_end(self, few_npy: Path, tmp_path: Path) -> None:
        settings = (few_npy, *SHAPE, "--held-out", 60, "--epochs", 10_000, "--devices", 2)
        code, _, complaints = signalled(tmp_path / "run", signal.SIGKILL, *settings, child=True)
        # Lightning looks every 5 seconds for a process that ended, and kills the others if it comes first.
        assert code in (2, -signal.SIGKILL)
        assert complaints.count("\n") == (code == 2)
        assert ("is there enough memory?" in complaints) == (code == 2)
        assert (tmp_path / "run" / "model.safetensors").exists()
