"""Sampling strategies: their base class, and sampling into a store."""
