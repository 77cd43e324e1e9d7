"""Pages in a real browser: what a script finds in a page, in a frame of so many pixels."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

START = """
const found = {errors: []};
window.addEventListener("error", (event) => found.errors.push(String(event.message)));
window.addEventListener("load", () => {
"""
END = """
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  found.overflow = document.documentElement.scrollWidth - window.innerWidth;
  const inside = (box) => box.left >= 0 && box.right <= window.innerWidth + 0.5;
  const drawn = [...document.querySelectorAll(".plot svg, .track i")].filter((each) => each.checkVisibility());
  found.drawn = drawn.length;
  found.clipped = drawn.filter((each) => !inside(each.getBoundingClientRect())).length;
  parent.postMessage(JSON.stringify(found), "*");
});
"""
FRAME = """<!doctype html>
<script>
addEventListener("message", (event) => {
  const out = document.createElement("pre"); out.id = "probe"; out.textContent = event.data; document.body.append(out);
});
</script>
<iframe src="page.html" style="border: 0; height: 900px; width: WIDTHpx"></iframe>
"""


def chromium() -> str:
    """A Chromium or Chrome of this machine."""
    names = [os.environ.get("LSAMPLER_TEST_BROWSER", ""), "chromium", "chromium-browser", "google-chrome"]
    for name in filter(None, names):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium found; install it, or set LSAMPLER_TEST_BROWSER to its path")


def probed(report: Path, folder: Path, width: int, script: str = "") -> Any:
    """What a script finds in ``index.html``, beside errors, overflow and figures that are cut off.

    The page is in a frame of ``width`` pixels, since windows have a least width.
    """
    probe = f"<head><script>{START}{script}{END}</script>"
    (folder / "page.html").write_text((report / "index.html").read_text().replace("<head>", probe, 1))
    (folder / "frame.html").write_text(FRAME.replace("WIDTH", str(width)))
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--virtual-time-budget=5000",
    ]
    browser = [chromium(), *flags, f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000", "--dump-dom"]
    address = (folder / "frame.html").as_uri()
    done = subprocess.run([*browser, address], capture_output=True, text=True, timeout=120)
    match = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert match, done.stderr[-2000:]
    return json.loads(match[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
