"""What lsampler's steps cost, each beside a peer or a limit that is measured in turn: ``python -m benchmarks``."""
