"""The model to compress, brought into the one form that everything else reads: a stock safetensors folder."""

import errno
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from jobs import errors, model_files, shapes
from jobs.shapes import ModelShape
from jobs.sources import GgufModel, HubModel, LocalModel
from worker.engine import devices, gguf_models


@dataclass(frozen=True)
class Copy:
    """A stock folder on this machine that is a copy of a model at one commit."""

    folder: Path
    name: str
    revision: str | None


Reachable = HubModel | LocalModel | GgufModel | Copy
"""Sources that the engine reads itself; others are brought to this machine first."""

HUB_FILES = ["*.json", "model*.safetensors", "tokenizer*", "*.model", "*.txt", "*.jinja", "README.md", "LICENSE*"]


@dataclass(frozen=True)
class BaseModel:
    """A stock folder on this machine."""

    folder: Path
    name: str
    shape: ModelShape
    config: dict[str, Any]
    revision: str | None
    licence: str | None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the weights are stored in."""
        name = str(self.config.get("dtype") or self.config.get("torch_dtype") or "float32")
        dtype = getattr(torch, name, None)
        if not isinstance(dtype, torch.dtype):
            raise errors.UnsupportedArchitecture(f"config.json: dtype is {name!r}.")
        return dtype

    def load(self, dtype: torch.dtype, device: torch.device | None = None) -> PreTrainedModel:
        """A fresh copy of the model; see `load`."""
        return load(self.folder, self.name, dtype, device)

    def stock_config(self) -> PreTrainedConfig:
        """The configuration object of the model's own class."""
        config: PreTrainedConfig = AutoConfig.from_pretrained(self.folder, trust_remote_code=False)
        return config

    def generation_config(self) -> GenerationConfig | None:
        """How the model generates by default, if the folder says.

        Raises:
            BaseModelIncomplete: what it says makes no sense, and could not be written again.
        """
        if not (self.folder / "generation_config.json").is_file():
            return None
        try:
            found = GenerationConfig.from_pretrained(self.folder)
            found.validate()
        except (OSError, ValueError, TypeError) as error:
            raise errors.BaseModelIncomplete(
                f"generation_config.json of {self.name} is not valid: {error}", hint="Correct or remove it."
            ) from error
        return found

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer beside the weights.

        Raises:
            BaseModelIncomplete: there is none that can be read.
        """
        try:
            return AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise errors.BaseModelIncomplete(
                f"The tokenizer of {self.name} cannot be read: {error}",
                hint="The folder needs tokenizer.json (or the family's own tokenizer files).",
            ) from error


def prepare(source: Reachable, work: Path) -> BaseModel:
    """Check the model from its small files first; `work` takes what has to be written (a GGUF's weights).

    Raises:
        BaseModelError: with the reason.
    """
    match source:
        case LocalModel(path=path):
            return open_folder(Path(path))
        case GgufModel(path=path):
            folder = work / "base"
            gguf_models.convert(Path(path), folder)
            return open_folder(folder, name=Path(path).name, licence=gguf_models.licence(Path(path)))
        case Copy(folder=folder, name=name, revision=revision):
            return open_folder(folder, name=name, revision=revision)
        case HubModel():
            folder = download(source)
            return open_folder(folder, name=source.id, revision=folder.name)


def load(folder: Path, name: str, dtype: torch.dtype, device: torch.device | None = None) -> PreTrainedModel:
    """A fresh copy of the model in a stock folder, without any code from its repository.

    Weights go from the files to their place one by one: nothing is ever there twice.

    Args:
        name: what errors call it.
        device: the accelerator if there is one, if not given.
    Raises:
        BaseModelIncomplete: the weights cannot be read, or are not those of the configuration.
    """
    device = device or devices.own()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            device_map=device,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (SafetensorError, StrictDataclassError, OSError, ValueError, KeyError) as error:
        raise errors.BaseModelIncomplete(
            f"{name} cannot be loaded: {error}", hint="Copy the model again; try it with transformers alone."
        ) from error
    model, loading = loaded
    # What the files lack would be drawn at random, and nobody would know.
    wrong = [*sorted(loading["missing_keys"]), *(key for key, *_ in loading["mismatched_keys"])]
    if wrong:
        raise errors.BaseModelIncomplete(
            f"{len(wrong)} weights of {name} are missing or of another shape than config.json says, "
            f"{wrong[0]} among them.",
            hint="Copy the model again, or correct its config.json.",
        )
    return model.eval()


def let_go_of_files(model: nn.Module) -> None:
    """Have a model in main memory hold its weights itself, one after the other, where it mapped its files.

    For one that is to be cut: as long as a single tensor is a view of a mapped file all of the file stays resident,
    whatever has been cut away.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def open_folder(
    folder: Path, *, name: str | None = None, revision: str | None = None, licence: str | None = None
) -> BaseModel:
    """A stock folder that is already here."""
    name = name or folder.name
    if not folder.is_dir():
        raise errors.BaseModelNotFound(f"There is no folder {folder}.")
    names = [path.name for path in folder.iterdir()]
    model_files.check(names)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise errors.BaseModelIncomplete(f"config.json of {name} is not JSON: {error}.") from error
    _check_shards(folder)
    shape = shapes.read(config)
    return BaseModel(folder, name, shape, config, revision, licence or _stated_licence(folder))


def _check_shards(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        shards = {str(shard) for shard in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise errors.BaseModelIncomplete(
            f"{index.name} does not say which file holds which weight ({type(error).__name__}: {error}).",
            hint="Download or copy the model again.",
        ) from error
    missing = sorted(shard for shard in shards if not (folder / shard).is_file())
    if missing:
        raise errors.BaseModelIncomplete(
            f"{len(missing)} of {len(shards)} weight files are missing, {missing[0]} among them.",
            hint="Download or copy the model again.",
        )


def _stated_licence(folder: Path) -> str | None:
    """The licence named in the model card's front matter."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    head = card.read_text(encoding="utf-8", errors="replace").partition("\n---")[0]
    found = re.search(r"^license:\s*(\S+)", head, flags=re.MULTILINE)
    return found[1] if found else None


def download(source: HubModel) -> Path:
    """The snapshot's folder in the hub's cache; its name is the commit.

    The small files come first, so that a model that cannot be used costs no large download.
    """
    import httpx2
    from huggingface_hub import errors as hub
    from huggingface_hub import list_repo_files, snapshot_download

    unavailable = f"The hub did not give {source.id}"
    try:
        model_files.check(list_repo_files(source.id, revision=source.revision))
        small = snapshot_download(source.id, revision=source.revision, allow_patterns=["config.json"])
        shapes.read(json.loads((Path(small) / "config.json").read_text(encoding="utf-8")))
        return Path(snapshot_download(source.id, revision=source.revision, allow_patterns=HUB_FILES))
    except hub.GatedRepoError as error:
        raise errors.BaseModelGated(
            f"{source.id} is gated.", hint="Accept its terms on the hub and give the worker a token (HF_TOKEN)."
        ) from error
    except hub.HFValidationError as error:
        raise errors.BaseModelNotFound(f"{source.id} cannot be the name of a repository.") from error
    except hub.LocalEntryNotFoundError as error:  # not an EntryNotFoundError in meaning: nobody answered
        raise errors.BaseModelUnavailable(f"{unavailable}: {error}") from error
    except (hub.RepositoryNotFoundError, hub.RevisionNotFoundError, hub.EntryNotFoundError) as error:
        raise errors.BaseModelNotFound(
            f"There is no model {source.id} at revision {source.revision or 'main'} on the hub, or it is private."
        ) from error
    except (httpx2.HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise  # the disk's fault, not the hub's
        raise errors.BaseModelUnavailable(f"{unavailable}: {error}") from error
