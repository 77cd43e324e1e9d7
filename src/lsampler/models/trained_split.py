"""What training held out of the same images, as the file of the model records it."""

from __future__ import annotations

from lsampler.data.image_sources import source_digest
from lsampler.models.encode_ranges import Source
from lsampler.models.protocols import Autoencoder
from lsampler.store.held_out import LAST, Division, HeldOut


def trained_split(autoencoder: Autoencoder, source: Source) -> HeldOut | None:
    """What was held out when the autoencoder was trained on these images; None if it was trained on others."""
    record = getattr(autoencoder, "training_record", {})
    if record.get("source_digest") != source_digest(source.ids):
        return None
    first = record.get("first_held_out")
    if first in source.ids:  # version 0.1 held out the last of those images that it could use
        return HeldOut(len(source.ids) - source.ids.index(first), LAST)
    count, by, seed = (record.get(key) for key in ("held_out", "held_out_by", "split_seed"))
    if isinstance(count, int) and isinstance(by, str) and isinstance(seed, int):
        return HeldOut(count, by, seed)
    return None


def split_for(
    autoencoder: Autoencoder,
    source: Source,
    count: int | None = None,
    by: str | None = None,
    seed: int | None = None,
) -> tuple[HeldOut, str]:
    """What to hold out of images, and why in words.

    What is not given is that of the training on the same images; without such a training, a tenth of the images is
    held out at random, with seed 0.
    """
    trained = trained_split(autoencoder, source)
    known = trained or HeldOut()
    split = HeldOut(
        known.count if count is None else count, known.by if by is None else by, known.seed if seed is None else seed
    )
    if split == trained:
        return split, "as in training"
    return split, "" if trained or count is not None else "a tenth; change it with `held_out=...`"


def leak(autoencoder: Autoencoder, source: Source, division: Division) -> str:
    """A warning if images are held out that the autoencoder was trained on, or may have been; or an empty text."""
    trained = trained_split(autoencoder, source)
    if trained:
        seen = int((division.held_out & ~trained.divide(source.ids, source.name).held_out).sum())
        fix = "leave out `held_out=...`, `held_out_by=...` and `split_seed=...` to hold out those of the training"
        return f"{seen} of the {int(division.held_out.sum())} held-out images were trained on; {fix}" if seen else ""
    record = getattr(autoencoder, "training_record", {})
    if record.get("source") == source.name and division.held_out.any():
        return (
            f"the model was trained on other images of the name {source.name}: images that it was trained on may be "
            "among those held out"
        )
    return ""
