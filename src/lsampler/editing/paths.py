"""Paths through latent space: what an edit and a walk give, how they are shown, and how they are saved."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from lsampler.models.decoding import decode, item_stream
from lsampler.models.protocols import item_of
from lsampler.models.writing import JPEG_QUALITY, MAX_GRID_IMAGES, save_folder
from lsampler.plots import house_style, save_figure
from lsampler.progress import ProgressLike, shows_progress, track
from lsampler.scoring.subject import Subject
from lsampler.showing import About, Shown, cautions, counted, if_possible, table
from lsampler.store.latent_store import Rows
from lsampler.store.writer import write_store

PICTURES, GIF, PLOTS = (".png", ".jpg", ".jpeg"), ".gif", (".png", ".svg", ".pdf")
ARRAYS, TABLES, STORES = (".npy", ".npz"), (".csv", ".tsv"), (".h5",)
BATCH = 256
SHORTEST, LONGEST = 20, 60_000
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
        return self._shaped(decode(self.subject.decoder(), self._flat))

    @property
    def _flat(self) -> NDArray[np.float32]:
        return self.latents.reshape(-1, self.latents.shape[-1])

    def _shaped(self, flat: NDArray[Any]) -> NDArray[Any]:
        return flat.reshape(*self.latents.shape[:2], *flat.shape[1:])

    def _decoded(self, latents: NDArray[np.float32], progress: ProgressLike = False) -> Iterator[NDArray[Any]]:
        """Batches of items, as they are kept: images (b, H, W, C) uint8, others (b, *shape) float32."""
        import torch

        rows = torch.split(torch.from_numpy(np.ascontiguousarray(latents)), BATCH)
        return iter(track(item_stream(self.subject.decoder(), rows), progress, "decoding", len(latents), len))

    @property
    def step_ids(self) -> list[str]:
        """An id for each vector, the steps of each item in their order, such as ``7.png step 3``."""
        return [f"{name} step {step}" for name in self.ids for step in range(self.latents.shape[1])]

    @shows_progress
    def save(
        self, path: str | os.PathLike[str], *, duration: int = 100, force: bool = False, progress: ProgressLike = None
    ) -> None:
        """Write the paths, complete or not at all; the suffix says as what.

        - images: ``.png`` or ``.jpg``, a picture with a row for each item of an edit, or for each pair of stops;
          ``.gif``, all items side by side, there and back unless the walk is closed; a folder, a file for each step;
        - other items: ``.png``, ``.svg`` or ``.pdf``, a plot; rows of tables also ``.csv`` and ``.tsv``;
        - any items: ``.npy``, the array (n, steps, ...), or ``.npz`` with the arrays ``items``, ``latents`` and
          ``ids``; images are (n, steps, H, W, C) uint8;
        - latent vectors: ``.h5``, a store, which needs no decoder.

        Args:
            path: of the file or folder.
            duration: of each frame of a ``.gif``, in milliseconds.
            force: replace what exists.
            progress: shows the progress; by default bars in a notebook and on a terminal, False for none.

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
        item = item_of(self.subject.decoder())
        check_paths_output(out, item, len(self._flat), duration)
        if item.is_image and not out.suffix:
            save_folder(self._decoded(self._flat), len(self._flat), out, force=force, progress=progress)
            return
        with new_file(out, force=force) as beside:
            items = np.concatenate(list(self._decoded(self._flat, progress)))
            self._write(beside, items, item, duration)

    def _write(self, out: Path, flat: NDArray[Any], item: Item, duration: int) -> None:
        suffix, items = out.suffix.lower(), self._shaped(flat)
        if suffix == GIF:
            self._write_gif(out, items, duration)
        elif suffix == ".npy":
            np.save(out, items, allow_pickle=False)
        elif suffix == ".npz":
            np.savez(out, items=items, latents=self.latents, ids=np.array(self.ids, dtype=np.str_))
        elif item.is_image:
            image_grid(enlarged(flat[self._order]), self.columns or items.shape[1]).save(out, quality=JPEG_QUALITY)
        elif suffix in TABLES:
            self._write_table(out, items, item, "\t" if suffix == ".tsv" else ",")
        else:
            with house_style():
                save_figure(figure_of_paths(items, item, self.ids), out)

    @property
    def _order(self) -> NDArray[np.int64]:
        """The steps of a picture; of a walk each stop is the last of one row and the first of the next."""
        steps = np.arange(len(self._flat) + self.closed)
        if self.columns:
            rows = range(0, len(steps) - 1, self.columns - 1)
            steps = np.concatenate([steps[at : at + self.columns] for at in rows])
        return steps % len(self._flat)

    def _write_gif(self, out: Path, items: NDArray[np.uint8], duration: int) -> None:
        frames = [image_grid(enlarged(items[:, step])) for step in range(items.shape[1])]
        first, *rest = frames if self.closed else [*frames, *frames[-2:0:-1]]
        first.save(out, save_all=True, append_images=rest, duration=duration, loop=0)

    def _write_table(self, out: Path, items: NDArray[np.float32], item: Item, delimiter: str) -> None:
        """A line for each step: the item, the step, and its features."""
        with out.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
            writer.writerow(["item", "step", *item.features])
            for name, rows in zip(self.ids, items.tolist(), strict=True):
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
        item, some = item_of(self.subject.decoder()), self.latents[:SHOWN_ROWS]
        if not item.is_image:
            return paths_html(self.items[:SHOWN_ROWS], item, self.ids[:SHOWN_ROWS], self.what)
        steps = np.unique(np.linspace(0, some.shape[1] - 1, SHOWN_COLUMNS).round().astype(int))
        rows = (np.concatenate(list(self._decoded(path[steps]))) for path in some)
        return Markup().join(grid_html(row, name) for row, name in zip(rows, self.ids, strict=False))


def check_paths_output(out: Path, item: Item, count: int = 0, duration: int = SHORTEST) -> None:
    """Raise LsamplerError unless so many steps of such items can be written under this name."""
    suffix = out.suffix.lower()
    if suffix in STORES or (item.is_image and not suffix):
        return
    if item.is_image:
        ways = {"a picture": PICTURES, "an animation": (GIF,), "arrays": ARRAYS}
    else:
        ways = {"a plot": PLOTS, "arrays": ARRAYS, **({"a table": TABLES} if item.kind == "table" else {})}
    if not any(suffix in suffixes for suffixes in ways.values()):
        words = ", ".join(f"{name} ({', '.join(suffixes)})" for name, suffixes in ways.items())
        more = ", single images (a folder)" if item.is_image else ""
        raise LsamplerError(
            f"{out}: paths of {item.plural} are written as {words}{more} or latent vectors (.h5); choose such a name"
        )
    if suffix == GIF and not SHORTEST <= duration <= LONGEST:
        raise LsamplerError(f"`duration={duration}`: give milliseconds for each frame, {SHORTEST} to {LONGEST:,}")
    if item.is_image and suffix not in ARRAYS and count > MAX_GRID_IMAGES:
        fix = f"give a folder, or at most {MAX_GRID_IMAGES}"
        raise LsamplerError(f"{out}: {count} images are too many for one picture; {fix}")
