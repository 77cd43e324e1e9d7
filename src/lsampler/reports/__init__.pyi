"""The public names of this package, and where each is defined."""

from .analysis import Analysis, AnalysisOptions, Judgement
from .comparison import Comparison, Entry, swept

__all__ = [
    "Analysis",
    "AnalysisOptions",
    "Comparison",
    "Entry",
    "Judgement",
    "swept",
]
