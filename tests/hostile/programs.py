"""Hostile texts on the command line, and plugins that exit, hang or return rubbish."""

from __future__ import annotations

from pathlib import Path

from hostile.judging import Build, Case, words_of
from hostile.kinds import finite_outputs
from hostile.mutations import SANE, Random

import lsampler

TEXTS = (
    *("", " ", "=", "9" * 5000, "-" + "9" * 5000, "[" * 50_000, "{" * 100, "x" * 100_000, "\x1b[31mred\x1b[0m"),
    *(
        "\udcff\udcfe",
        "a\nb",
        "\u202e",
        "\u0661\u0662",
        '{"a": 1}',
        "[bold]",
        "y" * 250,
        "é" * 125,
        "%s%n",
        "{0.__class__}",
        "\x07",
    ),
    *[
        "1e999",
        "nan",
        "inf",
        "-inf",
        "-0",
        "0",
        "-1",
        "1e-400",
        "0x10",
        "1_0",
        "1,2,3",
        "1:2:3",
        "None",
        "null",
        "true",
        "1e9",
        "0.0000001",
        "999999",
    ],
    *[
        "../../x",
        "/dev/zero",
        "/dev/full",
        ".",
        "..",
        "1000000",
        "1000000000",
        "2147483648",
        "9223372036854775807",
        "9223372036854775808",
    ],
    "1" + "0" * 26,
)
PLACES = """
sample -p gaussian -n TEXT --store BASE/store.h5 --out OUT/x.h5
sample -p gaussian --seed TEXT --store BASE/store.h5 --out OUT/x.h5
sample -p TEXT --out OUT/x.h5
sample -p gaussian --model TEXT --out OUT/x.h5
sample -p gaussian --store TEXT --out OUT/x.h5
sample -p gaussian --device TEXT --store BASE/store.h5 --out OUT/x.h5
sample -p gaussian --threads TEXT --store BASE/store.h5 --out OUT/x.h5 -n 5
sample -p gaussian --store BASE/store.h5 -n 5 --out OUT/TEXT.h5
sample -p gaussian --store BASE/store.h5 --param TEXT --out OUT/x.h5
sample --fitted TEXT --out OUT/x.h5
sample -p gaussian --model BASE/e.keras --model-param TEXT --out OUT/x.h5
encode BASE/images.npy --model BASE/tiny.safetensors --batch-size TEXT --held-out 2 --out OUT/x.h5
encode TEXT --model BASE/tiny.safetensors --out OUT/x.h5
encode BASE/images.npy --model BASE/tiny.safetensors --held-out TEXT --out OUT/x.h5
encode BASE/images.npy --model BASE/tiny.safetensors --model-param TEXT --out OUT/x.h5
encode BASE/images.npy --model BASE/tiny.safetensors --held-out 2 --workers TEXT --out OUT/x.h5
train BASE/images.npy --epochs 1 --size TEXT --filters 4 --grey --latent-dim 3 --out OUT/x
train BASE/images.npy --epochs 1 --size 8 --filters TEXT --grey --out OUT/x
train BASE/images.npy --epochs 1 --size 8 --filters 4 --grey --latent-dim TEXT --out OUT/x
train BASE/images.npy --size 8 --filters 4 --grey --crop TEXT --out OUT/x
train BASE/images.npy --epochs 1 --size 8 --filters 4 --grey --learning-rate TEXT --out OUT/x
train BASE/images.npy --epochs 1 --size 8 --filters 4 --grey --batch-size TEXT --out OUT/x
train BASE/images.npy --size 8 --filters 4 --grey --precision TEXT --out OUT/x
train BASE/images.npy --size 8 --filters 4 --grey --activation TEXT --out OUT/x
evaluate -p gaussian -n 20 -e TEXT --store BASE/store.h5
evaluate TEXT --store BASE/store.h5
evaluate -p gaussian --param TEXT --store BASE/store.h5
evaluate -p gaussian -n 20 --store BASE/store.h5 --json OUT/TEXT
compare -p gaussian --sweep gaussian:TEXT --store BASE/store.h5 --out OUT/x
compare -p gaussian -e core-membership --param TEXT --store BASE/store.h5 --out OUT/x
analyze BASE/store.h5 --pair TEXT --section components --out OUT/x
analyze BASE/store.h5 --section TEXT --out OUT/x
analyze BASE/store.h5 --section components --bin-width TEXT --out OUT/x
analyze BASE/store.h5 --section principal --trim TEXT --out OUT/x
analyze TEXT --out OUT/x
store import BASE/latents.npz --dataset TEXT --out OUT/x.h5
store export BASE/store.h5 --out OUT/x.npy --split TEXT
store shard BASE/store.h5 --out OUT/x.shards --rows TEXT
decode BASE/samples.h5 --model BASE/tiny.safetensors -n TEXT --out OUT/x.png
plugins show TEXT
plugins new TEXT --out OUT/x
store info TEXT
store TEXT
TEXT
"""


