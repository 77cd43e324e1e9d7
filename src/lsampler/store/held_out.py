"""Which items of a data set are held out: the same ones, wherever and whenever they are chosen."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, shortened
from lsampler.showing import About, Shown

RANDOM, LAST, FOLDER = "random", "last", "folder"
SUCH_AS = r"one such as '^([^/]+)/'"
MOST_LETTERS = 1000


@dataclass(frozen=True)
class Division:
    """What is held out of a data set.

    Attributes:
        held_out: (N,) bool, True for every item that is held out.
        words: how many of how many, and how they were chosen.
    """

    held_out: NDArray[np.bool_]
    words: str


@dataclass(frozen=True, repr=False)
class HeldOut(Shown):
    """How many items of a data set are held out, and which.

    Which ones follows from their ids, ``by`` and ``seed`` alone: items, or groups, are ordered by a hash of seed and id
    (BLAKE2b, 64 bits), and the first ones are held out. So training and encoding hold out the same images, a smaller
    ``count`` holds out some of those of a larger one, and an image that is added or removed changes little.

    Attributes:
        count: how many; None for a tenth. Of groups, the number that comes nearest to it is held out, at least one.
        by: ``random`` chooses single items at random, ``last`` the last ones, ``folder`` whole folders at random.
            Anything else is a regular expression that is searched in every id: its first group, or else the whole
            match, names a group of items, and whole groups are chosen at random.
        seed: of the random choice.
    """

    count: int | None = None
    by: str = RANDOM
    seed: int = 0

    @property
    def scheme(self) -> str:
        """How they are chosen, as stores record it, such as ``random, seed 0``."""
        return self.by if self.by == LAST else f"{self.by}, seed {self.seed}"

    def _about(self) -> About:
        count = "a tenth" if self.count is None else f"{self.count:,} items"
        return About("HeldOut", "", [count, shortened(self.scheme)])

    def divide(self, ids: Sequence[str] | int, name: str, what: str = "images") -> Division:
        """Choose what is held out.

        Args:
            ids: of the items; a number of items without ids, which count as ``0``, ``1``, ...
            name: what messages call the data set.
            what: what they call its items.

        Raises:
            LsamplerError: nothing would be left, or there are not two groups.
        """
        total = ids if isinstance(ids, int) else len(ids)
        count = total // 10 if self.count is None else self.count
        if not 0 <= count < total:
            fix = f"`held_out={count}` must leave some to learn from"
            raise LsamplerError(f"{name}: {total} {what}, {count} held out; {fix}")
        if self.seed < 0:
            raise LsamplerError(f"`split_seed={self.seed}`: give a number of at least 0")
        if self.by == LAST:
            return Division(np.arange(total) >= total - count, f"the last {count} of {total} {what}")
        if self.by != RANDOM:
            return self._whole_groups(_groups(ids, self.by, name, what), count, name, what)
        chosen = np.zeros(total, dtype=np.bool_)
        chosen[self._order(map(str, range(ids)) if isinstance(ids, int) else ids, total)[:count]] = True
        return Division(chosen, f"{count} of {total} {what} at random, seed {self.seed}")

    def _whole_groups(self, groups: Sequence[str], count: int, name: str, what: str) -> Division:
        sizes = Counter(groups)
        found = list(sizes)
        if len(found) < 2:
            where = "in one folder" if self.by == FOLDER else f"of one group ('{shortened(found[0])}')"
            fix = f"give another `held_out_by=...`: random, or {SUCH_AS}"
            raise LsamplerError(f"{name}: all {len(groups)} {what} are {where}; {fix}")
        ordered = [found[k] for k in self._order(found, len(found))]
        reached = np.cumsum([sizes[group] for group in ordered[:-1]])
        taken = 1 + int(np.abs(reached - count).argmin()) if count else 0
        held_out = set(ordered[:taken])
        chosen = np.array([group in held_out for group in groups])
        several = f"{int(chosen.sum())} of {len(groups)} {what} in {taken} of {len(found)} groups"
        return Division(chosen, f"{several} by {self.by}, seed {self.seed}")

    def _order(self, names: Iterable[str], count: int) -> NDArray[np.int64]:
        # A hash, not a generator of random numbers: those of NumPy may change from version to version.
        seeded = hashlib.blake2b(f"{self.seed}\n".encode(), digest_size=8)

        def digest(name: str) -> bytes:
            hashed = seeded.copy()
            hashed.update(name.encode("utf-8", "surrogateescape"))
            return hashed.digest()

        return np.argsort(np.frombuffer(b"".join(map(digest, names)), "<u8", count), kind="stable")


def _groups(ids: Sequence[str] | int, by: str, name: str, what: str) -> list[str]:
    """The group of each item."""
    if isinstance(ids, int):
        raise LsamplerError(f"{name}: its {what} have no ids, by which `held_out_by={by}` could group them; use random")
    if by == FOLDER:
        return [identity.rpartition("/")[0] for identity in ids]
    if len(by) > MOST_LETTERS:
        raise LsamplerError(f"`held_out_by={shortened(by)}` is longer than {MOST_LETTERS} letters; give a shorter one")
    try:
        pattern = re.compile(by)
    except (re.error, OverflowError, RecursionError) as error:
        fix = f"give {RANDOM}, {LAST}, {FOLDER} or {SUCH_AS}"
        raise LsamplerError(f"`held_out_by={by}` is no regular expression ({error}); {fix}") from error
    found = [_group(pattern, identity) for identity in ids]
    without = [identity for identity, group in zip(ids, found, strict=True) if group is None]
    if without:
        number = "none" if len(without) == len(ids) else f"{len(ids) - len(without)}"
        example = f"not '{shortened(without[0])}'"
        fix = f"give {RANDOM}, {LAST}, {FOLDER} or a regular expression that finds a group in the name of each"
        raise LsamplerError(f"{name}: `held_out_by={by}` matches {number} of the {len(ids)} {what}, {example}; {fix}")
    return [group for group in found if group is not None]


def _group(pattern: re.Pattern[str], identity: str) -> str | None:
    """The first group of a match, or else the whole match; None without one."""
    match = pattern.search(identity)
    return match and match[1 if pattern.groups else 0]
