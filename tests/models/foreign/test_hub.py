"""Models of the Hugging Face Hub, without a network: a cache made by hand, and a stand-in for the Hub's answers."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from foreign_models import images, kl_model, pythae_model
from huggingface_hub import errors
from huggingface_hub.hf_api import ModelInfo
from safetensors.torch import save_file
from support import check_model, run_in_one_process

from lsampler import LsamplerError, load_autoencoder
from lsampler.models import ConvAutoencoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def add_to_cache(cache: Path, repository: str, files: Path, commit: str = COMMIT, revision: str = "main") -> None:
    """Lay a folder out as huggingface_hub does: blobs, links to them in snapshots, and the commit of a revision."""
    root = cache / f"models--{repository.replace('/', '--')}"
    for number, file in enumerate(sorted(path for path in files.rglob("*") if path.is_file())):
        blob = root / "blobs" / f"{commit[:20]}{number:020d}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blob)
        link = root / "snapshots" / commit / file.relative_to(files)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / revision).write_text(commit)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of huggingface_hub, which may not use the network."""

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a connection was tried: {arguments}")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path / "cache"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The files of a repository: a VAE, in a folder and in half precision beside, and things that are never read."""
    kl_model().save_pretrained(tmp_path / "repository" / "vae")
    kl_model().half().save_pretrained(tmp_path / "repository" / "vae", variant="fp16")
    (tmp_path / "repository" / "model_index.json").write_text("{}")
    (tmp_path / "repository" / "unet").mkdir()
    for name in ("unet/model.safetensors", "vae/diffusion_pytorch_model.bin", "README.md"):
        (tmp_path / "repository" / name).write_bytes(b"nothing that may be opened")
    return tmp_path / "repository"


def test_a_cached_model_is_opened_offline_whatever_the_path_of_the_cache(
    cache: Path, repository: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, local = kl_model(), load_autoencoder(str(made / "kl"))
    for name in ("cache", "another"):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache.parent / name))
        add_to_cache(cache.parent / name, "org/model", repository)
        loaded = load_autoencoder("hf:org/model:vae")
        mean = own.encode(images() * 2 - 1).latent_dist.mean
        check_model(loaded, images(), mean, (own.decode(mean).sample + 1) / 2)
        assert (loaded.fingerprint, loaded.name) == (local.fingerprint, "hf:org/model:vae")


def test_a_revision_is_a_branch_or_a_commit(cache: Path, made: Path, tmp_path: Path) -> None:
    other = "f" * 40
    torch.manual_seed(5)
    kl_model().half().save_pretrained(tmp_path / "half")
    add_to_cache(cache, "org/vae", made / "kl")
    add_to_cache(cache, "org/vae", tmp_path / "half", other, "small")
    found = {name: load_autoencoder(f"hf:org/vae{name}").fingerprint for name in ("", "@main", "@small", f"@{other}")}
    assert found[""] == found["@main"] == load_autoencoder(str(made / "kl")).fingerprint
    assert found["@small"] == found[f"@{other}"] == load_autoencoder(str(tmp_path / "half")).fingerprint
    assert found[""] != found["@small"]


def test_parameters_reach_the_loader_of_the_local_model(cache: Path, made: Path) -> None:
    add_to_cache(cache, "org/vae", made / "kl")
    assert load_autoencoder("hf:org/vae", size=12, crop="none").preprocess.size == 12
    with pytest.raises(LsamplerError, match="hf:org/vae: `size=9` must be a multiple of 2"):
        load_autoencoder("hf:org/vae", size=9)
    with pytest.raises(LsamplerError, match="diffusers: no parameter 'networks'"):
        load_autoencoder("hf:org/vae", networks="mnist-conv")


