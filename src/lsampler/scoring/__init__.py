"""Scoring: evaluators, cores, and the pipeline that draws and scores."""
