"""The public names of this package, and where each is defined."""

from .exchange import export_latents, import_latents
from .file_store import FileStore
from .held_out import HeldOut
from .label_tables import LabelTable, read_labels
from .labelling import label_store
from .labels import Label, Labels
from .latent_store import LatentStore
from .memory_store import MemoryStore
from .opening import as_reference
from .reference import Reference
from .sharded_store import ShardedStore
from .sharding import merge_store, shard_store
from .writer import StoreWriter

__all__ = [
    "FileStore",
    "HeldOut",
    "Label",
    "LabelTable",
    "Labels",
    "LatentStore",
    "MemoryStore",
    "Reference",
    "ShardedStore",
    "StoreWriter",
    "as_reference",
    "export_latents",
    "import_latents",
    "label_store",
    "merge_store",
    "read_labels",
    "shard_store",
]