def test_models_of_lsampler_and_of_pythae_as_safetensors(
    cache: Path, tiny_model: ConvAutoencoder, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    tiny_model.save(tmp_path / "own" / "model.safetensors")
    add_to_cache(cache, "org/own", tmp_path / "own")
    for spec in ("hf:org/own", "hf:org/own:model.safetensors"):
        assert load_autoencoder(spec).fingerprint == tiny_model.fingerprint
    model = pythae_model("AE")
    model.save(str(tmp_path / "pythae"))
    (tmp_path / "pythae" / "model.pt").unlink()
    save_file(model.state_dict(), tmp_path / "pythae" / "model.safetensors")
    add_to_cache(cache, "org/pythae", tmp_path / "pythae")
    expected = model.predict(images())
    check_model(load_autoencoder("hf:org/pythae"), images(), expected.embedding, expected.recon_x)
    config = tmp_path / "pythae" / "model_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"uses_default_encoder": False}))
    add_to_cache(cache, "org/pickled", tmp_path / "pythae")
    with pytest.raises(LsamplerError, match=r"its networks are pickles, which are never downloaded.*`networks=...`"):
        load_autoencoder("hf:org/pickled")


class Answers:
    """Stands for the Hub: describes a folder as it would, and copies what is asked for into the cache."""

    def __init__(self, cache: Path, files: Path) -> None:
        self.cache, self.files, self.asked = cache, files, list[str]()
        self.card: dict[str, Any] | None = {"license": "openrail++"}
        self.gated: Any = False
        self.problem: Exception | None = None

    def model_info(self, repository: str, *, revision: str, files_metadata: bool) -> ModelInfo:
        if self.problem:
            raise self.problem
        assert files_metadata
        found = [path for path in sorted(self.files.rglob("*")) if path.is_file()]
        siblings = [{"rfilename": str(p.relative_to(self.files)), "size": p.stat().st_size} for p in found]
        return ModelInfo(id=repository, sha=COMMIT, siblings=siblings, cardData=self.card, gated=self.gated)

    def snapshot_download(self, repository: str, *, revision: str, allow_patterns: list[str], **other: Any) -> str:
        if other.get("local_files_only"):
            return self.local(repository, revision=revision, allow_patterns=allow_patterns, **other)
        self.asked = allow_patterns
        part = self.cache.parent / "asked"
        for name in allow_patterns:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.files / name, part / name)
        root = self.cache / f"models--{repository.replace('/', '--')}"
        shutil.rmtree(root, ignore_errors=True)
        add_to_cache(self.cache, repository, part, revision=revision)
        return str(root / "snapshots" / COMMIT)

    local: Callable[..., str] = staticmethod(huggingface_hub.snapshot_download)


@pytest.fixture
def hub(cache: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    answers = Answers(cache, repository)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: answers)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", answers.snapshot_download)
    return answers


