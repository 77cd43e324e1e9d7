"""Bundles: a trained autoencoder with its statistics and calibration in one file, and the bundled models."""
