"""Another encoder as the judge of conditions: its latents of the same items, and probes of their labels."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler import LsamplerError, load_autoencoder, open_store
from lsampler.data import Preprocess
from lsampler.models import file_digest, item_of
from lsampler.scoring import Subject
from lsampler.store import LatentStore, MemoryStore, Reference

NO_LATENTS = (
    "the items of {} are not at hand, so the judge cannot learn from them; give `judge_store=...`, latents of the same "
    "items with labels, encoded by the judge"
)


class Judge:
    """Another encoder, and what it makes of the items that the reference was encoded from.

    Args:
        model: its name or file.
        path: a store of its latents of the same items, with the same labels; None encodes the items that the reference
            knows.
        real: what is judged: a model and its reference.
        whole: the reference without its condition.

    Raises:
        LsamplerError: the model or the store cannot be opened, the judge takes other items, or the items are unknown.
    """

    def __init__(self, model: str, path: str | None, real: Subject, whole: Reference) -> None:
        self._autoencoder, own = load_autoencoder(model), real.decoder()
        wanted, made = item_of(self._autoencoder), item_of(own)
        if self._autoencoder.fingerprint == own.fingerprint:
            raise LsamplerError(f"`judge={model}`: is the model itself; give another encoder of the same items")
        if wanted.is_image != made.is_image or not (wanted.is_image or wanted.shape == made.shape):
            raise LsamplerError(
                f"`judge={model}`: takes {wanted.plural_words}, and the model makes {made.plural_words}"
            )
        self._item = wanted
        self.store = self._opened(path) if path else self._encoded(whole)

    def latents_of(self, items: NDArray[Any]) -> NDArray[np.float32]:
        """What the judge makes of items (n, ...), as :attr:`lsampler.scoring.Samples.items` holds them: (n, D)."""
        found: NDArray[np.float32] = self._encode(self._fitting(items))
        return found

    def _fitting(self, items: NDArray[Any]) -> NDArray[Any]:
        """Items in the judge's size: images are resized as those that are encoded."""
        if not self._item.is_image:
            return items
        channels, height, width = self._item.shape
        resize = Preprocess((height, width), crop="none", channels=channels)
        return np.stack([resize.pixels(image) for image in items])

    @cached_property
    def _encode(self) -> Any:
        return Subject.of(np.zeros((2, self._autoencoder.dimension), np.float32), self._autoencoder).encode

    def _opened(self, path: str) -> LatentStore:
        found = open_store(path)
        if found.fingerprint not in (None, self._autoencoder.fingerprint):
            raise LsamplerError(f"`judge_store={path}`: its latents come from another encoder than the judge")
        if not found.label_columns:
            raise LsamplerError(f"`judge_store={path}`: holds no labels; add them with 'lsampler store label'")
        return found

    def _encoded(self, whole: Reference) -> LatentStore:
        """The judge's latents of the items that a store in memory knows, with the labels of that store."""
        if not isinstance(whole, LatentStore) or whole.items is None:
            raise LsamplerError(NO_LATENTS.format(whole.name))
        (low, high), parts = whole.items.item.value_range, []
        for split in ("train", "held-out"):
            items = whole.items.read(split)
            if self._item.is_image:
                items = np.rint((items - low) / (high - low) * 255).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
            parts.append(self.latents_of(items) if len(items) else np.empty((0, self._autoencoder.dimension)))
        return MemoryStore(*parts, labels=whole.labels, name=f"{whole.name}, encoded by the judge")


def judge_digests(model: str | None, path: str | None) -> Sequence[str]:
    """Digests of a judge and of the store of its latents. Raises LsamplerError if the judge cannot be opened."""
    if model is None:
        return []
    store = Path(path or "")
    files = [store] if path and store.is_file() else sorted(store.rglob("*.h5")) if path else []
    return [load_autoencoder(model).fingerprint, *([file_digest(files)] if files else [])]
