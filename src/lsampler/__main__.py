"""``python -m lsampler``."""

from lsampler.cli import main

main()
