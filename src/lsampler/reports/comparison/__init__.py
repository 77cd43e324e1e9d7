"""Comparing strategies on the same real data: cells that are kept, a verdict, and a report."""

from __future__ import annotations

from lsampler.reports.comparison.run import Comparison, Entry, compare, swept

__all__ = ["Comparison", "Entry", "compare", "swept"]
