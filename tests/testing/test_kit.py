"""The compliance kit: everything installed passes it, and it reports failures as the page says."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field
from testing.sound_plugins import Distance, Linear, Shell

from lsampler import LsamplerError, load_bundle, load_sampler
from lsampler.data import Preprocess
from lsampler.models import ConvAutoencoder, ConvConfig
from lsampler.plugins import load_core, load_evaluator, plugin_names
from lsampler.samplers import LatentSampler, State
from lsampler.scoring import Evaluator
from lsampler.store import Reference
from lsampler.testing import (
    ComplianceError,
    check_autoencoder,
    check_evaluator,
    check_sampler,
    checks_of,
    parametrize_with_checks,
)

PAGE = Path(__file__).parents[2] / "docs" / "compliance.md"
# Parameters that make slow plugins quick.
QUICK: dict[str, dict[str, Any]] = {
    "flow": {"max_epochs": 1, "hidden": 8, "layers": 1},
    "factor-mixture": {"mixture_components": 2, "factors": 2, "iterations": 3},
    "refined": {"base": "multivariate-normal", "steps": 5, "networks": 1, "stages": 1},
    "faces": {"images": 4, "enlarge": 0},
    "image-distance": {"resamples": 3},
    "latent-distances": {"resamples": 3, "directions": 8},
    "two-sample-classifier": {"learner": "logistic", "folds": 2, "check_split": False},
    "item-classifier": {"learner": "logistic", "folds": 2},
    "item-statistics": {"resamples": 2},
    "strong-classifier": {"epochs": 1, "trees": 2, "curve": False, "check_split": False},
    "likelihood-ratio": {"rival": "gaussian-copula"},
    "kde": {"bandwidth": 0.5},
}


def installed() -> list[LatentSampler | Evaluator]:
    """All but auto, whose fit judges several strategies: tests/test_choosing.py makes a choice of the checks for it."""
    samplers = [load_sampler(name, **QUICK.get(name, {})) for name in plugin_names("sampler") if name != "auto"]
    return [*samplers, *(load_evaluator(name, **QUICK.get(name, {})) for name in plugin_names("evaluator"))]


@parametrize_with_checks(
    [
        *installed(),
        load_sampler("line-path", path="between", spacing="random"),
        load_sampler("pca-ellipse", method="iteration", half_width="histogram"),
        load_sampler("multivariate-normal", components=1, trim=1.7),
    ]
)
def test_what_is_installed_complies(check: Callable[[], None]) -> None:
    check()


def test_sound_plugins_pass_all_checks() -> None:
    check_sampler(Shell)
    check_evaluator(Distance)
    check_autoencoder(Linear())
    for bundle in ("digits", "celeba96"):
        check_autoencoder(load_bundle(bundle).autoencoder)
    torch.manual_seed(3)
    config = ConvConfig(image_size=16, channels=3, filters=(4,), latent_dim=3)
    check_autoencoder(ConvAutoencoder(config, preprocess=Preprocess(16, "centre", 3)).eval())


@pytest.mark.parametrize(
    ("title", "subject"), [("Sampling strategies", Shell), ("Evaluators", Distance), ("Autoencoders", Linear())]
)
def test_the_page_lists_every_check(title: str, subject: Any) -> None:
    rows = [f"| `{check.name}` | {check.about} |" for check in checks_of(subject)]
    section = PAGE.read_text().split(f"### {title}\n")[1].split("\n#")[0]
    assert re.findall(r"^\| `.*", section, flags=re.MULTILINE) == rows, "\n".join(rows)


def test_all_failures_come_in_one_message() -> None:
    class Unseeded(Shell):
        """learn() takes random numbers from nowhere."""

        def learn(self, reference: Reference) -> State:
            found = super().learn(reference)
            return found | {"mean": found["mean"] + 0.01 * np.random.default_rng().normal()}

    with pytest.raises(ComplianceError) as raised:
        check_sampler(Unseeded(fact=2.0))
    lines = str(raised.value).splitlines()
    assert re.fullmatch(r"shell\(fact=2.0\): 4 of \d+ checks failed", lines[0])
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "two-threads",
        "estimator",
        "same-seed",
        "refit-forgets",
    ]


def test_a_strategy_that_cannot_be_fitted_is_reported_once() -> None:
    class Refuses(Shell):
        """Nothing is good enough."""

        def learn(self, reference: Reference) -> State:
            raise LsamplerError("not these")

    message = "cannot be fitted to 600 vectors of D = 6: LsamplerError: not these"
    with pytest.raises(ComplianceError, match=message) as raised:
        check_sampler(Refuses)
    assert len(str(raised.value).splitlines()) < 6


def test_a_strategy_for_many_dimensions_brings_its_own_reference() -> None:
    wide = np.random.default_rng(0).normal(size=(200, 12)).astype(np.float32)
    with pytest.raises(ComplianceError, match="cannot be fitted"):
        check_sampler(load_sampler("multivariate-normal", components=10))
    check_sampler(load_sampler("multivariate-normal", components=10), reference=wide)


def global_states() -> list[Any]:
    legacy: Any = np.random.get_state()  # noqa: NPY002
    return [legacy[1].tolist(), torch.get_rng_state().tolist(), random.getstate()]


def test_an_instance_and_global_states_stay_as_they_are() -> None:
    before, sampler = global_states(), Shell()
    check_sampler(sampler)
    check_evaluator(Distance)
    assert sampler.dimension == 0
    assert global_states() == before


def test_checks_can_be_skipped_with_a_reason() -> None:
    class ClaimsToNeedLatents(Shell):
        """A bundle would be enough."""

        needs_latents = True

    check_sampler(ClaimsToNeedLatents, skip={"needs-latents-is-true": "a later version will read them"})
    with pytest.raises(LsamplerError, match="no check 'same-sed'; did you mean 'same-seed'"):
        check_sampler(Shell, skip={"same-sed": "a typing error"})
    mark = parametrize_with_checks([Shell], skip={"density": "later"}).mark
    assert [parameter.id for parameter in mark.args[1] if parameter.marks] == ["shell-density"]


def test_other_objects_and_classes_that_need_parameters_are_refused() -> None:
    for check, plugin in ((check_sampler, Distance), (check_evaluator, Shell), (check_sampler, object())):
        with pytest.raises(LsamplerError, match="is not a subclass of lsampler"):
            check(plugin)
    with pytest.raises(LsamplerError, match="there are checks of"):
        parametrize_with_checks([load_core("interval")])

    class Required(Shell):
        """A parameter without a default."""

        depth: int = Field(description="of something")

    with pytest.raises(ComplianceError, match="give an instance instead of the class"):
        check_sampler(Required)
    check_sampler(Required(depth=3))


def test_the_functions_do_not_need_pytest() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from lsampler import load_bundle, load_sampler\n"
        "from lsampler.testing import check_autoencoder, check_sampler\n"
        "check_sampler(load_sampler('uniform-cube'))\n"
        "check_autoencoder(load_bundle('digits').autoencoder)\n"
        "print('all checked')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout == "all checked\n", done.stderr
