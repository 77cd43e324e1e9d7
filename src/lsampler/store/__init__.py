"""Latent stores: single files, shards and arrays, their writer, import and export."""