def test_size_and_licence_are_said_before_a_download_and_pickles_are_left(
    hub: Answers, repository: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["vae/config.json", "vae/diffusion_pytorch_model.safetensors"]
    amount = sum((repository / name).stat().st_size for name in wanted) / 1e6
    expected = f"hf:org/model:vae: downloading {max(amount, 0.1):.1f} MB; licence: openrail++\n"
    assert load_autoencoder("hf:org/model:vae").fingerprint == load_autoencoder(str(made / "kl")).fingerprint
    assert (hub.asked, capsys.readouterr().err) == (wanted, expected)
    load_autoencoder("hf:org/model:vae")  # it is in the cache now
    assert capsys.readouterr().err == ""
    hub.problem = ConnectionError("no route")
    load_autoencoder("hf:org/model:vae")  # which serves without a network


@pytest.mark.parametrize(
    ("card", "gated", "said"),
    [
        (None, False, "the model card names none"),
        ({"license": "other", "license_name": "own-terms"}, "auto", "own-terms (gated)"),
        ({"license": ["mit", "apache-2.0"]}, False, "mit, apache-2.0"),
    ],
)
def test_licences(
    card: dict[str, Any] | None, gated: Any, said: str, hub: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.card, hub.gated = card, gated
    load_autoencoder("hf:org/model:vae")
    assert capsys.readouterr().err.endswith(f"; licence: {said}\n")


def answered(kind: type[errors.HfHubHTTPError]) -> Exception:
    return kind("refused", response=SimpleNamespace(headers={}, status_code=404, request=None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "problem", "message"),
    [
        (
            "hf:org/x",
            answered(errors.RepositoryNotFoundError),
            r"the Hub has no model 'org/x', or it is private; check",
        ),
        ("hf:org/x@v9", answered(errors.RevisionNotFoundError), r"has no revision 'v9'; give a branch, a tag or a"),
        ("hf:org/x", answered(errors.GatedRepoError), r"accept the conditions on .*/org/x, then log in by 'hf auth lo"),
        (
            "hf:org/x",
            ConnectionError(),
            r"is not in the cache, and the Hub cannot be reached \(ConnectionError\); check",
        ),
        ("hf:a/x--y", errors.HFValidationError(), r"'a/x--y' is no name of a repository; write ORG/NAME"),
        ("hf:org/x", None, r"a whole pipeline; give its autoencoder, hf:org/x:vae$"),
        ("hf:org/x:vea", None, r"the repository has no 'vea'; did you mean 'vae'\?$"),
        (
            "hf:org/x:vae/diffusion.safetensors",
            None,
            r"the repository has no 'vae/diffusion.safetensors'; did you mean 'vae/diff",
        ),
        ("hf:org/x:..", None, r"model 'hf:org/x:..': write it as hf:ORG/NAME, hf:ORG/NAME@REVISION or"),
        ("hf:x", None, r"model 'hf:x': write it as hf:ORG/NAME"),
    ],
)
def test_what_the_hub_refuses_is_one_line(spec: str, problem: Exception | None, message: str, hub: Answers) -> None:
    hub.problem = problem
    with pytest.raises(LsamplerError, match=message) as caught:
        load_autoencoder(spec)
    assert "\n" not in str(caught.value)
    assert not hub.asked


def test_weights_that_are_pickles_only_are_refused(hub: Answers, repository: Path) -> None:
    for file in repository.rglob("*.safetensors"):
        file.unlink()
    with pytest.raises(LsamplerError, match=r"hf:org/x: holds no .safetensors, and weights of other kinds are never"):
        load_autoencoder("hf:org/x")
    with pytest.raises(LsamplerError, match=r"hf:org/x:vae: holds no .safetensors, and"):
        load_autoencoder("hf:org/x:vae")


def test_an_interrupted_download_says_how_to_resume(hub: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*names: object, **settings: object) -> str:
        raise TimeoutError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    with pytest.raises(LsamplerError, match=r"the download failed \(TimeoutError\); rerun the command to resume"):
        load_autoencoder("hf:org/model:vae")


def test_offline_what_is_not_cached_is_refused_in_one_line(cache: Path, made: Path, tmp_path: Path) -> None:
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    (tmp_path / "unfinished").mkdir()
    shutil.copy(made / "kl" / "config.json", tmp_path / "unfinished" / "config.json")
    add_to_cache(cache, "org/unfinished", tmp_path / "unfinished")
    add_to_cache(cache, "org/vae", made / "kl")
    commands = [
        ["encode", made / "images.npy", "--model", model, "--out", tmp_path / f"{number}.h5"]
        for number, model in enumerate(["hf:org/vae", "hf:org/none", "hf:org/vae@v2", "hf:org/unfinished"])
    ]
    done = run_in_one_process(commands, env=env)
    fix = "HF_HUB_OFFLINE is set; unset it once to download the model"
    assert done.stderr.splitlines() == [
        f"lsampler: hf:org/none: is not in the cache, and {fix}",
        f"lsampler: hf:org/vae@v2: is not in the cache, and {fix}",
        f"lsampler: hf:org/unfinished: the cache holds no .safetensors for it, and {fix}",
    ]
    assert (tmp_path / "0.h5").exists()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(LsamplerError, match=r"hf:org/x needs huggingface_hub; .*pip install 'lsampler\[hub\]'"):
        load_autoencoder("hf:org/x")
