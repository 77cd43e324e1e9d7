"""The public names of this package, and where each is defined."""

from .dask_cluster import on_cluster
from .frechet import frechet_distance, moments_of
from .memory import require_memory
from .neighbours import Balls, Neighbours, ball_counts, mutual_ball_counts, nearest_neighbours
from .one_thread import one_thread
from .seeded_blocks import Block

__all__ = [
    "Balls",
    "Block",
    "Neighbours",
    "ball_counts",
    "frechet_distance",
    "moments_of",
    "mutual_ball_counts",
    "nearest_neighbours",
    "on_cluster",
    "one_thread",
    "require_memory",
]
