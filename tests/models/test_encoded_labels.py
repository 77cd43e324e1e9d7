"""Labels of encoded items: joined as they are encoded, whatever interrupts the work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoded import COMMIT, HELD_OUT, IMAGES, Counting, encode, interrupt
from support import Answer

from lsampler import LsamplerError, open_store
from lsampler.models import ConvAutoencoder
from lsampler.store import Labels, LatentStore

DIGIT, INK = np.arange(IMAGES) % 10, np.linspace(0.5, 9.5, IMAGES)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Labels of all but the first three digits, in another order."""
    lines = [f"{row},{DIGIT[row]},{INK[row]}\n" for row in range(3, IMAGES)]
    (tmp_path / "t.csv").write_text("id,digit,ink\n" + "".join(reversed(lines)))
    return tmp_path / "t.csv"


def check(store: LatentStore) -> None:
    labels = store.labels
    assert labels["digit"].tolist() == [None] * 3 + [str(digit) for digit in DIGIT[3:]]
    np.testing.assert_array_equal(labels["ink"], [*[np.nan] * 3, *INK[3:].astype(np.float32)])


def test_the_command_joins_a_table(
    ok: Callable[..., Answer], tiny_model_file: Path, digits_npy: Path, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "z.h5"
    given = (digits_npy, "--model", tiny_model_file, "--held-out", HELD_OUT, "--labels", table)
    said = ok("encode", *given, "--out", out).out
    assert f"labels: 2 labels of t.csv for {IMAGES - 3:,} of {IMAGES:,} items, by their ids" in said
    assert "without labels: 3 items, such as '0000', '0001', '0002'" in said
    check(open_store(out))
    shown = ok("store", "info", out).out
    assert "10 levels: " in shown
    assert "median 5.0" in shown


@pytest.mark.parametrize("suffix", [".h5", ".shards"])
def test_an_interrupted_run_resumes_with_the_same_labels_alone(
    suffix: str, counting: Counting, digits_npy: Path, table: Path, tmp_path: Path
) -> None:
    out, options = tmp_path / f"z{suffix}", {"shard_images": COMMIT} if suffix == ".shards" else {}
    interrupt(counting, digits_npy, out, 1536, labels=table, **options)
    for other in (None, {"digit": DIGIT}, {"digit": DIGIT, "ink": INK}):
        with pytest.raises(LsamplerError) as refused:
            encode(counting, digits_npy, out, labels=other, **options)
        assert "`force=True` to start over" in str(refused.value)
    assert counting.encoded == 0
    store = encode(counting, digits_npy, out, labels=table, **options).store
    assert counting.encoded == IMAGES - (1536 if suffix == ".h5" else COMMIT)
    check(store)
    assert store.verify() == []


def test_workers_of_a_cluster_are_sent_the_labels_of_their_items(
    cluster: Any, ok: Callable[..., Answer], tiny_model_file: Path, digits_npy: Path, table: Path, tmp_path: Path
) -> None:
    given = (digits_npy, "--model", tiny_model_file, "--held-out", HELD_OUT, "--labels", table)
    ok("encode", *given, "--out", tmp_path / "z.shards", "--cluster", cluster.scheduler_address)
    check(open_store(tmp_path / "z.shards"))


def test_skipped_items_take_their_labels_with_them(tiny_model: ConvAutoencoder, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((9, 8, 8)).astype(np.float32)
    images[4] = np.nan
    np.save(tmp_path / "x.npy", images)
    store = encode(tiny_model, tmp_path / "x.npy", tmp_path / "z.h5", held_out=2, labels={"v": np.arange(9) / 2}).store
    assert store.labels["v"].tolist() == [0, 0.5, 1, 1.5, 2.5, 3, 3.5, 4]


def test_appended_items_bring_their_own_labels(
    tiny_model: ConvAutoencoder, digits_npy: Path, table: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "more.npy", np.random.default_rng(0).random((20, 8, 8)).astype(np.float32))
    encode(tiny_model, digits_npy, tmp_path / "z.h5", labels=table)
    more: dict[str, Any] = {"labels": {"digit": np.array(["odd", "0"] * 10)}, "append": True}
    store = encode(tiny_model, tmp_path / "more.npy", tmp_path / "z.h5", held_out=2, **more).store
    check(_part(store, 0, IMAGES))
    assert store.labels["digit"].tolist()[IMAGES:] == ["odd", "0"] * 10
    assert np.isnan(store.labels["ink"][IMAGES:]).all()


def _part(store: LatentStore, start: int, stop: int) -> Any:
    class Part:
        labels: Labels = store.labels_of(start, stop)

    return Part


def test_refusals_of_the_command_write_nothing(
    cli: Callable[..., Answer], tiny_model_file: Path, digits_npy: Path, table: Path, tmp_path: Path
) -> None:
    given = ("encode", digits_npy, "--model", tiny_model_file, "--out", tmp_path / "z.h5", "--labels")
    for settings, message in (
        (("folders",), "none of its items is in a folder"),
        ((table, "--label-kind", "ink"), "--label-kind ink: write it as NAME=KIND"),
        ((table, "--label-kind", "inc=binary"), "t.csv: holds no label 'inc'; did you mean 'ink'?"),
        ((table, "--id-column", "ink"), "name the column of ids with --id-column"),
        ((tmp_path / "no.csv",), "no.csv: no such table of labels; check the path"),
    ):
        answer = cli(*given, *settings)
        assert answer.code == 2
        assert message in answer.err
        assert len(answer.err.strip().splitlines()) == 1
    assert not (tmp_path / "z.h5").exists()