def text(rng: Random, base: Path, folder: Path) -> Case:
    """A hostile text as an argument, or as a parameter of a strategy or an evaluator."""
    odd, out = rng.choice(TEXTS), folder / "out"
    given, names = odd, []
    if rng.random() < 0.5:
        kind = rng.choice(("sampler", "sampler", "evaluator"))
        name = rng.choice(lsampler.plugins.plugin_names(kind))
        plugin = (lsampler.load_sampler if kind == "sampler" else lsampler.plugins.load_evaluator)(name)
        key = rng.choice([parameter.name for parameter in type(plugin).parameters()] or ["x"])
        command = f"sample -p {name} -n 9 --param TEXT --store BASE/store.h5 --out OUT/x.h5"
        if kind == "evaluator":
            command = f"compare -p gaussian -e {name} -n 60 --param {name}:TEXT --store BASE/store.h5 --out OUT/x"
        given, names = f"{key}={odd}", [key, "--param"]
    else:
        command = rng.choice(PLACES.strip().splitlines())
        before = command.partition("TEXT")[0].split()
        names = [before[-1] if before and before[-1].startswith("-") else "", *before[:1], odd[:20], "OUT/"]
    words = words_of(command, {"BASE": str(base), "OUT": str(out), "TEXT": given})
    names = [name.replace("OUT", str(out)) for name in names if name] + [repr(odd)[1:20]]
    return Case(
        words, [name.strip() or "''" for name in names], f"{odd[:20]!r} in {command}", SANE, (), finite_outputs(out)
    )


ACTS = """
import sys; sys.exit(0)
raise SystemExit('x')
raise GeneratorExit
raise BaseException('a\\nb')
raise MemoryError
return (lambda f: f(f))(lambda f: f(f))
return None
return 7
return 'x'
return []
return [object()]
return np.array([object()])
return torch.zeros(3).to_sparse()
return {'a': np.array([np.nan])}
return {'a': np.zeros((2**20, 2**20))}
return {1: 2}
return torch.full((100, 6), float('nan'))
return torch.zeros(100, 7)
return torch.zeros(9, 6, dtype=torch.complex64)
return torch.zeros(9, 6, requires_grad=True)
return torch.zeros(2**20, 2**20)
raise Exception('\\x1b[31m' + 'x' * 100000)
raise StopIteration
raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'y')
print('noise')
import warnings; warnings.warn('noise')
"""
ENDLESS = """
while True: pass
import time; time.sleep(1000)
"""
PLUGIN = '''
import numpy as np, torch, lsampler
LSAMPLER_API = lsampler.plugins.API_VERSION
{at_import}

class Odd(lsampler.samplers.LatentSampler):
    """Odd."""
    name = "zz-odd"
    def learn(self, reference):
        {learn}
        return {{"a": np.zeros(reference.dimension)}}
    def draw(self, state, block):
        {draw}
        return block.normal(6)

class OddScore(lsampler.scoring.Evaluator):
    """Odd."""
    name = "zz-odd"
    by_default = False
    def prepare(self, real):
        {prepare}
    def score(self, samples):
        {score}
        kind = dict(metric="zz-odd", group="g", label="l", better="higher")
        return [lsampler.scoring.Score(**kind, value=0.5, low=0.4, high=0.6, n=9)]

@lsampler.plugins.hookimpl
def lsampler_samplers():
    {hook}
    return [Odd]

@lsampler.plugins.hookimpl
def lsampler_evaluators():
    return [OddScore]
'''
USES = {
    "at_import": "plugins\nplugins show zz-odd\nsample -p zz-odd -n 9 --store BASE/store.h5 --out OUT/x.h5",
    "hook": "plugins\nsample -p zz-odd -n 9 --store BASE/store.h5 --out OUT/x.h5\ncompare -p zz-odd -n 60 --store BASE/store.h5 --out OUT/x",
    "learn": "fit -p zz-odd --store BASE/store.h5 --out OUT/x.safetensors\nevaluate -p zz-odd -n 20 --store BASE/store.h5",
    "draw": "sample -p zz-odd -n 9 --store BASE/store.h5 --out OUT/x.h5\nevaluate -p zz-odd -n 20 --store BASE/store.h5",
    "prepare": "evaluate -p gaussian -n 20 -e zz-odd --store BASE/store.h5",
    "score": "evaluate -p gaussian -n 20 -e zz-odd --store BASE/store.h5 --json OUT/x.json",
}


def plugin(rng: Random, base: Path, folder: Path) -> Case:
    """A plugin that exits, hangs or returns rubbish in one of its functions."""
    place = rng.choice(list(USES))
    # Nobody can tell an endless computation from a long one; but no listing of plugins may wait for it.
    act = rng.choice((ACTS.strip() + ENDLESS.rstrip() * (place in ("at_import", "hook"))).splitlines())
    holes = dict.fromkeys(USES, "pass") | {place: act.replace("return", "x =") if place == "at_import" else act}
    info = folder / "in" / "zz_odd-1.0.dist-info"
    info.mkdir()
    (folder / "in" / "zz_odd_plugin.py").write_text(PLUGIN.format(**holes))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zz-odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lsampler]\nzz-odd = zz_odd_plugin\n")
    out = folder / "out"
    words = words_of(rng.choice(USES[place].splitlines()), {"BASE": str(base), "OUT": str(out)})

    def check(printed: str) -> str | None:
        return finite_outputs(out)(printed) if printed.strip() else "exit code 0 without output"

    environment = {"PYTHONPATH": str(folder / "in")}
    return Case(words, ("zz-odd", "zz_odd"), f"{act!r} in {place}", SANE, (), check, environment)


PROGRAMS: dict[str, Build] = {"texts": text, "plugins": plugin}
