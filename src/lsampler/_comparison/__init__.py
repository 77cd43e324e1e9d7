"""Comparing strategies on the same real data: cells that are kept, a verdict, and a report."""

from __future__ import annotations

from lsampler._comparison._run import Comparison, Entry, compare, swept

__all__ = ["Comparison", "Entry", "compare", "swept"]
