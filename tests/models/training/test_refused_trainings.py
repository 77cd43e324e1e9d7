"""Trainings that are refused, in one line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support import Answer
from trained import CONFIG, FILES, files, interrupt_after, train

from lsampler import LsamplerError


def test_a_folder_that_holds_a_training_is_refused(trained: tuple[Path, Any], digits_npy: Path) -> None:
    out, _ = trained
    before = {name: (out / name).read_bytes() for name in FILES}
    same = {"epochs": 8, "held_out": 297, "held_out_by": "last", "flip": False, "batch_size": 64, "learning_rate": 1e-2}
    with pytest.raises(LsamplerError, match=r"holds a training already; pass `resume=True`"):
        train(digits_npy, out)
    with pytest.raises(LsamplerError, match="finished all 8 epochs; to extend the training, pass `epochs=16`, say"):
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
        ({"batch_size": 50}, "batch size 60, not 50"),
        ({"learning_rate": 1e-4}, "learning rate"),
        ({"held_out": 100}, "held out 60, not 100"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"split_seed": 1}, "split seed 0, not 1"),
        ({"held_out_by": "last"}, "held out by random, not last"),
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
    for held_out in (0, 300, 5000):
        with pytest.raises(LsamplerError, match=f"`held_out={held_out}`: of 300 images, hold out at least 1"):
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
        (
            "--size 8 --filters 8,16 --grey --held-out 300",
            False,
            ["--held-out 300: of 300 images, hold out at least 1 and at most 299"],
        ),
        ("--size 8 --filters 8,16 --grey --precision nope", False, ["--precision nope"]),
        ("--epochs 0", False, ["--epochs"]),
        (f"{DEVICES} 0", False, ["--devices 0"]),
        (f"{DEVICES} 0,1", False, ["--devices 0,1"]),  # which one is a question of GPUs
        (f"{DEVICES} 2 --held-out 299", False, ["--held-out 299: of 300 images, hold out at least 1 and at most 298"]),
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


def test_weights_of_another_shape_in_a_checkpoint_are_one_line(few_npy: Path, tmp_path: Path) -> None:
    """Regression: the checkpoint is a readable archive, and only the network notices."""
    out = tmp_path / "run"
    train(few_npy, out, epochs=3, report=interrupt_after("epoch 1/"))
    checkpoint = out / "checkpoints" / "last.ckpt"
    saved = torch.load(checkpoint, weights_only=True)
    key, tensor = next(iter(saved["state_dict"].items()))
    torch.save({**saved, "state_dict": {**saved["state_dict"], key: tensor[:1]}}, checkpoint)
    with pytest.raises(LsamplerError, match=rf"^{re.escape(str(checkpoint))}: not a readable checkpoint.*\Z"):
        train(few_npy, out, epochs=3, resume=True)
