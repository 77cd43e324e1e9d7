"""Every analysis of the posts, on any latents: ``sections/`` measures, ``statements.py`` says what the posts claim."""

from __future__ import annotations

from lsampler.reports.analysis.judgements import Judgement
from lsampler.reports.analysis.options import AnalysisOptions
from lsampler.reports.analysis.run import Analysis, analyze

__all__ = ["Analysis", "AnalysisOptions", "Judgement", "analyze"]
