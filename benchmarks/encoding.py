"""Encoding and decoding as lsampler does them, beside the network alone on batches that are ready.

    python benchmarks/encoding.py [--images .data/img_align_celeba.zip] [--repeats 5]

Both sides take turns in one process with the same weights, layout (channels last) and inference
mode. A ratio of 1 means that reading and preparing images, and writing the store, cost nothing
beside the forward pass; above 1, that the forward pass itself is quicker in the pieces in which
``ConvAutoencoder`` takes a batch. A second row has those pieces on both sides.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lsampler import ConvAutoencoder, encode_images, load_bundle, open_images
from lsampler._decoding import BATCH, decode_stream
from lsampler._images import ImageSource

IMAGES = Path(".data/img_align_celeba.zip")
COUNT = 2000
AT_ONCE = 128
TARGET = 0.9

# Not ru_maxrss: a process starts with its parent's.
PEAK = """
import re, sys
from pathlib import Path
sys.path.insert(0, {here!r})
import encoding
encoding.once({what!r}, {images!r})
print(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""


class First:
    """The first images of a source."""

    def __init__(self, source: ImageSource, count: int) -> None:
        self._source, self.name, self.ids = source, source.name, source.ids[:count]
        self.load: Callable[[int], Any] = getattr(source, "load", source.read)

    def read(self, index: int) -> NDArray[Any]:
        """See :class:`ImageSource`."""
        return self._source.read(index)


def encode_all(autoencoder: ConvAutoencoder, source: ImageSource) -> None:
    """From the files of the images to the finished store."""
    with tempfile.TemporaryDirectory() as folder:
        encode_images(autoencoder, source, Path(folder) / "store.h5", held_out=0, batch_size=AT_ONCE)


def decode_all(autoencoder: ConvAutoencoder, latents: torch.Tensor) -> None:
    """To images as bytes, dropped batch by batch, as a writer of files would."""
    for _ in decode_stream(autoencoder, [latents]):
        pass


def normal_latents(autoencoder: ConvAutoencoder) -> torch.Tensor:
    """Vectors of the latents' size, which is 1 by construction."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.standard_normal((COUNT, autoencoder.dimension), dtype=np.float32))


def once(what: str, images: str) -> None:
    """Ours alone, in a process whose memory is then looked at."""
    autoencoder = load_bundle().autoencoder
    if what == "encode":
        encode_all(autoencoder, First(open_images(images), COUNT))
    else:
        decode_all(autoencoder, normal_latents(autoencoder))


def peak_mb(what: str, images: Path = IMAGES) -> float | None:
    """Of a process that does nothing else, interpreter and PyTorch included; known on Linux."""
    if not Path("/proc/self/status").exists():
        return None
    code = PEAK.format(here=str(Path(__file__).parent), what=what, images=str(images))
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


@torch.inference_mode()
def bare(network: Callable[[torch.Tensor], object], batches: Sequence[torch.Tensor]) -> None:
    """The network alone."""
    for batch in batches:
        network(batch)


def ready_batches(autoencoder: ConvAutoencoder, source: ImageSource) -> list[torch.Tensor]:
    """All images as the encoder takes them."""
    images = np.stack([autoencoder.preprocess(source.read(k)) for k in range(len(source.ids))])
    batches = torch.split(torch.from_numpy(images), AT_ONCE)
    return [batch.contiguous(memory_format=torch.channels_last) for batch in batches]


def seconds(run: Callable[[], object]) -> float:
    """How long one run takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(
    step: str, repeats: int, peak: float | None, ours: Callable[[], object], peers: dict[str, Callable[[], object]]
) -> list[dict[str, Any]]:
    """A row for each peer. A ratio is the peer's time by ours, of runs next to each other."""
    listed = [ours, *peers.values()]
    for run in listed:
        run()  # the first of each pays for what is set up once
    times = [[seconds(run) for run in listed] for _ in range(repeats)]
    rows = []
    for column, peer in enumerate(peers, start=1):
        ratios = [row[column] / row[0] for row in times]
        rows.append(
            {
                "step": step,
                "ours_s": [row[0] for row in times],
                "peer": peer,
                "peer_s": [row[column] for row in times],
                "ratios": ratios,
                "ratio": statistics.median(ratios),
                "target": TARGET if column == 1 else None,
                "peak_mb": peak,
            }
        )
    return rows


def measure_encoding(repeats: int, images: Path) -> list[dict[str, Any]]:
    """Rows for encoding; none without images."""
    if not images.exists():
        print(f"encoding: skipped, {images} is not there; give --images")
        return []
    peak = peak_mb("encode", images)
    autoencoder, source = load_bundle().autoencoder, First(open_images(images), COUNT)
    ready = ready_batches(autoencoder, source)
    return compare(
        f"encode {len(source.ids):,} images",
        repeats,
        peak,
        lambda: encode_all(autoencoder, source),
        {
            "bare forward on ready batches": lambda: bare(autoencoder.encoder, ready),
            "the same in pieces, as ours": lambda: bare(autoencoder.encode, ready),
        },
    )


def measure_decoding(repeats: int) -> list[dict[str, Any]]:
    """Rows for decoding."""
    peak = peak_mb("decode")
    autoencoder = load_bundle().autoencoder
    latents = normal_latents(autoencoder)
    ready = list(torch.split(latents, BATCH))
    return compare(
        f"decode {COUNT:,} latent vectors",
        repeats,
        peak,
        lambda: decode_all(autoencoder, latents),
        {
            "bare decoder": lambda: bare(autoencoder.decoder, ready),
            "the same in pieces, as ours": lambda: bare(autoencoder.decode, ready),
        },
    )


def measure(repeats: int, images: Path = IMAGES) -> list[dict[str, Any]]:
    """Rows for encoding and decoding, with the median of ``repeats`` ratios to each peer."""
    return [*measure_encoding(repeats, images), *measure_decoding(repeats)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=IMAGES)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    table = Table("step", "peer", "ours", "peer's", "ratio", "lowest", "target", "peak MB")
    for row in measure(arguments.repeats, arguments.images):
        times = (f"{statistics.median(row[key]):.2f} s" for key in ("ours_s", "peer_s"))
        ratios = (f"{row['ratio']:.2f}", f"{min(row['ratios']):.2f}", str(row["target"] or ""))
        table.add_row(row["step"], row["peer"], *times, *ratios, f"{row['peak_mb'] or 0:.0f}")
    out = Console()
    out.print(table)
    out.print(f"{torch.get_num_threads()} threads, medians of {arguments.repeats}")


if __name__ == "__main__":
    main()
