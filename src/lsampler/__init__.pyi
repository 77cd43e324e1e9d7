"""The public names, and where each is defined."""

from .bundles.bundle import Bundle, build_bundle, bundled, load_bundle, load_safetensors_autoencoder
from .choosing import Choice, choose
from .compute.dask_cluster import on_cluster
from .compute.frechet import frechet_distance, moments_of
from .compute.memory import require_memory
from .compute.neighbours import Balls, Neighbours, ball_counts, mutual_ball_counts, nearest_neighbours
from .compute.one_thread import one_thread
from .compute.seeded_blocks import Block
from .data.any_items import ItemHints, open_any
from .data.batches import ImageBatches
from .data.image_sources import open_images
from .data.item_rows import open_items
from .data.items import Item
from .data.preprocess import Preprocess
from .errors import LsamplerError, nearest_name
from .extras import require_extra
from .models.adapt import adapt
from .models.adapter import AdaptedAutoencoder, Layout
from .models.conv_autoencoder import ConvAutoencoder, ConvConfig
from .models.decoding import decode, decode_images
from .models.dense_autoencoder import DenseAutoencoder, DenseConfig
from .models.encode_ranges import EncodeOptions
from .models.encoding import encode_images
from .models.foreign_loader import ForeignLoader, file_digest, module_digest
from .models.in_memory import EncodedStore, encode
from .models.protocols import Autoencoder, AutoencoderLoader, Decoder, Encoder, item_of
from .models.signal_autoencoder import SignalAutoencoder, SignalConfig
from .models.trained_autoencoder import TrainedAutoencoder
from .models.training.options import TrainingOptions, TrainingResult
from .models.training.train import train_autoencoder
from .models.trust import require_trust
from .models.writing import save_grid, write_items
from .plugins.by_name import (
    load_autoencoder,
    load_core,
    load_evaluator,
    load_fitted,
    load_sampler,
    plugin_names,
    recommended_sampler,
)
from .plugins.hookspecs import API_VERSION, hookimpl, offers
from .reports.analysis import Analysis, AnalysisOptions, Judgement, analyze
from .reports.comparison import Comparison, Entry, compare, swept
from .samplers.base import LatentSampler
from .samplers.fitted import State
from .samplers.sample_store import DrawOptions, sample_store
from .samplers.whitened import WhitenedReference, WhitenedSampler
from .scoring.core import Core
from .scoring.evaluation import Evaluation, evaluate
from .scoring.evaluator import Evaluator
from .scoring.row_cache import Row
from .scoring.samples import RealData, Samples
from .scoring.scores import Metric, Score, bootstrap_score, normal_score, share_score
from .scoring.statistics_reference import StatisticsReference
from .scoring.subject import Subject
from .scoring.verdict import Verdict
from .statistics.half_widths import FWHM_PER_SIGMA, HalfWidth
from .statistics.pca import SINGLE_PRECISION, Pca, Whitening
from .statistics.statistics import Statistics
from .store.exchange import export_latents, import_latents
from .store.file_store import FileStore
from .store.held_out import HeldOut
from .store.latent_store import LatentStore
from .store.memory_store import MemoryStore
from .store.opening import as_reference, open_store
from .store.reference import Reference
from .store.sharded_store import ShardedStore
from .store.sharding import merge_store, shard_store
from .store.writer import StoreWriter

__version__: str

__all__ = [
    "API_VERSION",
    "FWHM_PER_SIGMA",
    "AdaptedAutoencoder",
    "Analysis",
    "AnalysisOptions",
    "Autoencoder",
    "AutoencoderLoader",
    "Balls",
    "Block",
    "Bundle",
    "Choice",
    "Comparison",
    "ConvAutoencoder",
    "ConvConfig",
    "Core",
    "Decoder",
    "DenseAutoencoder",
    "DenseConfig",
    "DrawOptions",
    "EncodeOptions",
    "EncodedStore",
    "Encoder",
    "Entry",
    "Evaluation",
    "Evaluator",
    "FileStore",
    "ForeignLoader",
    "HalfWidth",
    "HeldOut",
    "ImageBatches",
    "Item",
    "ItemHints",
    "Judgement",
    "LatentSampler",
    "LatentStore",
    "Layout",
    "LsamplerError",
    "MemoryStore",
    "Metric",
    "Neighbours",
    "Pca",
    "Preprocess",
    "RealData",
    "Reference",
    "SINGLE_PRECISION",
    "Row",
    "Samples",
    "Score",
    "ShardedStore",
    "SignalAutoencoder",
    "SignalConfig",
    "State",
    "Statistics",
    "StatisticsReference",
    "StoreWriter",
    "Subject",
    "TrainedAutoencoder",
    "TrainingOptions",
    "TrainingResult",
    "Verdict",
    "WhitenedReference",
    "WhitenedSampler",
    "Whitening",
    "__version__",
    "adapt",
    "analyze",
    "as_reference",
    "ball_counts",
    "bootstrap_score",
    "build_bundle",
    "bundled",
    "choose",
    "compare",
    "decode",
    "decode_images",
    "encode",
    "encode_images",
    "evaluate",
    "export_latents",
    "file_digest",
    "frechet_distance",
    "hookimpl",
    "import_latents",
    "item_of",
    "load_autoencoder",
    "load_bundle",
    "load_core",
    "load_evaluator",
    "load_fitted",
    "load_safetensors_autoencoder",
    "load_sampler",
    "merge_store",
    "module_digest",
    "moments_of",
    "mutual_ball_counts",
    "nearest_name",
    "nearest_neighbours",
    "normal_score",
    "offers",
    "on_cluster",
    "one_thread",
    "open_any",
    "open_images",
    "open_items",
    "open_store",
    "plugin_names",
    "recommended_sampler",
    "require_extra",
    "require_memory",
    "require_trust",
    "sample_store",
    "save_grid",
    "shard_store",
    "share_score",
    "swept",
    "train_autoencoder",
    "write_items",
]
