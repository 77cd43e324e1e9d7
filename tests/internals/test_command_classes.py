"""What the command line does to typer's help."""

from __future__ import annotations

import subprocess
import sys


def test_what_help_leaves_out_is_there_for_others() -> None:
    """Help in markdown and pretty tracebacks, for a program that has them, in the same process."""
    code = (
        "from lsampler.cli import command_classes; command_classes._import_typer_help(); import sys; "
        "assert 'rich.markdown' not in sys.modules; "
        "from typer import rich_utils; import rich.markdown, rich.traceback; "
        "made = rich_utils._make_rich_text(text='*a*', markup_mode='markdown'); "
        "assert type(made) is rich.markdown.Markdown; "
        "made = rich_utils.Traceback.from_exception(ValueError, ValueError('x'), None); "
        "assert type(made) is rich.traceback.Traceback; assert 'markdown_it' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
