"""Which of our own environment variables each part gets to see."""

import os
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import cli
from jobs.settings import Settings

_OURS = "PRUNERY_"
_EVERYONE = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_USER = ("HOME", "USER", "XDG_CACHE_HOME")
_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_PREFIXES = (
    "HF_",
    "HUGGINGFACE_",
    "CUDA_",
    "OTEL_",
    "NVIDIA_",
    "NCCL_",
    "OMP_",
    "MKL_",
    "TORCH",
    "PYTORCH_",
    "TOKENIZERS_",
)


def for_server() -> dict[str, str]:
    """What a server of others needs: nothing of ours."""
    kept = {name: os.environ[name] for name in _EVERYONE if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8"} | kept


def for_service(settings: Mapping[str, str]) -> dict[str, str]:
    """What the API, the relay and a worker need: their settings, the network, the hub and the accelerator."""
    environment = for_server()
    environment |= {name: value for name, value in os.environ.items() if _concerns_service(name)}
    # The way to the servers next door leads through no proxy.
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = ",".join(filter(None, (environment.get(name), "127.0.0.1", "localhost")))
    # Threads that spin while they wait would take the cores from the servers next to them.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment["PYTHONUNBUFFERED"] = "1"
    # The folder a process runs in holds data, not modules.
    environment["PYTHONSAFEPATH"] = "1"
    if (checkout := _checkout()) is not None:
        environment["PYTHONPATH"] = str(checkout)
    return environment | dict(settings)


def _concerns_service(name: str) -> bool:
    if name.startswith(_OURS):
        return name.removeprefix(_OURS).lower() in Settings.model_fields
    return name.upper() in _NETWORK or name in _USER or name.startswith(_PREFIXES)


def _checkout() -> Path | None:
    """The folder that holds our packages, unless Python finds them by itself."""
    folder = Path(cli.__file__).resolve().parents[1]
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    return None if folder in installed else folder
