"""Statistics of latent vectors: moments, histograms, PCA, half-widths."""
