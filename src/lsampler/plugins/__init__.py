"""Plugins: base class, hook specifications, registry, and the scaffold of a new package."""
