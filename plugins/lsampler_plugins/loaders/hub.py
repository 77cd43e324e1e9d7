"""hf: models of the Hugging Face Hub, by huggingface_hub's own cache and offline mode; nothing is unpickled."""

import glob
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lsampler import LsamplerError, load_autoencoder
from lsampler.errors import nearest_name
from lsampler.extras import require_extra
from lsampler.models import Autoencoder, AutoencoderLoader, ForeignLoader
from lsampler.plugins import offers

SPEC = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([^:\s]+))?(?::([^:\s]+))?")
SUFFIXES = (".json", ".safetensors")
"""All that is ever downloaded. Other files of weights are pickles, which can run code."""
CONFIGS = ("config.json", "model_config.json")
"""Of a folder of diffusers, and of pythae."""
VARIANT = re.compile(r"\.(?:fp16|bf16|non_ema)(?=[.-])")
"""In the names of weights that a repository offers a second time."""


@dataclass(frozen=True)
class Place:
    """What a specification names: a repository, a revision, and a folder or a file in it; empty for its root."""

    spec: str
    repository: str
    revision: str
    inside: str

    @property
    def is_file(self) -> bool:
        """Whether it names one file of weights."""
        return self.inside.endswith(SUFFIXES[1])

    def chosen(self, names: Sequence[str]) -> list[str]:
        """The files of the repository that the model needs: all of its folder, but no second copy of the weights."""
        if self.is_file:
            return [name for name in names if name == self.inside]
        own = [name for name in names if _folder_of(name) == self.inside and name.endswith(SUFFIXES)]
        plain = {name for name in own if not VARIANT.search(name)}
        return [name for name in own if name in plain or VARIANT.sub("", name) not in plain]

    def require_weights(self, names: Sequence[str], chosen: Sequence[str]) -> None:
        """Raise unless there are weights among the chosen files; say what the repository has instead."""
        if any(name.endswith(SUFFIXES[1]) for name in chosen):
            return
        folders = {_folder_of(name) for name in names if name.endswith(SUFFIXES[1])} - {self.inside}
        spec = f"hf:{self.repository}"
        if self.inside and self.inside not in {_folder_of(name) for name in names}:
            known = [name for name in names if name.endswith(SUFFIXES[1])] if self.is_file else sorted(folders - {""})
            raise LsamplerError(f"{self.spec}: the repository has no '{self.inside}'{nearest_name(self.inside, known)}")
        if "vae" in folders and not self.inside:
            raise LsamplerError(f"{self.spec}: a whole pipeline; give its autoencoder, {spec}:vae")
        if folders:
            raise LsamplerError(
                f"{self.spec}: holds no .safetensors there; give a folder that does, such as "
                f"{spec}:{min(folders)}".rstrip(":")
            )
        raise LsamplerError(
            f"{self.spec}: holds no .safetensors, and weights of other kinds are never downloaded, since they can run "
            "code; choose a repository that has them, or convert its weights and give the local folder"
        )


class Hub(AutoencoderLoader):
    """hf:ORG/NAME, a model of the Hugging Face Hub, with @REVISION or :SUBFOLDER if you like (extra 'hub').

    Opens what the loaders of local models open: folders of diffusers or pythae, and single .safetensors files. Only
    .json and .safetensors files are downloaded, and never pickles, into the cache that huggingface_hub keeps for all
    programs. The size and the licence are printed before a download. With HF_HUB_OFFLINE=1, or without a network, the
    cached files are used. Parameters are passed on to the loader of the local model.
    """

    name = "hub"

    size: int | None = Field(
        default=None, ge=4, le=4096, description="edge of the square images in pixels; none: what the model says"
    )
    channels: Literal[1, 3] | None = Field(default=None, description="3 for colour, 1 for grey; none: as the model")
    crop: Literal["centre", "celeba", "none"] | None = Field(
        default=None, description="how images are cropped before they are resized; none: centre"
    )
    value_range: Literal["0..1", "-1..1", "0..255"] | None = Field(
        default=None, description="of the model's images, from black to white; none: as its loader"
    )
    networks: str | None = Field(default=None, description="of a pythae model, as the loader 'pythae' takes it")
    norm_groups: int | None = Field(
        default=None, ge=1, description="of a single file, as the loader 'diffusers-file' takes it"
    )

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """Accept what begins with ``hf:``."""
        return spec.startswith("hf:")

    def load(self, spec: str) -> Autoencoder:
        """Find the files in the cache, or download them, and open them by the loader of local models."""
        place = _place(spec)
        hub = require_extra("huggingface_hub", extra="hub", user=spec)
        snapshot = _downloaded(hub, place)
        local = self._local(place, snapshot)
        given = {key: value for key, value in self.settings().items() if value is not None}
        try:
            found = load_autoencoder(str(local), **given)
        except LsamplerError as error:
            raise LsamplerError(str(error).replace(str(local), spec).replace(str(snapshot), spec)) from error
        if hasattr(found, "name"):
            found.name = spec  # not the path of the cache
        return found

    def _local(self, place: Place, snapshot: Path) -> Path:
        """The folder or the file that the loaders of local models open."""
        path = snapshot / place.inside
        if place.is_file:
            return path
        if (path / CONFIGS[1]).is_file() and self.networks is None:
            config = ForeignLoader.read_json(path / CONFIGS[1])
            if not all(config.get(f"uses_default_{half}", True) for half in ("encoder", "decoder")):
                raise LsamplerError(
                    f"{place.spec}: its networks are pickles, which are never downloaded; if they are networks of "
                    "pythae's benchmarks, name them by `networks=...`"
                )
        if any((path / name).is_file() for name in CONFIGS):
            return path
        files = sorted(path.glob("*.safetensors"))
        if len(files) != 1:
            raise LsamplerError(
                f"{place.spec}: has no config.json, and {len(files)} files of weights; name one, such as "
                f"{place.spec}{'/' if place.inside else ':'}{files[0].name}"
            )
        return files[0]


