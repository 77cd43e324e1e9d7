"""What lsampler's steps cost, each beside a peer or a limit in the same run: ``python -m benchmarks``."""
