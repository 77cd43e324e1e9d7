"""What is published: the source distribution has all that its tests need, and the licences are said."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], dict[str, bytes]]:
    """The names in the source distribution, without its folder; the files of the wheel."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", out], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        return source, {name: wheel.read(name) for name in wheel.namelist()}


def test_source_distribution_holds_what_make_test_needs(distributions: tuple[set[str], dict[str, bytes]]) -> None:
    source, _ = distributions
    folders = ("src", "plugins", "tests", "examples", "benchmarks", "docs")
    needed = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in {".py", ".pyi", ".in", ".md", ".safetensors", ".toml", ".html", ".txt"}
    }
    needed |= {"Makefile", "constraints.txt", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", ".ci/run"}
    assert needed - source == set()


def test_wheel_says_the_licences_of_code_and_weights(distributions: tuple[set[str], dict[str, bytes]]) -> None:
    _, wheel = distributions
    metadata = next(content for name, content in wheel.items() if name.endswith(".dist-info/METADATA"))
    fields = Parser().parsestr(metadata.decode())
    assert fields["License-Expression"] == "MIT AND LicenseRef-CelebA-Non-Commercial-Research"
    assert set(fields.get_all("License-File", [])) == {"LICENSE", "src/lsampler/bundles/LICENSE-weights.txt"}
    for name in ("LICENSE", "LICENSE-weights.txt"):
        assert any(file.endswith(f"/{name}") for file in wheel), name
    weights = next(content for name, content in wheel.items() if name.endswith("LICENSE-weights.txt"))
    assert b"non-commercial" in weights


def test_wheel_holds_both_packages_and_the_bundles(distributions: tuple[set[str], dict[str, bytes]]) -> None:
    _, wheel = distributions
    for name in ("lsampler/__init__.pyi", "lsampler/bundles/celeba96.safetensors", "lsampler/py.typed"):
        assert name in wheel
    assert "lsampler_plugins/samplers/pca_ellipse.py" in wheel
    assert not any(name.startswith("tests/") for name in wheel)
