"""Third-party packages: generated, installed with pip into a clean environment, found and used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from support import Answer

from lsampler.store import import_latents

EXAMPLE = Path(__file__).parents[2] / "examples" / "lsampler-student-t"


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
        command = [str(self.folder / "bin" / "python"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)

    def lsampler(self, **commands: tuple[object, ...]) -> dict[str, Answer]:
        """The answers of commands, one after the other in one process."""
        plan = json.dumps([[str(word) for word in words] for words in commands.values()])
        done = self.run("-c", DRIVER, plan)
        assert done.returncode == 0, done.stderr
        answers = (Answer(*answer) for answer in json.loads(done.stdout.splitlines()[-1]))
        return dict(zip(commands, answers, strict=True))


DRIVER = """
import contextlib, io, json, sys
from lsampler.store import import_latents
from lsampler.cli import main
answers = []
for arguments in json.loads(sys.argv[1]):
    sys.argv, out, err, code = ["lsampler", *arguments], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code or 0
    answers.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""


class Installed(NamedTuple):
    """The folder with all files, the answers by the command's name, and the results of each module's tests."""

    folder: Path
    answers: dict[str, Answer]
    outcomes: dict[str, list[str]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latents whose radius varies as that of a t of 6 degrees of freedom, in 4 dimensions."""
    rng = np.random.default_rng(70)
    rows: NDArray[Any] = rng.normal(size=(1500, 4)) / np.sqrt(rng.chisquare(6, size=(1500, 1)) / 6) + [3, 0, -1, 2]
    folder: Path = tmp_path_factory.mktemp("store")
    np.save(folder / "latents.npy", rows)
    import_latents(folder / "latents.npy", folder / "latents.h5")
    return folder / "latents.h5"


@pytest.fixture(scope="module")
def installed(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Three packages that fit and three that do not, in one environment: each start there imports torch anew."""
    folder = tmp_path_factory.mktemp("installed")
    ring, moods = folder / "lsampler-my-ring", folder / "lsampler-two-moods"
    write_tutorial(moods)
    environment = Environment(folder / "env")
    made = environment.run("-m", "lsampler", "plugins", "new", "my-ring", "--out", ring)
    environment.install(ring, EXAMPLE, moods, *(write_misfit(folder, name) for name in MISFITS))
    report = folder / "tests.xml"
    where = ("-p", "no:cacheprovider", f"--junitxml={report}", ring, EXAMPLE, moods)
    tested = environment.run("-m", "pytest", "-q", *where, cwd=folder)
    assert tested.returncode == 0, tested.stdout
    outcomes: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        module = str(case.get("classname")).split(".")[-1]
        outcomes.setdefault(module, []).append(case[0].tag if len(case) else "passed")
    # The list comes last: it loads every plugin, and each must be found by its name alone before.
    given = ("--store", store, "--out")
    answers = environment.lsampler(
        ring=("sample", "--plugin", "my-ring", "--param", "temperature=0.5", "--n", 100, *given, folder / "ring.h5"),
        example=("sample", "-p", "student-t", "--n", 50, *given, folder / "example.h5"),
        moods=("sample", "-p", "two-moods", *given, folder / "moods.h5"),
        compared=(
            "compare", "-p", "student-t", "-p", "multivariate-normal", "-e", "latent-distances", "--n", 300,
            *given, folder / "comparison",
        ),
        misfit=("sample", "-p", "newer", "--out", folder / "x.png"),
        misfit_shown=("plugins", "show", "newer"),
        shown=("plugins", "show", "my-ring"),
        listed=("plugins",),
    )  # fmt: skip
    return Installed(folder, answers | {"made": Answer(made.returncode, made.stdout, made.stderr)}, outcomes)


MISFITS = {
    "newer": (
        "offers(StudentT)",
        "offers(StudentT, api=3)",
        "was written for plugin API 3, this lsampler has 2",
    ),
    "taken": ('name = "student-t"', 'name = "gaussian"', "the sampler name 'gaussian' is taken by lsampler; choose"),
    "crash": ("import offers", "import nonsense, offers", "cannot import name 'nonsense'"),
}


def write_misfit(folder: Path, name: str) -> Path:
    """The example's package under another name, changed so that it cannot be used."""
    before, after, _ = MISFITS[name]
    package = folder / f"misfit-{name}"
    package.mkdir()
    project = (EXAMPLE / "pyproject.toml").read_text()
    project = project.replace("student-t", name).replace("lsampler_student_t", f"lsampler_{name}")
    (package / "pyproject.toml").write_text(project)
    (package / "README.md").touch()
    module = (EXAMPLE / "lsampler_student_t.py").read_text()
    assert before in module
    (package / f"lsampler_{name}.py").write_text(module.replace(before, after))
    return package


def write_tutorial(package: Path) -> None:
    """The package of the tutorial, from the text."""
    text = (EXAMPLE.parents[1] / "docs" / "tutorial-plugin.md").read_text()
    module, project, tests = (
        re.search(rf"```{kind}\n({begin}.*?)```", text, re.DOTALL)[1]  # type: ignore[index]
        for kind, begin in (("python", '"""two-moods'), ("toml", ""), ("python", "from lsampler_two_moods"))
    )
    package.mkdir()
    (package / "lsampler_two_moods.py").write_text(module)
    (package / "pyproject.toml").write_text(project)
    (package / "test_two_moods.py").write_text(tests)


def assert_tested(installed: Installed, module: str) -> None:
    """The tests of a module ran, and passed unless they skipped themselves."""
    outcomes = installed.outcomes[module]
    assert "passed" in outcomes
    assert set(outcomes) <= {"passed", "skipped"}


def test_a_generated_package_installs_and_passes_its_tests_unchanged(installed: Installed) -> None:
    folder, answers, _ = installed
    package = folder / "lsampler-my-ring"
    assert answers["made"].code == 0
    assert f"pip install -e '{package}[test]' && pytest {package}" in answers["made"].out
    assert_tested(installed, "test_lsampler_my_ring")
    assert "lsampler-my-ring" in answers["shown"].out
    assert answers["ring"].code == 0, answers["ring"].err
    with h5py.File(folder / "ring.h5") as handle:
        assert handle["latents"].shape == (100, 4)
        assert json.loads(handle.attrs["parameters"]) == {"temperature": 0.5}


def test_the_example_package_is_found_sampled_from_and_compared(installed: Installed) -> None:
    folder, answers, _ = installed
    assert answers["listed"].code == 0
    assert "student-t" in answers["listed"].out
    assert "broken: 'student-t'" not in answers["listed"].out
    assert_tested(installed, "test_student_t")
    assert answers["example"].code == 0, answers["example"].err
    assert answers["compared"].code == 0, answers["compared"].err
    names = [row["name"] for row in json.loads((folder / "comparison" / "scores.json").read_text())["rows"]]
    assert {"student-t", "multivariate-normal"} <= set(names)


def test_the_tutorial_leads_to_an_installed_strategy(installed: Installed) -> None:
    assert_tested(installed, "test_two_moods")
    assert installed.answers["moods"].code == 0, installed.answers["moods"].err
    assert (installed.folder / "moods.h5").is_file()


def test_packages_that_do_not_fit_are_refused_and_affect_nothing_else(installed: Installed) -> None:
    folder, answers, _ = installed
    text = " ".join(answers["listed"].out.split())
    for name, (_, _, reason) in MISFITS.items():
        assert re.search(rf"broken: '{name}' from lsampler-{name}: [^:]*:? ?{re.escape(reason)}", text), text
    assert "pca-ellipse" in text
    for answer in (answers["misfit"], answers["misfit_shown"]):
        assert answer.code == 2
        assert "plugin 'newer' from lsampler-newer is broken" in answer.err
    assert not (folder / "x.png").exists()
