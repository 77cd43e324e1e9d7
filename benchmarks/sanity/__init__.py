"""The 15 sanity checks of Räisä et al. (ICML 2025, arXiv 2505.22450) for scores of fidelity and diversity."""
