"""``python -m lsampler``."""

from lsampler._cli import main

main()