def _place(spec: str) -> Place:
    parts = SPEC.fullmatch(spec)
    inside = (parts[3] or "").strip("/") if parts else ""
    if parts is None or ".." in inside.split("/"):
        raise LsamplerError(f"model '{spec}': write it as hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:ORG/NAME:SUBFOLDER")
    return Place(spec, parts[1], parts[2] or "main", inside)


def _module(name: str, place: Place) -> Any:
    return require_extra(f"huggingface_hub.{name}", extra="hub", user=place.spec)


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0]


class _Unreachable(Exception):  # noqa: N818
    """The Hub did not answer; the reason."""


def _downloaded(hub: Any, place: Place) -> Path:
    """The folder of the snapshot, complete."""
    if _module("constants", place).HF_HUB_OFFLINE:
        return _cached(hub, place, "HF_HUB_OFFLINE is set; unset it once to download the model")
    try:
        with _explained(place):
            info = hub.HfApi().model_info(place.repository, revision=place.revision, files_metadata=True)
    except _Unreachable as error:
        return _cached(hub, place, f"the Hub cannot be reached ({error}); check the network, or HF_ENDPOINT")
    sizes = {one.rfilename: one.size or 0 for one in info.siblings or ()}
    chosen = place.chosen(list(sizes))
    place.require_weights(list(sizes), chosen)
    absent = [name for name in chosen if not _is_cached(hub, place.repository, name, info.sha)]
    if absent:
        amount, licence = sum(sizes[name] for name in absent), _licence(info)
        print(f"{place.spec}: downloading {_amount(amount)}; licence: {licence}", file=sys.stderr, flush=True)
    # The names as patterns; only .json and .safetensors are among them.
    patterns = [glob.escape(name) for name in chosen]
    try:
        with _explained(place):
            return Path(hub.snapshot_download(place.repository, revision=place.revision, allow_patterns=patterns))
    except _Unreachable as error:
        raise LsamplerError(f"{place.spec}: the download failed ({error}); rerun the command to resume") from error


def _cached(hub: Any, place: Place, why: str) -> Path:
    """The folder of the snapshot in the cache. Raises LsamplerError where it lacks the model."""
    try:
        with _explained(place):
            # Of no files: whether all that the model needs are there is checked below.
            found = hub.snapshot_download(
                place.repository, revision=place.revision, local_files_only=True, allow_patterns=[]
            )
    except _Unreachable as error:
        raise LsamplerError(f"{place.spec}: is not in the cache, and {why}") from error
    folder = Path(found)
    names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    if not any(name.endswith(SUFFIXES[1]) for name in place.chosen(names)):
        has = "holds no .safetensors for it" if names else "is empty"
        raise LsamplerError(f"{place.spec}: the cache {has}, and {why}")
    return folder


def _is_cached(hub: Any, repository: str, name: str, commit: str) -> bool:
    return isinstance(hub.try_to_load_from_cache(repository, name, revision=commit), str)


def _licence(info: Any) -> str:
    """The licence that the model card states, and whether its conditions must be accepted."""
    card = info.card_data or {}
    name = card.get("license_name") if card.get("license") == "other" else None
    stated = name or card.get("license") or "the model card names none"
    return f"{', '.join(stated) if isinstance(stated, list) else stated}{' (gated)' if info.gated else ''}"


def _amount(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 0.1):.1f} MB"


@contextmanager
def _explained(place: Place) -> Iterator[None]:
    """Turn what huggingface_hub raises into one line, but _Unreachable where a copy in the cache would do."""
    errors, endpoint = _module("errors", place), _module("constants", place).ENDPOINT
    try:
        yield
    except errors.GatedRepoError as error:
        raise LsamplerError(
            f"{place.spec}: its authors grant access to those who ask; accept the conditions on "
            f"{endpoint}/{place.repository}, then log in by 'hf auth login'"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise LsamplerError(
            f"{place.spec}: the Hub has no model '{place.repository}', or it is private; check the name, or log in by "
            "'hf auth login'"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise LsamplerError(
            f"{place.spec}: has no revision '{place.revision}'; give a branch, a tag or a commit of "
            f"{endpoint}/{place.repository}, or leave out @{place.revision}"
        ) from error
    except errors.HFValidationError as error:
        raise LsamplerError(f"{place.spec}: '{place.repository}' is no name of a repository; write ORG/NAME") from error
    except Exception as error:  # of whatever library made the connection
        raise _Unreachable(type(error).__name__) from error


lsampler_autoencoder_loaders = offers(Hub)
