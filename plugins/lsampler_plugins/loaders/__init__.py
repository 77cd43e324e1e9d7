"""Loaders of autoencoders, one file for each kind of model."""
