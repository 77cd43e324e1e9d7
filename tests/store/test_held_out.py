"""What is held out: at random but always the same, whole groups, or the last items."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsampler import LsamplerError
from lsampler.store import HeldOut

IDS = [f"{letter}/{k:02d}.png" for letter in "abcdefghij" for k in range(10)]


def chosen(held_out: HeldOut, ids: list[str] | int = IDS) -> set[str]:
    names = [str(k) for k in range(ids)] if isinstance(ids, int) else ids
    return {name for name, held in zip(names, held_out.divide(ids, "x").held_out, strict=True) if held}


@pytest.mark.parametrize("seed", [0, 7])
def test_those_of_the_smallest_hashes_are_held_out(seed: int) -> None:
    """As docs/store-format.md says, so that any version and any program finds the same ones."""

    def key(name: str) -> int:
        hashed = hashlib.blake2b(f"{seed}\n{name}".encode(), digest_size=8)
        return int.from_bytes(hashed.digest(), "little")

    assert chosen(HeldOut(23, seed=seed)) == set(sorted(IDS, key=key)[:23])
    assert chosen(HeldOut(3, seed=seed), 40) == set(sorted(map(str, range(40)), key=key)[:3])
    letters = sorted("abcdefghij", key=key)
    assert chosen(HeldOut(30, "folder", seed)) == {name for name in IDS if name[0] in letters[:3]}


@given(st.permutations(IDS), st.integers(0, 98), st.sampled_from(["random", "folder", r"(\d)\."]), st.integers(0, 9))
def test_neither_order_nor_others_decide_and_a_smaller_number_is_part_of_a_larger(
    ids: list[str], count: int, by: str, seed: int
) -> None:
    all_of_them = [chosen(HeldOut(number, by, seed), ids) for number in range(count, 100, 10)]
    assert all_of_them[0] == chosen(HeldOut(count, by, seed))
    assert all(fewer <= more for fewer, more in pairwise(all_of_them))
    fewer_images = [name for name in ids if name != IDS[0]]
    if count and by == "random":
        assert len(chosen(HeldOut(count, by, seed), fewer_images) - all_of_them[0]) <= 1


def test_another_seed_holds_out_others_and_all_are_as_likely() -> None:
    counts = np.sum([HeldOut(10, seed=seed).divide(IDS, "x").held_out for seed in range(300)], axis=0)
    assert counts.sum() == 3000
    assert 10 < counts.min() < counts.max() < 55  # 30 expected, with a standard deviation of 5.2


@pytest.mark.parametrize(
    ("held_out", "words"),
    [
        (HeldOut(), "10 of 100 images at random, seed 0"),
        (HeldOut(7, seed=5), "7 of 100 images at random, seed 5"),
        (HeldOut(7, "last", 5), "the last 7 of 100 images"),
        (HeldOut(0, "folder"), "0 of 100 images in 0 of 10 groups by folder, seed 0"),
        (HeldOut(1, "folder"), "10 of 100 images in 1 of 10 groups by folder, seed 0"),
        (HeldOut(24, "^([^/]+)/"), "20 of 100 images in 2 of 10 groups by ^([^/]+)/, seed 0"),
        (HeldOut(26, "^[a-j]", 3), "30 of 100 images in 3 of 10 groups by ^[a-j], seed 3"),
        (HeldOut(99, "folder"), "90 of 100 images in 9 of 10 groups by folder, seed 0"),
    ],
)
def test_it_is_said_how_many_are_held_out(held_out: HeldOut, words: str) -> None:
    division = held_out.divide(IDS, "x")
    assert division.words == words
    assert int(division.held_out.sum()) == int(words.removeprefix("the last ").split()[0])


def test_the_last_are_the_last() -> None:
    assert HeldOut(7, "last").divide(IDS, "x").held_out.tolist() == [False] * 93 + [True] * 7


def test_groups_stay_whole_whatever_their_sizes() -> None:
    persons = np.random.default_rng(0).zipf(1.5, 300).clip(1, 50)
    ids = [f"p{person}_{k}.png" for k, person in enumerate(persons)]
    held = chosen(HeldOut(60, r"p(\d+)_"), ids)
    in_both = {name.split("_")[0] for name in held} & {name.split("_")[0] for name in ids if name not in held}
    assert held
    assert not in_both


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        (HeldOut(100), "x: 100 images, 100 held out; `held_out=100` must leave some"),
        (HeldOut(-1), "`held_out=-1` must leave some"),
        (HeldOut(100, "last"), "`held_out=100` must leave some"),
        (HeldOut(5, seed=-1), "`split_seed=-1`: give a number of at least 0"),
        (HeldOut(5, "z+"), "x: `held_out_by=z+` matches none of the 100 images, not 'a/00.png'; give random, last"),
        (HeldOut(5, "^a"), "matches 10 of the 100 images, not 'b/00.png'; give"),
        (HeldOut(5, "png|(z)"), "matches none of the 100 images"),
        (HeldOut(5, "png"), "x: all 100 images are of one group ('png'); give another `held_out_by=...`: random"),
        (HeldOut(5, "("), "`held_out_by=(` is no regular expression (missing"),
        (HeldOut(5, "a" * 1001), "is longer than 1000 letters"),
    ],
)
def test_what_cannot_be_held_out_is_one_line(held_out: HeldOut, message: str) -> None:
    with pytest.raises(LsamplerError) as refusal:
        held_out.divide(IDS, "x")
    assert message in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_folders_and_ids_must_be_there_to_group_by() -> None:
    with pytest.raises(LsamplerError, match="all 3 images are in one folder; give another `held_out_by"):
        HeldOut(1, "folder").divide(["a", "b", "c"], "x")
    with pytest.raises(LsamplerError, match="its vectors have no ids, by which `held_out_by=folder`"):
        HeldOut(1, "folder").divide(3, "x", "vectors")
