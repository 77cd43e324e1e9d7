"""Autoencoders: protocols, the posts' autoencoder, adapters of foreign models, encoding and decoding."""
