"""Every analysis of the posts, on any latents: ``sections/`` measures, ``statements.py`` says what the posts claim."""

from __future__ import annotations

from lsampler.reports.analysis.options import AnalysisOptions
from lsampler.reports.analysis.run import Analysis, analyze
from lsampler.reports.analysis.statements import Judgement

__all__ = ["Analysis", "AnalysisOptions", "Judgement", "analyze"]
