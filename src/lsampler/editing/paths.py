"""Paths through latent space: what an edit and a walk give, how they are shown, and how they are saved."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lsampler.data.items import Item
from lsampler.data.pictures import enlarged, grid_html, image_grid
from lsampler.editing.figures import figure_of_paths, paths_html
from lsampler.errors import LsamplerError
from lsampler.files import check_output, new_file
from lsampler.models.decoding import decode
from lsampler.models.writing import JPEG_QUALITY, MAX_GRID_IMAGES, save_folder
from lsampler.plots import house_style, save_figure
from lsampler.scoring.subject import Subject
from lsampler.showing import About, Shown, cautions, counted, if_possible, table
from lsampler.store.latent_store import Rows
from lsampler.store.writer import write_store

PICTURES, PLOTS, ARRAYS, TABLES, STORES = (".png", ".jpg", ".jpeg"), (".png", ".svg", ".pdf"), (".npy", ".npz"), (".csv", ".tsv"), (".h5",)
GIF = ".gif"
SHORTEST, LONGEST = 20, 60_000
MOST_FRAMES = 10_000
SHOWN_ROWS, SHOWN_COLUMNS = 4, 12
"""Items and steps that a notebook shows."""


@dataclass(frozen=True)
class Moved:
    """How far an edit moved one label of one item.

    Attributes:
        id: of the item.
        label: its name, or that of a level such as ``digit=7``.
        before: the label's reading of the item, in units of the label; of binary labels and levels nearly a share.
        after: that at full strength.
        spreads: the difference in standard deviations of the reading over the data.
        distance: how far the edit moved the latent vector in all, in whitened coordinates.
    """

    id: str
    label: str
    before: float
    after: float
    spreads: float
    distance: float


@dataclass(frozen=True, repr=False)
class LatentPaths(Shown):
    """Paths of latent vectors, one for each item of an edit, or a single one through the stops of a walk.

    Attributes:
        latents: (n, steps, D) float32.
        ids: (n,) what the items are called.
        what: what was done, such as ``Smiling=1``.
        subject: the reference and the autoencoder.
        moved: how far each label of each item was moved; empty for walks.
        columns: how many steps stand in a row of a picture.
        closed: whether the last step leads to the first.
        notes: what a user should know.
    """

    latents: NDArray[np.float32]
    ids: Sequence[str]
    what: str
    subject: Subject
    moved: Sequence[Moved] = ()
    columns: int = 0
    closed: bool = False
    notes: Sequence[str] = ()

    @cached_property
    def items(self) -> NDArray[np.float32]:
        """The decoded items (n, steps, *shape), as :func:`lsampler.decode` gives them.

        Raises:
            LsamplerError: there is no decoder.
        """
        found = decode(self.subject.decoder(), self._flat)
        return found.reshape(*self.latents.shape[:2], *found.shape[1:])

    @property
    def _flat(self) -> NDArray[np.float32]:
        return self.latents.reshape(-1, self.latents.shape[-1])

    @property
    def step_ids(self) -> list[str]:
        """An id for each vector, the steps of each item in their order, such as ``7.png step 3``."""
        return [f"{name} step {step}" for name in self.ids for step in range(self.latents.shape[1])]

    def _pixels(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        assert self.subject.decode is not None  # noqa: S101 - the item is known
        return np.asarray(self.subject.decode(latents))

    def save(self, path: str | os.PathLike[str], *, duration: int = 100, force: bool = False) -> None:
        """Write the paths, complete or not at all; the suffix says as what.

        - images: ``.png`` or ``.jpg``, a picture with a row for each item of an edit, or for each pair of stops; ``.gif``,
          all items side by side, there and back unless the walk is closed; a folder with a file for each step;
        - other items: ``.png``, ``.svg`` or ``.pdf``, a plot; rows of tables also ``.csv`` and ``.tsv``;
        - any items: ``.npy``, the array (n, steps, *shape), or ``.npz`` with the arrays ``items``, ``latents`` and ``ids``;
        - latent vectors: ``.h5``, a store, which needs no decoder.

        Args:
            path: of the file or folder.
            duration: of each frame of a ``.gif``, in milliseconds.
            force: replace what exists.

        Raises:
            LsamplerError: a suffix that does not suit the items, there is no decoder, or the output exists.
        """
        out = Path(path)
        check_output(out, force=force)
        if out.suffix.lower() in STORES:
            attributes = {"kind": "samples", "sampler": self.what, "reference": self.subject.reference.name}
            attributes |= {"encoder": self.subject.fingerprint} if self.subject.fingerprint else {}
            write_store(out, self.latents.shape[-1], [Rows(self._flat, self.step_ids)], attributes, force=force)
            return
        item = self.subject.decoder() and self.subject.item
        assert item is not None  # noqa: S101 - of a decoder
        check_paths_output(out, item, len(self._flat), duration)
        if item.is_image and not out.suffix:
            batches = (self._pixels(each) for each in self.latents)
            save_folder(batches, len(self._flat), out, force=force)
            return
        with new_file(out, force=force) as beside:
            self._write(beside, item, duration)

    def _write(self, out: Path, item: Item, duration: int) -> None:
        suffix = out.suffix.lower()
        if suffix == GIF:
            self._write_gif(out, duration)
        elif suffix in ARRAYS:
            self._write_arrays(out)
        elif item.is_image:
            image_grid(enlarged(self._pixels(self._rows)), self._columns).save(out, quality=JPEG_QUALITY)
        elif suffix in TABLES:
            self._write_table(out, item, "\t" if suffix == ".tsv" else ",")
        else:
            with house_style():
                save_figure(figure_of_paths(self.items, item, self.ids), out)

    @property
    def _columns(self) -> int:
        return self.columns or self.latents.shape[1]

    @property
    def _rows(self) -> NDArray[np.float32]:
        """The vectors of a picture; of a walk each stop is the last of one row and the first of the next."""
        if not self.columns:
            return self._flat
        path, step = self._flat, self.columns - 1
        path = np.concatenate([path, path[:1]]) if self.closed else path
        return np.concatenate([path[at : at + self.columns] for at in range(0, len(path) - 1, step)])

    def _write_gif(self, out: Path, duration: int) -> None:
        order = list(range(self.latents.shape[1]))
        order += [] if self.closed else order[-2:0:-1]
        known = [image_grid(enlarged(self._pixels(self.latents[:, step]), ), None) for step in range(self.latents.shape[1])]
        first, *rest = [known[step] for step in order]
        first.save(out, save_all=True, append_images=rest, duration=duration, loop=0)

    def _write_arrays(self, out: Path) -> None:
        if out.suffix.lower() == ".npy":
            with out.open("wb") as stream:
                np.save(stream, self.items, allow_pickle=False)
            return
        with out.open("wb") as stream:
            np.savez(stream, items=self.items, latents=self.latents, ids=np.array(self.ids, dtype=np.str_))

    def _write_table(self, out: Path, item: Item, delimiter: str) -> None:
        """A line for each step: the item, the step, and its features."""
        with out.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
            writer.writerow(["item", "step", *item.features])
            for name, rows in zip(self.ids, self.items.tolist(), strict=True):
                writer.writerows([name, step, *(f"{value:.9g}" for value in row)] for step, row in enumerate(rows))

    def as_dict(self) -> dict[str, Any]:
        """What was done, and how far each label and vector was moved, as plain values."""
        return {
            "what": self.what,
            "reference": self.subject.reference.name,
            "ids": list(self.ids),
            "steps": self.latents.shape[1],
            "moved": [dict(vars(one)) for one in self.moved],
            "notes": list(self.notes),
        }

    def _about(self) -> About:
        n, steps, dimension = self.latents.shape
        facts = [self.what, counted(n, "path"), counted(steps, "step"), f"D = {dimension}"]
        return About("LatentPaths", ", ".join(self.ids[:3]), facts)

    def _parts(self) -> Iterator[Markup]:
        yield from cautions(self.notes)
        if self.moved:
            heads = ["item", "label", "reading before", "after", "spreads", "distance"]
            rows = [
                [m.id, m.label, f"{m.before:.2f}", f"{m.after:.2f}", f"{m.spreads:+.1f}", f"{m.distance:.1f}"]
                for m in self.moved[:SHOWN_COLUMNS]
            ]
            yield table(heads, rows)
        if self.subject.autoencoder is not None:
            yield from if_possible(self._shown)

    def _shown(self) -> Markup:
        item = self.subject.item
        assert item is not None  # noqa: S101 - there is an autoencoder
        if not item.is_image:
            return paths_html(self.items[:SHOWN_ROWS], item, self.ids[:SHOWN_ROWS], self.what)
        steps = np.unique(np.linspace(0, self.latents.shape[1] - 1, SHOWN_COLUMNS).round().astype(int))
        return Markup().join(
            grid_html(self._pixels(path[steps]), name)
            for path, name in zip(self.latents[:SHOWN_ROWS], self.ids, strict=False)
        )


def check_paths_output(out: Path, item: Item, count: int, duration: int = 100) -> None:
    """Raise LsamplerError unless so many steps of such items can be written under this name."""
    suffix = out.suffix.lower()
    if suffix in STORES:
        return
    table_like = item.kind == "table"
    if item.is_image:
        known: Mapping[str, str] = {"a picture": ", ".join(PICTURES), "an animation": GIF, "arrays": ", ".join(ARRAYS)}
        allowed: tuple[str, ...] = ("", *PICTURES, GIF, *ARRAYS)
        more = ", or a folder for single images"
    else:
        known = {"a plot": ", ".join(PLOTS), "arrays": ", ".join(ARRAYS)}
        known = {**known, "a table": ", ".join(TABLES)} if table_like else known
        allowed = (*PLOTS, *ARRAYS, *(TABLES if table_like else ()))
        more = ""
    if suffix not in allowed:
        ways = ", ".join(f"{name} ({suffixes})" for name, suffixes in known.items())
        raise LsamplerError(f"{out}: paths of {item.plural} are written as {ways} or latent vectors (.h5){more}; choose such a name")
    if suffix == GIF and not SHORTEST <= duration <= LONGEST:
        raise LsamplerError(f"`duration={duration}`: give milliseconds for each frame, {SHORTEST} to {LONGEST:,}")
    if suffix in (*PICTURES, GIF) and item.is_image and count > MAX_GRID_IMAGES:
        raise LsamplerError(f"{out}: {count} images are too many for one picture; give a folder, or at most {MAX_GRID_IMAGES}")
