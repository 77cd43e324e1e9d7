"""Comparing strategies on the same real data: the run, a verdict in words, plots, and the report's page."""

from __future__ import annotations

from lsampler.reports.comparison.run import Comparison, Report, compare
from lsampler.scoring.entries import Entry, swept

__all__ = ["Comparison", "Entry", "Report", "compare", "swept"]
