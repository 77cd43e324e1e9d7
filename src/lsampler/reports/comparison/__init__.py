"""Comparing strategies on the same real data: entries, a verdict in words, plots, and the report's page."""

from __future__ import annotations

from lsampler.reports.comparison.entries import Entry, swept
from lsampler.reports.comparison.run import Comparison, compare

__all__ = ["Comparison", "Entry", "compare", "swept"]
