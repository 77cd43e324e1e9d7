"""The public names of this package, and where each is defined."""

from .adapter import AdaptedAutoencoder, Layout
from .conv_autoencoder import ConvAutoencoder, ConvConfig
from .decoding import decode_images
from .dense_autoencoder import DenseAutoencoder, DenseConfig
from .encode_ranges import EncodeOptions
from .encoding import encode_to_store
from .foreign_loader import ForeignLoader, file_digest, module_digest
from .in_memory import EncodedStore
from .protocols import Autoencoder, AutoencoderLoader, Decoder, Encoder, item_of
from .signal_autoencoder import SignalAutoencoder, SignalConfig
from .trained_autoencoder import TrainedAutoencoder
from .training.options import TrainingOptions, TrainingResult
from .training.train import train_autoencoder
from .trust import require_trust
from .writing import save_items

__all__ = [
    "AdaptedAutoencoder",
    "Autoencoder",
    "AutoencoderLoader",
    "ConvAutoencoder",
    "ConvConfig",
    "Decoder",
    "DenseAutoencoder",
    "DenseConfig",
    "EncodeOptions",
    "EncodedStore",
    "Encoder",
    "ForeignLoader",
    "Layout",
    "SignalAutoencoder",
    "SignalConfig",
    "TrainedAutoencoder",
    "TrainingOptions",
    "TrainingResult",
    "decode_images",
    "encode_to_store",
    "file_digest",
    "item_of",
    "module_digest",
    "require_trust",
    "save_items",
    "train_autoencoder",
]
