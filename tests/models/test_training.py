"""Training: it learns, stops cleanly, goes on exactly where it stopped, and says what is wrong."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from lsampler import ConvAutoencoder, LsamplerError, Preprocess, open_images
from lsampler.cli import main
from lsampler.models.conv_autoencoder import ConvConfig
from lsampler.models.encoding import default_held_out

pytest.importorskip("lightning", reason="needs the extra 'train'")

from lsampler.cli import train as train_command
from lsampler.models.training import processes as _processes
from lsampler.models.training import training as _training
from lsampler.models.training.training import TrainingOptions, TrainingResult, train_autoencoder

SHAPE = ("--size", "8", "--grey", "--no-flip", "--filters", "8,16", "--latent-dim", "6")
CONFIG = ConvConfig(image_size=8, channels=1, filters=(8, 16), latent_dim=6)
# One thread: small layers gain nothing from more, and threads that wait for a busy core take it from others.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lsampler", "train", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=ENVIRONMENT)


def train(source: Path, out: Path, **changes: Any) -> TrainingResult:
    """A short training in this process; ``changes`` go to the options or to the function."""
    direct = {key: changes.pop(key) for key in ("resume", "report", "progress", "strict", "config") if key in changes}
    defaults: dict[str, Any] = {"epochs": 3, "held_out": 297, "batch_size": 100, "accelerator": "cpu"}
    options = TrainingOptions(**defaults | changes)
    direct.setdefault("report", lambda _: None)
    direct.setdefault("config", CONFIG)
    preprocess = Preprocess(direct["config"].image_size, "centre", direct["config"].channels)
    return train_autoencoder(open_images(source), out, preprocess=preprocess, options=options, **direct)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return ConvAutoencoder.load(out / "model.safetensors").state_dict()


def same_weights(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def curve(out: Path) -> list[dict[str, float]]:
    with (out / "training.csv").open(newline="") as handle:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(handle)]


def interrupt_after(line: str) -> Any:
    def report(text: str) -> None:
        if text.startswith(line):
            os.kill(os.getpid(), signal.SIGINT)

    return report


@pytest.fixture(scope="module")
def trained(
    digits_npy: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A whole training by the command line."""
    out = tmp_path_factory.mktemp("trained") / "run"
    settings = ("--epochs", 8, "--held-out", 297, "--learning-rate", 1e-2, "--batch-size", 64)
    return out, run(digits_npy, *SHAPE, *settings, "--out", out)


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
    mse = torch.nn.functional.mse_loss(model.decode(model.encode(images)), images).item()
    assert mse == pytest.approx(rows[-1]["held_out_mse"], rel=1e-4)
    assert model.training_record["held_out_mse"] == pytest.approx(mse, rel=1e-4)


def test_it_leaves_model_curve_pictures_and_checkpoint(trained: tuple[Path, Any]) -> None:
    out, _ = trained
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert files == [
        "checkpoints/last.ckpt",
        "model.safetensors",
        "reconstructions.png",
        "training.csv",
        "training.png",
    ]
    rows = curve(out)
    assert list(rows[0]) == ["epoch", "train_mse", "held_out_mse", "seconds"]
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    for name in ("training.png", "reconstructions.png"):
        with Image.open(out / name) as image:
            assert min(image.size) > 200


def test_the_model_knows_how_it_was_made(trained: tuple[Path, Any]) -> None:
    record = ConvAutoencoder.load(trained[0] / "model.safetensors").training_record
    assert record["epochs_done"] == record["epochs"] == 8
    assert record["images"] == 1797
    assert record["held_out"] == 297
    assert record["source"] == "digits.npy"
    assert record["flip"] is False
    assert str(trained[0].parent) not in str(record)


