"""Packages of other people: generated, installed with pip into a clean environment, found and used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from lsampler._store_writer import write_store

EXAMPLE = Path(__file__).parents[1] / "examples" / "lsampler-student-t"


class Environment:
    """A virtual environment that sees this one's packages, so that only the plugin must be installed."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.folder = folder
        here = sysconfig.get_path("purelib")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = folder / "lib" / version / "site-packages"
        # addsitedir, unlike a bare path, also reads the .pth file of an editable lsampler.
        (packages / "parent.pth").write_text(f"import site; site.addsitedir({here!r})\n")

    def install(self, *packages: Path) -> None:
        python = str(self.folder / "bin" / "python")
        options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--python", python, "install", *options, *map(str, packages)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def run(self, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        # Coverage of the parent process would write its files into the plugin's folder.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "PYTEST"))}
        command = [str(self.folder / "bin" / "python"), "-m", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "env")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Latents whose radius varies as that of a t of 6 degrees of freedom, in 4 dimensions."""
    rng = np.random.default_rng(70)
    rows: NDArray[Any] = rng.normal(size=(1500, 4)) / np.sqrt(rng.chisquare(6, size=(1500, 1)) / 6) + [3, 0, -1, 2]
    path = tmp_path / "latents.h5"
    write_store(path, 4, [rows.astype(np.float32)], {"kind": "imported latents"})
    return path


def test_a_generated_package_installs_and_passes_its_tests_unchanged(
    environment: Environment, tmp_path: Path, store: Path, cli: Callable[..., Any]
) -> None:
    package = tmp_path / "lsampler-my-ring"
    made = cli("plugins", "new", "my-ring", "--out", package)
    assert made.code == 0
    assert f"pip install -e '{package}[test]' && pytest {package}" in made.out
    environment.install(package)
    tested = environment.run("pytest", "-q", "-p", "no:cacheprovider", package, cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout
    assert "failed" not in tested.stdout
    shown = environment.run("lsampler", "plugins", "show", "my-ring")
    assert "lsampler-my-ring" in shown.stdout
    drawn = environment.run(
        "lsampler", "sample", "--plugin", "my-ring", "--param", "temperature=0.5", "--store", store,
        "--n", 100, "--out", tmp_path / "drawn.h5",
    )  # fmt: skip
    assert drawn.returncode == 0, drawn.stderr
    with h5py.File(tmp_path / "drawn.h5") as handle:
        assert handle["latents"].shape == (100, 4)
        assert json.loads(handle.attrs["parameters"]) == {"temperature": 0.5}


def test_the_example_package_is_found_sampled_from_and_compared(
    environment: Environment, tmp_path: Path, store: Path
) -> None:
    environment.install(EXAMPLE)
    listed = environment.run("lsampler", "plugins")
    assert "student-t" in listed.stdout
    assert "broken" not in listed.stdout
    tested = environment.run("pytest", "-q", "-p", "no:cacheprovider", EXAMPLE, cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout
    drawn = environment.run(
        "lsampler", "sample", "-p", "student-t", "--store", store, "--n", 50, "--out", tmp_path / "drawn.h5"
    )
    assert drawn.returncode == 0, drawn.stderr
    out = tmp_path / "comparison"
    compared = environment.run(
        "lsampler", "compare", "-p", "student-t", "-p", "multivariate-normal", "-e", "latent-distances",
        "--store", store, "--n", 300, "--out", out,
    )  # fmt: skip
    assert compared.returncode == 0, compared.stderr
    names = [row["name"] for row in json.loads((out / "scores.json").read_text())["rows"]]
    assert {"student-t", "multivariate-normal"} <= set(names)


MISFITS = {
    "newer": ("LSAMPLER_API = 1", "LSAMPLER_API = 2", "was written for plugin API 2, this lsampler has 1; install a"),
    "taken": ('name = "student-t"', 'name = "gaussian"', "the sampler name 'gaussian' is taken by lsampler; choose"),
    "crash": ("State, hookimpl", "State, hookimpl, nonsense", "cannot import name 'nonsense'"),
}


def test_packages_that_do_not_fit_are_refused_and_harm_nothing(environment: Environment, tmp_path: Path) -> None:
    for name, (before, after, _) in MISFITS.items():
        package = tmp_path / name
        package.mkdir()
        project = (EXAMPLE / "pyproject.toml").read_text()
        project = project.replace("student-t", name).replace("lsampler_student_t", f"lsampler_{name}")
        (package / "pyproject.toml").write_text(project)
        (package / "README.md").touch()
        module = (EXAMPLE / "lsampler_student_t.py").read_text()
        assert before in module
        (package / f"lsampler_{name}.py").write_text(module.replace(before, after))
    environment.install(*(tmp_path / name for name in MISFITS))
    listed = environment.run("lsampler", "plugins")
    assert listed.returncode == 0
    text = " ".join(listed.stdout.split())
    for name, (_, _, reason) in MISFITS.items():
        assert re.search(rf"broken: '{name}' from lsampler-{name}: [^:]*:? ?{re.escape(reason)}", text), text
    assert "pca-ellipse" in text
    used = environment.run("lsampler", "sample", "-p", "newer", "--out", tmp_path / "x.png")
    assert used.returncode == 2
    assert "plugin 'newer' from lsampler-newer is broken" in used.stderr
    assert not (tmp_path / "x.png").exists()


def test_the_tutorial_leads_to_an_installed_strategy(environment: Environment, tmp_path: Path, store: Path) -> None:
    text = (EXAMPLE.parents[1] / "docs" / "tutorial-plugin.md").read_text()
    module, project, tests = (
        re.search(rf"```{kind}\n({begin}.*?)```", text, re.DOTALL)[1]  # type: ignore[index]
        for kind, begin in (("python", '"""two-moods'), ("toml", ""), ("python", "from lsampler_two_moods"))
    )
    package = tmp_path / "lsampler-two-moods"
    package.mkdir()
    (package / "lsampler_two_moods.py").write_text(module)
    (package / "pyproject.toml").write_text(project)
    (package / "test_two_moods.py").write_text(tests)
    environment.install(package)
    tested = environment.run("pytest", "-q", "-p", "no:cacheprovider", package, cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout
    drawn = environment.run("lsampler", "sample", "-p", "two-moods", "--store", store, "--out", tmp_path / "drawn.h5")
    assert drawn.returncode == 0, drawn.stderr
