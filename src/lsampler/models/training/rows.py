"""The items of a training that are no images: checked, and the mean and standard deviation of their values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lsampler.data.item_rows import ItemRows, quoted
from lsampler.data.items import Item
from lsampler.errors import LsamplerError, shortened
from lsampler.models.training.options import Plan
from lsampler.models.training.prepared import PreparedItems
from lsampler.progress import ProgressLike, track

VALUES_AT_ONCE = 1 << 21
CONSTANT = 1e-6
"""A value whose standard deviation is below this share of its size varies by the rounding of single precision only."""


class PreparedRows(PreparedItems):
    """Items (N, *shape) float32 in their own units; missing values are refused."""

    dtype = np.float32

    def __init__(self, source: ItemRows, out: Path, plan: Plan, *, resume: bool, progress: ProgressLike) -> None:
        super().__init__(source, out, plan, resume=resume, progress=progress)
        self._rows, self.item = source, source.item
        self.what, self.shape = source.item.plural, source.item.shape

    def _wanted(self) -> dict[str, Any]:
        return self._from_source() | {"item": self.item.as_dict()}

    def _write(self, handle: IO[bytes]) -> dict[str, str]:
        total, step = len(self._rows.ids), self._step
        missing = np.zeros(self.shape, np.int64)
        first: int | None = None
        starts = range(0, total, step)
        parts = (self._rows.rows(start, min(start + step, total)) for start in starts)
        for start, rows in zip(starts, track(parts, self._progress, f"preparing {self.what}", total, len), strict=True):
            wrong = ~np.isfinite(rows)
            if first is None and wrong.any():
                first = start + int(np.flatnonzero(wrong.reshape(len(rows), -1).any(axis=1))[0])
            missing += wrong.sum(axis=0)
            handle.write(rows.tobytes())
        if first is not None:
            raise LsamplerError(self._complaint(missing, first))
        return {}

    @property
    def _step(self) -> int:
        return max(1, VALUES_AT_ONCE // math.prod(self.shape))

    def _complaint(self, missing: NDArray[np.int64], first: int) -> str:
        """Where values are missing, and what to do."""
        name, item = self._rows.name, self.item
        where = f"{name}: NaN or infinite values, the first in {one(item)} '{shortened(self._rows.ids[first])}'"
        if item.kind != "table":
            return f"{where}; leave out such {self.what}, or fill in what is missing"
        columns = [item.features[column] for column in np.flatnonzero(missing)]
        most = int(missing.max())
        fix = "fill them in, leave out these rows"
        if self._rows.raw.names:
            fix += f", or leave out the column, by `dataset='!{shortened(columns[0])}'`"
        count = f"{most} of {len(self._rows.ids)} rows" if len(columns) == 1 else f"up to {most} rows each"
        return f"{where}; they are in {quoted(columns)} ({count}): {fix}"

    def scaling(self, *, per_channel: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of the training items, of each value or of each channel; 0 for a constant.

        Raises:
            LsamplerError: nothing varies.
        """
        axes = (0, *range(2, len(self.shape) + 1)) if per_channel else (0,)
        mean = self._mean_of(lambda rows: rows, axes)
        variance = self._mean_of(lambda rows: (rows - mean) ** 2, axes)
        scale = np.sqrt(variance)
        scale[scale <= CONSTANT * np.abs(mean)] = 0.0
        if not scale.any():
            raise LsamplerError(
                f"{self._rows.name}: all {len(self.items) - int(self._held_out.sum())} training {self.what} are equal; "
                f"give {self.what} that differ"
            )
        return mean[0], scale[0]

    def _mean_of(self, of: Any, axes: tuple[int, ...]) -> NDArray[np.float64]:
        total = np.zeros((1, *self.shape))
        chosen = np.flatnonzero(~self._held_out)
        for start in range(0, len(chosen), self._step):
            rows = self.items[chosen[start : start + self._step]].astype(np.float64)
            total += of(rows).sum(axis=0, keepdims=True)
        found: NDArray[np.float64] = (total / len(chosen)).mean(axis=axes, keepdims=True)
        return found

    def constants(self, scale: NDArray[np.float64]) -> str:
        """A line that names the features or channels that do not vary; empty if all do."""
        still = np.flatnonzero(scale.reshape(len(scale), -1).max(axis=1) == 0)
        names = [self.item.features[place] for place in still]
        if not names:
            return ""
        return f"the same in all training {self.what}, and decoded as such: {quoted(names)}"


def one(item: Item) -> str:
    """What a message calls one item."""
    return {"table": "row"}.get(item.kind, item.kind)
