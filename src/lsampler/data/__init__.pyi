"""The public names of this package, and where each is defined."""

from .any_items import ItemHints, open_any
from .batches import ImageBatches
from .image_sources import open_images
from .item_rows import open_items
from .items import Item
from .preprocess import Preprocess

__all__ = [
    "ImageBatches",
    "Item",
    "ItemHints",
    "Preprocess",
    "open_any",
    "open_images",
    "open_items",
]
