"""Samples to order: conditions on labels, the effects of labels on latent vectors, and draws under a condition."""
