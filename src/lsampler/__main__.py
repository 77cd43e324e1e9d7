"""``python -m lsampler``, and the command ``lsampler``."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until commands handle Ctrl-C: nothing has begun that could be lost

from lsampler.cli import main

if __name__ == "__main__":
    main()
