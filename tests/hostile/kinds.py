"""The kinds of input: the sound files, how each kind is mutated, and the commands that take it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hostile import mutations
from hostile.hdf5 import of_hdf5
from hostile.judging import Build, Case, content, redirected
from hostile.mutations import SAME, SANE, Change, Random, of_bytes
from PIL import Image
from sklearn.datasets import load_digits

import lsampler

Mutate = Callable[[Random, Path], Change]
FITTED = [
    "gaussian",
    "pca-ellipse",
    "kde",
    "gaussian-mixture",
    "elliptical",
    "gaussian-copula",
    "multivariate-normal",
    "flow",
]
ODD_NAMES = (b"\xff\xfe", b"\x1b[31m", b"a\nb", b"x" * 240, b"\xe2\x80\xae", b" ", b"`seed=1`", b"[bold]", b"a`b")

# In a command FILE is the mutated file, BASE the folder of sound inputs, OUT that of outputs, and TEXT a hostile text.
STORE = """
store info FILE
store verify FILE
store export FILE --out OUT/x.npy
store export FILE --out OUT/x.npz
store export FILE --out OUT/x.parquet
store shard FILE --out OUT/x.shards --rows 128
sample -p multivariate-normal -n 9 --store FILE --out OUT/x.h5
sample -p gaussian -n 4 --store FILE --model BASE/tiny.safetensors --out OUT/x.png
decode FILE --n 4 --model BASE/tiny.safetensors --out OUT/x.png
evaluate FILE --store BASE/store.h5
fit -p gaussian --store FILE --out OUT/x.safetensors
bundle --out OUT/x.safetensors --model BASE/tiny.safetensors --store FILE
analyze FILE --section components --out OUT/x
"""
IMPORT = """
store import FILE --out OUT/x.h5 --held-out 3
store import FILE --out OUT/x.h5
"""
LABEL = "store label BASE/store.h5 FILE --out OUT/x.h5"
ENCODE = "encode FILE --model BASE/tiny.safetensors --held-out 2 --out OUT/x.h5"
TRAIN = "train FILE --epochs 1 --size 8 --grey --filters 4 --latent-dim 3 --held-out 2 --out OUT/x"
IMAGES = f"{ENCODE}\n{ENCODE}\n{ENCODE}\n{TRAIN}"
MODEL = """
encode BASE/images.npy --model FILE --held-out 2 --out OUT/x.h5
sample -p gaussian -n 4 --store BASE/store.h5 --model FILE --out OUT/x.png
"""
BUNDLE = """
sample -p gaussian -n 9 --model FILE --out OUT/x.h5
sample -p elliptical -n 4 --model FILE --out OUT/x.png
sample -n 9 --model FILE --out OUT/y.h5
evaluate -p gaussian -n 50 --model FILE
encode BASE/images.npy --model FILE --held-out 2 --out OUT/x.h5
analyze FILE --section components --section origin --out OUT/x
"""
DRAW = """
sample --fitted FILE -n 9 --out OUT/x.h5
sample --fitted FILE -n 4 --model BASE/tiny.safetensors --out OUT/x.png
"""
UNFINISHED = {
    "unfinished": "encode BASE/many.npy --model BASE/tiny.safetensors --batch-size 8 --held-out 9 --out OUT/x.h5",
    "training": "train BASE/images.npy --epochs 4 --batch-size 8 --held-out 8 --no-flip --size 8 --grey --filters 4 "
    "--latent-dim 3 --resume --out OUT/x",
    "append": "encode BASE/images.npy --model BASE/tiny.safetensors --held-out 2 --append --out OUT/x.h5",
    "reports": "compare -p gaussian -e core-membership -n 50 --store BASE/store.h5 --out OUT/x",
}
PRINTING = """
store verify BASE/store.h5
plugins
evaluate -p gaussian -n 20 --store BASE/store.h5
sample -p gaussian -n 9 --store BASE/store.h5 --out OUT/x.h5
encode BASE/photos --model BASE/tiny.safetensors --held-out 2 --out OUT/x.h5
--help
"""


# The sound inputs


def make_sound(folder: Path) -> None:
    """Write a small sound file of every kind."""
    digits = (load_digits().images[:330] * 15.9).astype(np.uint8)
    np.save(folder / "images.npy", digits[:40])
    np.save(folder / "all.npy", digits)
    np.save(folder / "many.npy", np.concatenate([digits] * 12))
    np.savez_compressed(folder / "images.npz", images=digits[:40])
    with h5py.File(folder / "images.h5", "w") as handle:
        handle.create_dataset("images", data=digits[:40], chunks=(4, 8, 8), fletcher32=True)
    (folder / "photos").mkdir()
    for k, suffix in enumerate(("png", "jpg", "tif", "webp", "bmp", "gif", "png", "png")):
        Image.fromarray(digits[k]).resize((16, 16)).save(folder / "photos" / f"{k}.{suffix}")
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for path in sorted((folder / "photos").iterdir()):
            archive.write(path, path.name)
    torch.manual_seed(7)
    config = lsampler.models.ConvConfig(image_size=8, channels=1, filters=(4, 8), latent_dim=6)
    model = lsampler.models.ConvAutoencoder(config, preprocess=lsampler.data.Preprocess(8, "none", 1)).eval()
    model.save(folder / "tiny.safetensors")
    images = lsampler.data.open_images(folder / "all.npy")
    given = {"digit": np.arange(330) % 10, "ink": np.linspace(0.5, 9.5, 330), "kind": np.array(["a", "", "b"] * 110)}
    labels = lsampler.models.EncodeOptions(labels=given)
    lsampler.models.encode_to_store(model, images, folder / "store.h5", held_out=60, options=labels)
    _write_labels(folder, images.ids, given)
    store = lsampler.open_store(folder / "store.h5")
    lsampler.store.shard_store(folder / "store.h5", folder / "store.shards", shard_rows=100)
    cores = [lsampler.plugins.load_core(name) for name in lsampler.plugins.plugin_names("core")]
    scores = [lsampler.plugins.load_evaluator("core-membership")]
    carried = [lsampler.load_sampler("gaussian-mixture")]
    lsampler.bundles.build_bundle("sound", model, store, cores, scores, carried).save(folder / "bundle.safetensors")
    for name in FITTED:
        sampler = lsampler.load_sampler(name, **({"max_epochs": 1} if name == "flow" else {})).fit(store)
        sampler.save(folder / f"fitted-{name}.safetensors")
    lsampler.samplers.sample_store(lsampler.load_sampler("gaussian").fit(store), 40, folder / "samples.h5", seed=1)
    for suffix in ("npy", "npz", "h5", "parquet"):
        lsampler.store.export_latents(store, folder / f"latents.{suffix}")
    np.savetxt(folder / "latents.csv", store.read(), delimiter=",")
    _interrupt(folder, model)


def _write_labels(folder: Path, ids: Sequence[str], labels: dict[str, Any]) -> None:
    """Tables of labels."""
    columns = {"id": ids, **{name: values.tolist() for name, values in labels.items()}}
    pq.write_table(pa.table(columns), folder / "labels.parquet")
    np.savez_compressed(folder / "labels.npz", **{name: np.array(values) for name, values in columns.items()})
    for suffix, separator in (("csv", ","), ("txt", " ")):
        rows = (separator.join(str(value) or "NA" for value in row) for row in zip(*columns.values(), strict=True))
        (folder / f"labels.{suffix}").write_text("\n".join([separator.join(columns), *rows]) + "\n")


class _Interrupting:
    """Progress that is interrupted, as by Ctrl-C, half-way through encoding or training."""

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        left = [total // 2]

        def advance(amount: int) -> None:
            left[0] -= amount
            if what in ("encoding", "training") and left[0] < 0:
                raise KeyboardInterrupt

        return advance


def _interrupt(folder: Path, model: Any) -> None:
    """What an interrupted run leaves: an unfinished store, an unfinished training; and a finished comparison."""
    for name in UNFINISHED:
        (folder / name).mkdir()
    shutil.copy(folder / "store.h5", folder / "append" / "x.h5")
    many, images, stop = (
        lsampler.data.open_images(folder / "many.npy"),
        lsampler.data.open_images(folder / "images.npy"),
        _Interrupting(),
    )
    lsampler.models.encode_to_store(model, many, folder / "many.h5", held_out=9)
    options = lsampler.models.EncodeOptions(8)
    with contextlib.suppress(KeyboardInterrupt):
        lsampler.models.encode_to_store(
            model, many, folder / "unfinished" / "x.h5", held_out=9, options=options, progress=stop
        )
    training = lsampler.models.TrainingOptions(epochs=4, batch_size=8, held_out=8, flip=False)
    config = lsampler.models.ConvConfig(image_size=8, channels=1, filters=(4,), latent_dim=3)
    out = folder / "training" / "x"
    lsampler.models.train_autoencoder(
        images, out, config=config, options=training, progress=stop, report=lambda _: None
    )
    command = UNFINISHED["reports"].replace("BASE", str(folder)).replace("OUT", str(folder / "reports"))
    assert redirected(command.split())[0] == 0


def make_foreign(folder: Path) -> None:
    """Write sound models of other libraries."""
    import keras
    from diffusers import AutoencoderKL
    from pythae import models
    from torch_models import Made

    Made(folder)
    entry, code = keras.Input((8, 8, 1)), keras.Input((3,))
    hidden = keras.layers.Flatten()(keras.layers.Conv2D(2, 3, strides=2)(entry))
    keras.Model(entry, keras.layers.Dense(3)(hidden)).save(folder / "e.keras")
    keras.Model(code, keras.layers.Reshape((8, 8, 1))(keras.layers.Dense(64)(code))).save(folder / "d.keras")
    models.VAE(models.VAEConfig(input_dim=(1, 8, 8), latent_dim=3)).save(str(folder / "vae"))
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    widths = {"block_out_channels": (4, 8), "norm_num_groups": 2, "layers_per_block": 1, "latent_channels": 2}
    AutoencoderKL(1, 1, **blocks, **widths, sample_size=8).save_pretrained(folder / "kl")


# How a kind is made


def of_file(name: str, mutate: Mutate, commands: str, bytes_expected: str = SAME) -> Build:
    """A kind of input that is one file: mutated bytes, structure, or something else in its place."""

    def build(rng: Random, base: Path, folder: Path) -> Case:
        path = Path(shutil.copy(base / name, folder / "in" / name))
        chosen = rng.random()
        change = rng.choice((mutations.not_regular, mutations.other_kind))
        note, expected = (of_bytes if chosen < 0.45 else mutate if chosen < 0.88 else change)(rng, path)
        expected = bytes_expected if expected == SAME else expected
        if rng.random() < 0.06 and not path.is_symlink():
            path = path.rename(path.with_name(os.fsdecode(rng.choice(ODD_NAMES)) + path.suffix))
        return _case(rng.choice(commands.strip().splitlines()), (path, base / name), folder, note, expected)

    return build


def _within(rng: Random, path: Path) -> tuple[Path, Mutate, Change]:
    """Mutate one file of a folder: which one, how, and what was done."""
    one = rng.choice(sorted(p for p in path.rglob("*") if p.is_file()))
    structured: dict[str, Mutate] = {
        ".json": mutations.of_json_file,
        ".h5": of_hdf5,
        ".npy": mutations.of_npy,
    }
    mutate = rng.choice((of_bytes, structured.get(one.suffix, of_bytes), mutations.not_regular))
    note, expected = mutate(rng, one)
    return one, mutate, (f"{one.name}: {note}", expected)


def _relist(path: Path) -> None:
    """Let the manifest say how large the shards are, so that a mutated one is opened."""
    manifest = path / "manifest.json"
    listed = json.loads(manifest.read_text())
    listed["shards"] = [shard | {"bytes": (path / shard["file"]).stat().st_size} for shard in listed["shards"]]
    manifest.write_text(json.dumps(listed))


def of_folder(name: str, commands: str, bytes_expected: str = SAME) -> Build:
    """A kind of input that is a folder, in which one file is mutated."""

    def build(rng: Random, base: Path, folder: Path) -> Case:
        path = Path(shutil.copytree(base / name, folder / "in" / name))
        one, mutate, (note, expected) = _within(rng, path)
        if one.suffix == ".h5" and one.is_file() and rng.random() < 0.5:
            _relist(path)
        command = rng.choice(commands.strip().splitlines())
        if mutate in (of_bytes, mutations.not_regular) or command.startswith("store info"):
            expected = bytes_expected
        case = _case(command, (path, base / name), folder, note, expected)
        case.names = (name, one.name)
        return case

    return build


def of_leftover(name: str) -> Build:
    """What an earlier run has left in the folder of outputs, in which one file is mutated; the run goes on."""

    def build(rng: Random, base: Path, folder: Path) -> Case:
        shutil.copytree(base / name, folder / "out", dirs_exist_ok=True)
        one, mutate, (note, _) = _within(rng, folder / "out")
        for beside in ("secret.bin", "beside.h5", "pipe"):
            one.with_name(beside).unlink(missing_ok=True)
        case = _case(UNFINISHED[name], (folder, base / name), folder, note, SANE)
        case.names, case.resumed = ("out/x", one.name), True
        if name == "unfinished" and mutate is of_bytes:
            sound, found = base / "many.h5", folder / "out" / "x.h5"
            case.check = lambda _: None if content(sound) == content(found) else "other rows than in an undisturbed run"
        return case

    return build


def _case(command: str, files: tuple[Path, Path], folder: Path, note: str, expected: str) -> Case:
    """A case whose hostile and whose sound input are these files; the second lies in the folder of sound inputs."""
    if "] = " in note and command.startswith(("store info", "decode FILE --n")):
        expected = SANE  # these read none or few of the rows
    places = {"BASE": str(files[1].parent), "OUT": str(folder / "out")}
    given, sound = (words_of(command, {"FILE": str(file), **places}) for file in files)
    name = files[0].name
    names = (name if name.isprintable() and len(name) < 99 else files[0].suffix,)
    # A report says where the store is.
    return Case(given, names, note, expected, () if "analyze" in given else sound, finite_outputs(folder / "out"))


def words_of(command: str, places: dict[str, str]) -> list[str]:
    """The arguments of a command, with the paths that stand for names in capitals."""
    words = command.split()
    for place, value in places.items():
        words = [word.replace(place, value) for word in words]
    return words


def finite_outputs(out: Path) -> Callable[[str], str | None]:
    """Whether every store that was written can be read, and holds finite numbers."""

    def check(_: str) -> str | None:
        for path in out.iterdir():
            if path.suffix in (".h5", ".shards", ".npy"):
                rows = np.load(path) if path.suffix == ".npy" else lsampler.open_store(path).read()
                if not len(rows) or not np.isfinite(rows).all():
                    return f"{path.name} holds {'no rows' if not len(rows) else 'NaN or infinite values'}"
        return None

    return check


def picture(rng: Random, base: Path, folder: Path) -> Case:
    """A folder of sound pictures and a hostile one, which is skipped with a reason or read."""
    photos = Path(shutil.copytree(base / "photos", folder / "in" / "photos"))
    path = rng.choice(sorted(photos.iterdir()))
    if rng.random() < 0.15:
        path = path.rename(photos / (os.fsdecode(rng.choice(ODD_NAMES)) + ".png"))
    mutate = rng.choice((of_bytes, mutations.of_image, mutations.not_regular, mutations.other_kind))
    note, _ = mutate(rng, path)

    def check(out: str) -> str | None:
        store = lsampler.open_store(folder / "out" / "x.h5")
        ids = set(store.ids() or ())
        left = {p.name for p in photos.iterdir()} - {path.name, "pipe"} - ids
        if left:
            return f"left out {sorted(left)}, which are sound"
        if path.name not in ids and "skipped" not in out and "left out" not in out and not path.is_dir():
            return "left it out in silence"
        return None if np.isfinite(store.read()).all() else "NaN in the store"

    case = _case(ENCODE, (photos, base / "photos"), folder, note, SANE)
    case.names, case.check = ("photos", path.name), check
    return case


def of_tar(rng: Random, base: Path, folder: Path) -> Case:
    """A tar archive, which is no source of images, under several names."""
    path = folder / "in" / rng.choice(("photos.tar", "photos.zip", "photos.tar.gz", "photos.npy", "photos.h5"))
    note, expected = mutations.as_tar(rng, path)
    return _case(ENCODE, (path, base / "photos.zip"), folder, note, expected)


def of_pair(first: str, second: str, mutate: Mutate, *parameters: str) -> Build:
    """A model of two files, one of them mutated."""
    ends = "".join(f" --model-param {parameter}" for parameter in parameters) + " --held-out 2 --out OUT/x.h5"
    encoder = of_file(first, mutate, f"encode BASE/images.npy --model FILE+BASE/{second}{ends}", SANE)
    decoder = of_file(second, mutate, f"encode BASE/images.npy --model BASE/{first}+FILE{ends}", SANE)
    return lambda rng, base, folder: rng.choice((encoder, decoder))(rng, base, folder)


def _keras_zip(rng: Random, path: Path) -> Change:
    def member(rng: Random, data: bytes) -> bytes:
        with contextlib.suppress(ValueError):
            return mutations.dumped(rng, mutations.of_json(rng, json.loads(data))[1]).encode()
        return rng.randbytes(100)

    return mutations.of_zip(rng, path, member)


def ending(rng: Random, base: Path, folder: Path) -> Case:
    """Standard output is a closed pipe, as of ``| head -1``, or a full disk."""
    command, stdout = rng.choice(PRINTING.strip().splitlines()), rng.choice(("closed", "/dev/full"))
    case = _case(command, (folder, base / "store.h5"), folder, f"standard output is {stdout}", SANE)
    case.stdout, case.names, case.resumed = stdout, ("output", "x.h5"), True  # what is written before is kept
    return case


def case_of(kind: str, seed: int) -> tuple[Build, Random]:
    """How a case of a kind is made, and the generator of its seed."""
    from hostile.programs import PROGRAMS

    return (KINDS | FOREIGN_KINDS | PROGRAMS)[kind], random.Random(f"{kind} {seed}")


KINDS: dict[str, Build] = {
    "stores": of_file("store.h5", of_hdf5, STORE),
    "shards": of_folder("store.shards", STORE + "store merge FILE --out OUT/x.h5\n"),
    "samples": of_file("samples.h5", of_hdf5, "decode FILE --model BASE/tiny.safetensors --out OUT/x.png"),
    ".npy latents": of_file("latents.npy", mutations.of_npy, IMPORT, SANE),
    ".npz latents": of_file("latents.npz", mutations.of_zip, IMPORT),
    ".h5 latents": of_file("latents.h5", of_hdf5, IMPORT, SANE),
    ".parquet latents": of_file("latents.parquet", mutations.of_parquet, IMPORT, SANE),
    ".csv latents": of_file("latents.csv", of_bytes, IMPORT, SANE),
    "tables of labels": of_file("labels.csv", of_bytes, LABEL, SANE),
    "spaced tables of labels": of_file("labels.txt", of_bytes, LABEL, SANE),
    ".npz labels": of_file("labels.npz", mutations.of_zip, LABEL, SANE),
    ".parquet labels": of_file("labels.parquet", mutations.of_parquet, LABEL, SANE),
    "models": of_file("tiny.safetensors", mutations.of_safetensors, MODEL, SANE),
    "bundles": of_file("bundle.safetensors", mutations.of_safetensors, BUNDLE, SANE),
    **{
        f"fitted {name}": of_file(f"fitted-{name}.safetensors", mutations.of_safetensors, DRAW, SANE) for name in FITTED
    },
    "pictures": picture,
    "zip archives": of_file("photos.zip", mutations.of_zip, ENCODE, SANE),
    "tar archives": of_tar,
    ".npy images": of_file("images.npy", mutations.of_npy, IMAGES, SANE),
    ".npz images": of_file("images.npz", mutations.of_zip, ENCODE),
    ".h5 images": of_file("images.h5", of_hdf5, IMAGES, SANE),
    "unfinished stores": of_leftover("unfinished"),
    "unfinished trainings": of_leftover("training"),
    "stores appended to": of_leftover("append"),
    "earlier reports": of_leftover("reports"),
    "closed outputs": ending,
}
FOREIGN_KINDS: dict[str, Build] = {
    "onnx": of_pair("enc.onnx", "dec.onnx", mutations.of_onnx),
    "torchscript": of_pair("enc.ts", "dec.ts", of_bytes, "size=8", "channels=1", "trusted=true"),
    "torch.export": of_pair("enc.pt2", "dec.pt2", of_bytes),
    "keras": of_pair("e.keras", "d.keras", _keras_zip),
    "pythae": of_folder("vae", MODEL.splitlines()[1], SANE),
    "diffusers": of_folder("kl", MODEL.splitlines()[1], SANE),
}