def test_the_command_prints_the_epochs_and_nothing_of_lightnings(
    trained: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = trained
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 9
    pattern = r"epoch {}/8: train MSE 0\.\d{{5}}, held-out MSE 0\.\d{{5}}, \d+ s"
    assert all(re.fullmatch(pattern.format(k), line) for k, line in enumerate(lines[:-1], 1))
    assert re.fullmatch(re.escape(str(out / "model.safetensors")) + r": held-out MSE 0\.\d{5}", lines[-1])


def test_loggers_warnings_and_ctrl_c_are_as_before(digits_npy: Path, tmp_path: Path) -> None:
    logger, handler = logging.getLogger("lightning.pytorch"), signal.getsignal(signal.SIGINT)
    level, filters = logger.level, list(warnings.filters)
    train(digits_npy, tmp_path / "run", epochs=1)
    assert logger.level == level
    assert list(warnings.filters) == filters
    assert signal.getsignal(signal.SIGINT) is handler


# Seeds, and going on


def test_the_same_seed_gives_the_same_weights_and_another_does_not(digits_npy: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.rand(7)  # whatever was drawn before does not matter
        train(digits_npy, tmp_path / name, seed=seed, epochs=2)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_seeds_beyond_32_bits_differ(digits_npy: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 2**40 + 1), ("b", 2**41 + 2)):
        train(digits_npy, tmp_path / name, seed=seed, epochs=1)
    assert not same_weights(tmp_path / "a", tmp_path / "b")


def test_every_epoch_has_its_own_order_of_all_images() -> None:
    sampler = _training._Shuffle(50, seed=3, epoch=0)
    orders = []
    for epoch in (0, 1, 2):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert list(_training._Shuffle(50, seed=3, epoch=2)) == orders[2]
    assert list(_training._Shuffle(50, seed=2, epoch=3)) != orders[2]


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_resumed_training_equals_an_uninterrupted_one(digits_npy: Path, tmp_path: Path, stop: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(digits_npy, whole, epochs=4)
    first = train(digits_npy, parts, epochs=4, report=interrupt_after(f"epoch {stop}/"))
    assert first.interrupted
    assert first.epochs == stop
    assert first.held_out_mse == curve(whole)[stop - 1]["held_out_mse"]
    said: list[str] = []
    second = train(digits_npy, parts, epochs=4, resume=True, report=said.append)
    assert not second.interrupted
    assert second.epochs == 4
    assert [line.split(":")[0] for line in said] == [f"epoch {k}/4" for k in range(stop + 1, 5)]
    assert same_weights(whole, parts)
    without_time = [[{**row, "seconds": 0} for row in curve(out)] for out in (whole, parts)]
    assert without_time[0] == without_time[1]


def test_a_folder_that_was_moved_resumes(digits_npy: Path, tmp_path: Path) -> None:
    train(digits_npy, tmp_path / "whole")
    train(digits_npy, tmp_path / "a", report=interrupt_after("epoch 1/"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    train(digits_npy, tmp_path / "b", resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "b")
    assert [path.name for path in (tmp_path / "b" / "checkpoints").iterdir()] == ["last.ckpt"]


def test_ctrl_c_in_the_middle_of_an_epoch_keeps_the_last_finished_one(
    digits_npy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = _training._Training.training_step

    def interrupted_step(self: Any, batch: torch.Tensor, index: int) -> torch.Tensor:
        if self.current_epoch == 2 and index == 5:
            raise KeyboardInterrupt
        return step(self, batch, index)

    monkeypatch.setattr(_training._Training, "training_step", interrupted_step)
    result = train(digits_npy, tmp_path / "run")
    assert result.interrupted
    assert result.epochs == 2
    monkeypatch.undo()
    train(digits_npy, tmp_path / "other", report=interrupt_after("epoch 2/"))
    assert same_weights(tmp_path / "run", tmp_path / "other")
    assert result.held_out_mse == curve(tmp_path / "run")[-1]["held_out_mse"]


def test_ctrl_c_before_the_first_epoch_ended_leaves_the_folder_free(
    digits_npy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted_step(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_training._Training, "training_step", interrupted_step)
        with pytest.raises(KeyboardInterrupt):
            train(digits_npy, tmp_path / "run")
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert train(digits_npy, tmp_path / "run", epochs=1).epochs == 1


def test_sigint_to_the_command_leaves_a_usable_model_and_resume_goes_on(
    digits_npy: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "lsampler",
        "train",
        str(digits_npy),
        *SHAPE,
        "--held-out",
        "297",
        "--out",
        str(out),
    ]
    process = subprocess.Popen(
        [*command, "--epochs", "400"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        # A background job of a shell ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("epoch 2/400"):
                process.send_signal(signal.SIGINT)
                break
        said, complaints = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert complaints == "lsampler: interrupted\n"
    found = re.search(r"interrupted after (\d+) of 400 epochs; go on with --resume", said)
    assert found
    done = int(found[1])
    assert ConvAutoencoder.load(out / "model.safetensors").training_record["epochs_done"] == done >= 2
    assert len(curve(out)) >= done
    # Going on to the end would take minutes: stop it again once it is known to go on. Here Lightning is imported.
    step = _training._Training.training_step

    def interrupted_step(self: Any, batch: torch.Tensor, index: int) -> torch.Tensor:
        if self.current_epoch == done + 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, index)

    monkeypatch.setattr(_training._Training, "training_step", interrupted_step)
    again = cli(*command[3:], "--epochs", 400, "--resume")
    assert again.code == 130
    assert again.out.startswith(f"epoch {done + 1}/400")


# Flips, progress, skipped images


def test_flips_change_the_training_and_are_repeatable(digits_npy: Path, tmp_path: Path) -> None:
    for name, flip in (("plain", False), ("a", True), ("b", True)):
        train(digits_npy, tmp_path / name, flip=flip, epochs=1)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "plain")


def test_progress_counts_images_and_steps(digits_npy: Path, tmp_path: Path) -> None:
    bars: dict[str, list[int]] = {}

    class Bars:
        def begin(self, what: str, total: int, done: int = 0) -> Any:
            bars[what] = [total, done]

            def advance(amount: int) -> None:
                bars[what][1] += amount

            return advance

    train(digits_npy, tmp_path / "run", progress=Bars(), report=interrupt_after("epoch 1/"))
    assert bars["preparing images"] == [1797, 1797]
    assert bars["training"] == [45, 15]
    train(digits_npy, tmp_path / "run", progress=Bars(), resume=True)
    assert bars["training"] == [45, 45]


def with_bad_images(digits: NDArray[np.float32], path: Path) -> Path:
    images = digits[:300].copy()
    images[[5, 17, 299]] = np.nan
    np.save(path, images)
    return path


def test_images_that_cannot_be_used_are_skipped_and_reported(digits: NDArray[np.float32], tmp_path: Path) -> None:
    source = with_bad_images(digits, tmp_path / "bad.npy")
    result = train(source, tmp_path / "run", held_out=30, epochs=2, report=interrupt_after("epoch 1/"))
    assert sorted(result.skipped) == ["005", "017", "299"]
    again = train(source, tmp_path / "run", held_out=30, epochs=2, resume=True)
    assert again.skipped == result.skipped
    assert ConvAutoencoder.load(again.model).training_record["images"] == 297


def test_strict_stops_before_the_training(digits: NDArray[np.float32], tmp_path: Path) -> None:
    with pytest.raises(LsamplerError, match="'005'"):
        train(with_bad_images(digits, tmp_path / "bad.npy"), tmp_path / "run", held_out=30, strict=True)


def test_a_fresh_start_never_uses_older_prepared_images(digits: NDArray[np.float32], tmp_path: Path) -> None:
    source, out = tmp_path / "images.npy", tmp_path / "run"
    preprocess = Preprocess(8, "centre", 1)
    out.mkdir()
    for scale in (1.0, 0.5):  # the same name and count, other pixels
        np.save(source, digits[:50] * np.float32(scale))
        images, _, _ = _training._prepare(
            open_images(source), preprocess, out, strict=False, reuse=False, progress=None
        )
        assert images.shape == (50, 1, 8, 8)
        np.testing.assert_array_equal(images[:, 0], np.rint(digits[:50] * np.float32(scale) * 255))


# What is refused


def test_a_folder_that_holds_a_training_is_refused(trained: tuple[Path, Any], digits_npy: Path) -> None:
    out, _ = trained
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(LsamplerError, match=r"holds a training already; add --resume"):
        train(digits_npy, out)
    with pytest.raises(LsamplerError, match="nothing left to resume"):
        train(digits_npy, out, resume=True, epochs=8, flip=False, batch_size=64, learning_rate=1e-2)
    assert {path: path.read_bytes() for path in before} == before


def test_nothing_to_resume(digits_npy: Path, tmp_path: Path) -> None:
    with pytest.raises(LsamplerError, match="no checkpoint to resume"):
        train(digits_npy, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_resuming_another_training_is_refused(digits_npy: Path, digits: NDArray[np.float32], tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(digits_npy, out, report=interrupt_after("epoch 1/"))
    wide = CONFIG.model_copy(update={"filters": (8, 17)})
    changes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"epochs": 5}, "epochs 3, not 5"),
        ({"batch_size": 50}, "batch size 100, not 50"),
        ({"learning_rate": 1e-4}, "learning rate"),
        ({"held_out": 100}, "held out 297, not 100"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"flip": False}, "flip"),
        ({"config": wide}, "filters"),
    )
    for change, part in changes:
        with pytest.raises(LsamplerError, match=part) as error:
            train(digits_npy, out, resume=True, **change)
        assert str(out) in str(error.value)
    np.save(tmp_path / "other.npy", digits[:1000])
    with pytest.raises(LsamplerError, match=r"began with source digits\.npy, not other\.npy"):
        train(tmp_path / "other.npy", out, resume=True)
    assert not train(digits_npy, out, resume=True).interrupted


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_is_one_line(digits_npy: Path, tmp_path: Path, content: bytes | None) -> None:
    out = tmp_path / "run"
    train(digits_npy, out, epochs=2, report=interrupt_after("epoch 1/"))
    checkpoint = out / "checkpoints" / "last.ckpt"
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[: len(data) // 2] if content is None else content)
    with pytest.raises(LsamplerError) as error:
        train(digits_npy, out, epochs=2, resume=True)
    assert str(checkpoint) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_training_that_diverges_says_so_and_keeps_no_broken_model(digits_npy: Path, tmp_path: Path) -> None:
    with pytest.raises(LsamplerError, match="diverged in epoch 1; lower --learning-rate"):
        train(digits_npy, tmp_path / "run", learning_rate=1e30)
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("held_out", [1797, 5000])
def test_too_many_held_out(digits_npy: Path, tmp_path: Path, held_out: int) -> None:
    with pytest.raises(LsamplerError, match=f"1797 images, {held_out} held out; --held-out must leave some"):
        train(digits_npy, tmp_path / "run", held_out=held_out)


def test_a_full_disk_while_images_are_prepared_is_one_line(
    digits_npy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(LsamplerError, match="No space left on device"):
        train(digits_npy, tmp_path / "run")
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--filters", "1,2,x", "--size", "8"), ["--filters x"]),
        (("--size", "10"), ["image size 10", "multiple of 16"]),
        (("--size", "8", "--filters", "8,16", "--grey", "--held-out", "1797"), ["1797 images", "--held-out"]),
        (("--size", "8", "--filters", "8,16", "--grey", "--precision", "nope"), ["--precision nope"]),
        (("--size", "8", "--crop", "center"), ["did you mean 'centre'"]),
        (("--epochs", "0"), ["--epochs"]),
    ],
)
def test_wrong_options_are_one_line_and_exit_code_2(
    digits_npy: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    parts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # In this process: what starts the command is tested elsewhere, and Lightning takes seconds to import.
    arguments = ["lsampler", "train", str(digits_npy), *options, "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert "Traceback" not in said.err
    assert all(part in said.err for part in parts), said.err
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_without_the_extra_the_command_names_it(digits_npy: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['lightning'] = None; from lsampler.cli import main; main()"
    command = [sys.executable, "-c", code, "train", str(digits_npy), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=ENVIRONMENT)
    assert done.returncode == 2
    assert "pip install 'lsampler[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_held_out_latents_have_unit_spread(digits_npy: Path, tmp_path: Path) -> None:
    """Root mean square over the components of the standard deviation; the unit itself is arbitrary."""
    result = train(digits_npy, tmp_path / "run", epochs=2)
    source = open_images(digits_npy)
    model = ConvAutoencoder.load(result.model)
    held_out = int(model.training_record["held_out"])
    images = np.stack([model.preprocess(source.read(k)) for k in range(len(source.ids) - held_out, len(source.ids))])
    spread = model.encode(torch.from_numpy(images)).double().var(dim=0).mean().sqrt()
    assert float(spread) == pytest.approx(1, abs=0.01)  # images were rounded to 8 bits for training


def test_damaged_images_do_not_shift_the_held_out_split(digits_npy: Path, tmp_path: Path) -> None:
    """Encoding holds out what training did, though training counted only the images it could use."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for k, pixels in enumerate(np.load(digits_npy)[:30]):
        Image.fromarray((pixels * 255).astype(np.uint8)).save(photos / f"{k:02d}.png")
    (photos / "27.png").write_bytes(b"damaged")
    result = train(photos, tmp_path / "run", epochs=1, held_out=5)
    held_out, why = default_held_out(ConvAutoencoder.load(result.model), open_images(photos))
    assert (held_out, why) == (6, "as in training")  # 25 to 29 without 27, and so from 24 on


# Several processes


@pytest.fixture(scope="module")
def teams(digits_npy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trainings by two processes each: one that is interrupted and resumed, one with an error, one that diverges."""
    root = tmp_path_factory.mktemp("teams")
    settings = [str(digits_npy), *SHAPE, "--held-out", "297", "--batch-size", "50", "--epochs", "3"]
    settings += ["--accelerator", "cpu"]
    cases = (
        ("interrupted", "Ctrl-C", "--devices", "2", "--out", root / "run"),
        ("resumed", "", "--resume", "--out", root / "run"),
        ("error", "error", "--out", root / "error-run"),
        ("diverged", "", "--learning-rate", "1e30", "--out", root / "diverged-run"),
    )
    plan = [[str(root / name), trouble, *settings, *map(str, more)] for name, trouble, *more in cases]
    command = [sys.executable, str(Path(__file__).with_name("training_team.py")), json.dumps(plan)]
    subprocess.run(command, check=True, timeout=300, env=ENVIRONMENT)
    return root


def told(folder: Path) -> tuple[list[int], list[str], list[str]]:
    """The exit codes of a team, and what each process printed and complained about."""
    codes = json.loads((folder / "codes").read_text())
    return codes, *([(folder / f"{rank}.{name}").read_text() for rank in (0, 1)] for name in ("out", "err"))


def test_two_processes_train_as_one_with_batches_twice_as_large(
    teams: Path, digits: NDArray[np.float32], digits_npy: Path, tmp_path: Path
) -> None:
    """Though interrupted and resumed. Measured: 2e-7; with gradients that are not averaged 0.04."""
    train(digits_npy, tmp_path / "one", batch_size=100, flip=False)
    one, two = weights(tmp_path / "one"), weights(teams / "run")
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
    # Each held-out image counts once, though 297 are not divisible by two; Lightning's own mean is off by 0.3 %.
    for alone, together in zip(curve(tmp_path / "one"), curve(teams / "run"), strict=True):
        assert together["train_mse"] == pytest.approx(alone["train_mse"], rel=1e-5)
        assert together["held_out_mse"] == pytest.approx(alone["held_out_mse"], rel=1e-5)
    first, second = ((teams / "resumed" / f"{rank}.weights").read_text() for rank in (0, 1))
    assert first == second


def test_only_the_first_process_prints_and_nothing_is_written_twice(teams: Path) -> None:
    codes, (first, second), complaints = told(teams / "interrupted")
    assert codes == [3, 3]  # of which the one who started them makes 130
    assert [line.split(":")[0] for line in first.splitlines()] == [
        "epoch 1/3",
        str(teams / "run" / "model.safetensors"),
        "interrupted after 1 of 3 epochs; go on with --resume",
    ]
    assert (second, complaints) == ("", ["", ""])
    codes, (first, second), complaints = told(teams / "resumed")
    assert codes == [0, 0]
    assert [line.split(":")[0] for line in first.splitlines()] == [
        "epoch 2/3",
        "epoch 3/3",
        str(teams / "run" / "model.safetensors"),
    ]
    assert (second, complaints) == ("", ["", ""])
    files = sorted(path.relative_to(teams / "run").as_posix() for path in (teams / "run").rglob("*") if path.is_file())
    assert files == [
        "checkpoints/last.ckpt",
        "model.safetensors",
        "reconstructions.png",
        "training.csv",
        "training.png",
    ]


def test_the_model_knows_how_many_made_it(teams: Path, trained: tuple[Path, Any]) -> None:
    record = ConvAutoencoder.load(teams / "run" / "model.safetensors").training_record
    assert (record["devices"], record["nodes"], record["batch_size"]) == (2, 1, 50)
    record = ConvAutoencoder.load(trained[0] / "model.safetensors").training_record
    assert (record["devices"], record["nodes"]) == (1, 1)


def test_an_error_of_one_process_ends_both_with_one_line(teams: Path) -> None:
    codes, _, complaints = told(teams / "error")
    assert codes == [3, 2]
    assert complaints == ["", "lsampler: the second process has had enough\n"]
    assert not list((teams / "error-run").rglob(".*"))


def test_an_error_of_both_processes_is_told_once(teams: Path) -> None:
    codes, _, (first, second) = told(teams / "diverged")
    assert codes == [2, 3]
    assert "diverged in epoch 1; lower --learning-rate" in first
    assert len(first.splitlines()) == 1
    assert second == ""


def test_going_on_with_another_number_of_processes_is_refused(teams: Path, digits_npy: Path, tmp_path: Path) -> None:
    """The schedule of the learning rate counts steps, and the batches would have another size."""
    shutil.copytree(teams / "error-run", tmp_path / "run")
    with pytest.raises(LsamplerError, match="began with processes 2, not 1"):
        train(digits_npy, tmp_path / "run", batch_size=50, flip=False, resume=True)


@pytest.mark.parametrize(("images", "processes"), [(50, 2), (51, 2), (7, 3), (3, 3)])
def test_processes_share_every_image_of_an_epoch(images: int, processes: int) -> None:
    whole = list(_training._Shuffle(images, seed=3, epoch=5))
    shares = [_training._Shuffle(images, 3, 5, rank, processes) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1
    assert all(len(list(share)) == len(share) for share in shares)
    steps = list(zip(*shares, strict=True))
    woven = [image for step in steps for image in step]
    repeated = len(woven) - images
    assert repeated < processes
    assert woven == whole + whole[:repeated]


def test_each_process_has_its_own_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    class Keep(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.seen = images
            return images

    batch = torch.arange(64 * 16, dtype=torch.uint8).reshape(64, 1, 4, 4)
    seen = []
    monkeypatch.setattr(_training._Training, "log", lambda *_, **__: None)
    monkeypatch.setattr(_training._Training, "global_step", 3)
    for rank in (0, 1, 0):
        monkeypatch.setattr(_training._Training, "global_rank", rank)
        model = Keep()
        _training._Training(model, TrainingOptions(flip=True)).training_step(batch, 0)  # type: ignore[arg-type]
        seen.append(model.seen)
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])


def in_this_process(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Any:
    """The exit code of ``lsampler train``."""
    monkeypatch.setattr(sys, "argv", ["lsampler", "train", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_several_devices_start_the_same_command_in_as_many_processes(
    digits_npy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All of it but the training: without Lightning both fail at once, and one says so."""
    (tmp_path / "lightning").mkdir()
    (tmp_path / "lightning" / "__init__.py").write_text("raise ImportError('none', name='lightning')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    arguments = (digits_npy, *SHAPE, "--accelerator", "cpu", "--devices", "2", "--out", tmp_path / "run")
    assert in_this_process(monkeypatch, *arguments) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == "lsampler: training needs lightning; install it with pip install 'lsampler[train]'\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("raise SystemExit(2 if rank else 0)", 2),
        ("raise SystemExit(3)", 130),
        ("raise SystemExit(7)", 7),
        ("os.kill(os.getpid(), 9) if rank else time.sleep(600)", r"process 2 of 2 was killed \(SIGKILL\)"),
    ],
)
def test_the_first_process_that_fails_ends_the_team(end: str, code: int | str) -> None:
    script = f"import os, time; rank = int(os.environ['RANK']); {end}"
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(code, str):
        with pytest.raises(LsamplerError, match=code):
            _processes.launch(2, [sys.executable, "-c", script])
    else:
        with pytest.raises(_processes.typer.Exit) as ended:
            _processes.launch(2, [sys.executable, "-c", script])
        assert ended.value.exit_code == code
    assert signal.getsignal(signal.SIGINT) is handler
    assert not logging.root.manager.disable


def test_members_learn_who_they_are_and_names_are_kept(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from lsampler.models.training.processes import team; place = team(); "
        "pathlib.Path(sys.argv[1], str(place.rank)).write_text(repr((place, sys.argv[2])))"
    )
    _processes.launch(2, [sys.executable, "-c", script, str(tmp_path), "a$$b ${local_rank}"])
    for rank in (0, 1):
        expected = (_processes.Team(rank, 2, 1), "a$$b ${local_rank}")
        assert (tmp_path / str(rank)).read_text() == repr(expected)


def test_ctrl_c_ends_every_process_of_the_team(tmp_path: Path) -> None:
    member = (
        "import os, pathlib, sys, time; pathlib.Path(sys.argv[1], str(os.getpid())).touch()\n"
        "try: time.sleep(600)\n"
        "except KeyboardInterrupt: sys.exit(3)"
    )
    starter = (
        "import sys, typer; from lsampler.models.training.processes import launch\n"
        f"try: launch(2, [sys.executable, '-c', {member!r}, {str(tmp_path)!r}])\n"
        "except typer.Exit as ended: sys.exit(ended.exit_code)"
    )
    process = subprocess.Popen([sys.executable, "-c", starter], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        while len(list(tmp_path.iterdir())) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.2)  # they sleep by now; were they not, they would end by an error, and this test fail
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, complaints) == (130, "")
    for member_id in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(member_id.name), 0)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--devices", "0"), "--devices 0: must be auto, a number from 1 on"),
        (("--devices", "two"), "--devices two: must be auto"),
        (("--devices", "-3"), "--devices -3: must be auto"),
        (("--devices", "0,1"), "--devices 0,1: must be auto"),  # which one is a question of GPUs
        (("--devices", "3"), "--devices 3: this machine has 2 CPU cores"),
        (("--nodes", "2"), "--nodes 2: start it with torchrun on every machine"),
    ],
)
def test_devices_and_machines_that_are_not_there(
    digits_npy: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    part: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(train_command, "launch", lambda *_: pytest.fail("started"))
    arguments = (digits_npy, *SHAPE, "--accelerator", "cpu", *options, "--out", tmp_path / "run")
    assert in_this_process(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert part in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("gpus", "accelerator", "devices", "processes"),
    [
        (4, "auto", "auto", 4),
        (4, "gpu", "-1", 4),
        (4, "gpu", "3", 3),
        (4, "gpu", "1,3", 2),
        (4, "gpu", "2,", 1),
        (4, "gpu", "1,1", "--devices 1,1: must be auto"),
        (4, "cpu", "auto", 1),
        (0, "auto", "auto", 1),
        (0, "auto", "2", 2),
        (0, "tpu", "auto", 1),
        (4, "gpu", "5", "this machine has 4 GPUs"),
        (0, "gpu", "2", "this machine has 0 such devices"),
    ],
)
def test_a_process_for_each_device(
    gpus: int, accelerator: str, devices: str, processes: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    if isinstance(processes, str):
        with pytest.raises(LsamplerError, match=processes):
            _processes.processes_here(accelerator, devices, 1)
    else:
        assert _processes.processes_here(accelerator, devices, 1) == processes


def in_a_team(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "TORCHELASTIC_RUN_ID": "x"}
    for name, value in place.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize("option", [("--devices", "1"), ("--devices", "3"), ("--nodes", "2")])
def test_a_team_of_another_size_than_asked_for_is_refused(
    option: tuple[str, str],
    digits_npy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They would wait for ever for the others, or each train alone into the same folder."""
    in_a_team(monkeypatch, 0)
    arguments = (digits_npy, *SHAPE, "--accelerator", "cpu", *option, "--out", tmp_path / "run")
    assert in_this_process(monkeypatch, *arguments) == 2
    assert "started were 2 processes on each of 1 machines" in capsys.readouterr().err


def test_a_folder_that_machines_do_not_share_is_named(
    digits_npy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_team(monkeypatch, 1)
    with pytest.raises(LsamplerError, match="all machines must share the folder"):
        _training._prepare(
            open_images(digits_npy), Preprocess(8, "centre", 1), tmp_path, strict=False, reuse=True, progress=None
        )


def test_fewer_images_than_processes_are_refused() -> None:
    _training._check_split("digits", 10, 2, 2)
    for held_out in (1, 9):
        with pytest.raises(LsamplerError, match=f"{held_out} held out; --held-out must leave one on both sides"):
            _training._check_split("digits", 10, held_out, 2)
