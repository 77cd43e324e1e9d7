"""Every analysis of the posts, on any latents: one module per section, and a page that shows them."""

from __future__ import annotations

from lsampler.reports.analysis.run import DEFAULT_STRATEGIES, SECTIONS, Analysis, analyze, section_keys
from lsampler.reports.analysis.verdicts import Verdict

__all__ = ["DEFAULT_STRATEGIES", "SECTIONS", "Analysis", "Verdict", "analyze", "section_keys"]
