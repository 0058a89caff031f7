"""What this machine has for doing a family: versions, tools, device, disk, store, Hub. Reads; changes nothing.

Nothing heavy is imported (installed versions are read from metadata), unless ``deep`` asks to try the libraries.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from variantforge.errors import SandboxMissing
from variantforge.fsops import free_bytes
from variantforge.sandbox import try_probes, version
from variantforge.stages.quantize import QUANTIZERS, llama_cpp
from variantforge.stages.quantize.machine import Accepted, Demanding, Rejected, look

if TYPE_CHECKING:
    from packaging.requirements import Requirement

State = Literal["ok", "missing", "wrong"]

# What cannot be done without the packages of an extra.
EXTRAS = {
    "qlora": "adapters of type qlora, the formats nf4 and int8",
    "compressed": "the formats fp8, w4a16 and w8a8",
    "gguf": "the formats gguf:...",
    "evaluate": "measuring GGUF files, the evaluator format",
    "lm-eval": "the evaluator lm_eval",
    "rewards": "the reward json_valid with a schema",
}
LOW_DISK_BYTES = 5e9  # a 135M family takes about 2 GB, and a disk that fills up stops an apply
HUB = "https://huggingface.co"
NVIDIA_CARDS = Path("/proc/driver/nvidia/gpus")
_TRIED = ("transformers", "datasets", "peft", "trl", "bitsandbytes", "libgguf", "xllamacpp")
_NETWORK_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``missing`` prevents what is said; ``wrong`` must be mended before an apply."""

    name: str
    state: State
    found: str
    prevents: str = ""
    next: str = ""


def examine(store: Path, *, deep: bool = False) -> list[Finding]:
    """Everything worth knowing before an apply; ``deep`` also imports the heavy libraries and asks the device."""
    return [
        Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *packages(),
        *tools(),
        *formats(),
        sandbox(),
        *(tried() if deep else [device()]),
        disk(store),
        writer(store),
        *hub(),
    ]


def packages() -> Iterator[Finding]:
    """Every package that variantforge asks for: is it there, and in a version that is asked for?"""
    for name, (wanted, extras) in _requirements().items():
        prevents = "; ".join(EXTRAS[extra] for extra in extras)
        install = f"pip install 'variantforge[{extras[0]}]'" if extras else f"pip install '{wanted}'"
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(name, "missing" if extras else "wrong", "not installed", prevents or "everything", install)
            continue
        if wanted.specifier.contains(version, prereleases=True):
            yield Finding(name, "ok", version)
        else:
            outside = f"{version}, outside {wanted.specifier}"
            yield Finding(name, "wrong", outside, prevents or "everything", f"pip install '{name}{wanted.specifier}'")


def _requirements() -> dict[str, tuple[Requirement, list[str]]]:
    """Package -> (requirement, the extras that ask for it: none when all of variantforge does)."""
    from packaging.requirements import Requirement

    found: dict[str, tuple[Requirement, list[str]]] = {}
    for text in metadata.requires("variantforge") or []:
        wanted = Requirement(text)
        extras = [name for name in EXTRAS if wanted.marker and wanted.marker.evaluate({"extra": name})]
        if wanted.name != "variantforge" and (extras or not wanted.marker):
            found.setdefault(wanted.name, (Requirement(text.partition(";")[0]), []))[1].extend(extras)
    return found


def tools() -> Iterator[Finding]:
    """llama.cpp's own programs; packages are told by ``packages``."""
    told = set(_requirements())
    for name, ok, detail in llama_cpp.available():
        if name not in told:
            state: State = "ok" if ok else "missing"
            yield Finding(
                name, state, detail if ok else "not found", "" if ok else EXTRAS["gguf"], "" if ok else detail
            )


def formats() -> Iterator[Finding]:
    """What each quantizer says of this machine: the same as it says to a plan."""
    machine = look()
    for name in QUANTIZERS:
        quantizer = QUANTIZERS.load(name)()
        match quantizer.answer(machine) if isinstance(quantizer, Demanding) else Accepted("needs nothing more"):
            case Accepted(by):
                yield Finding(f"format {name}", "ok", by)
            case Rejected(reason, next):
                yield Finding(f"format {name}", "missing", reason, f"the format {name}", next)


def sandbox() -> Finding:
    """Whether generated code can be run here: the sandbox is started, and each of its walls is tried."""
    try:
        probes = try_probes()
    except SandboxMissing as error:
        return Finding("sandbox", "missing", error.why, _GENERATED_CODE, error.next)
    broken = [f"{probe.name}: {probe.found}" for probe in probes if probe.found]
    if broken:
        found = f"{len(broken)} of {len(probes)} probes failed: {'; '.join(broken)}"
        return Finding("sandbox", "wrong", found, _GENERATED_CODE, "run such families on another machine")
    return Finding("sandbox", "ok", f"{version()}, {len(probes)} probes held")


_GENERATED_CODE = "running generated code: rewards and evaluations by unit tests"


def device() -> Finding:
    """What computes, from what can be seen without importing torch."""
    cards = sorted(path.name for path in NVIDIA_CARDS.glob("*"))
    cores = os.cpu_count() or 1
    if not cards:
        return Finding("device", "ok", f"CPU, {cores} cores")
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        version = "none"
    if version.endswith("+cpu"):
        found = f"{len(cards)} NVIDIA GPU, but torch {version} is the build without CUDA"
        return Finding("device", "wrong", found, "training on the GPU", "pip install --force-reinstall torch")
    return Finding("device", "ok", f"{len(cards)} NVIDIA GPU, {cores} cores")


def tried() -> Iterator[Finding]:
    """The device as torch sees it, and every heavy library really imported."""
    found = _tried("torch")
    yield found
    if found.state != "ok":  # nothing else loads without it, and its own finding says why
        return
    import torch

    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        yield Finding(
            "device", "ok", f"{card.name}, {card.total_memory / 1e9:.0f} GB, {bf16}, CUDA {torch.version.cuda}"
        )
    else:
        yield Finding("device", "ok", f"CPU, {torch.get_num_threads()} threads")
    for name in _TRIED:
        yield _tried(name)


def _tried(name: str) -> Finding:
    began = time.monotonic()
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        return Finding(f"import {name}", "missing", str(error))
    except Exception as error:  # a library may fail to load in any way: a missing .so, a wrong build
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return Finding(f"import {name}", "wrong", f"{type(error).__name__}: {first}", f"whatever needs {name}")
    return Finding(f"import {name}", "ok", f"{time.monotonic() - began:.1f} s")


def disk(store: Path) -> Finding:
    free = free_bytes(store.absolute())
    found = f"{free / 1e9:.1f} GB free for {store}"
    if free >= LOW_DISK_BYTES:
        return Finding("disk", "ok", found)
    return Finding("disk", "missing", found, "larger families", "free some space, or choose another place with --store")


def writer(store: Path) -> Finding:
    """May this user write the store, and does another process work on it now?"""
    nearest = next(folder for folder in (store.absolute(), *store.absolute().parents) if folder.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding("store", "wrong", f"{store} cannot be written", "apply", "choose another place with --store")
    try:
        holder = json.loads((store / "holder.json").read_text())
        os.kill(int(holder["pid"]), 0)
    except (OSError, ValueError, KeyError, TypeError):
        return Finding("store", "ok", "free" if store.exists() else "not there yet")
    who = f"process {holder['pid']} since {holder.get('since', '?')}"
    return Finding("store", "missing", f"at work: {who}", "a second apply on it", "wait for it to end")


def hub() -> Iterator[Finding]:
    """Can the Hub be reached, and is there a token? Never which."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        yield Finding("hub", "missing", "offline, since HF_HUB_OFFLINE is set", _NEEDS_HUB, "unset HF_HUB_OFFLINE")
    elif _reaches(os.environ.get("HF_ENDPOINT", HUB)):
        yield Finding("hub", "ok", "reachable")
    else:
        yield Finding("hub", "missing", "not reachable", _NEEDS_HUB, "use local folders, or check network and proxy")
    if os.environ.get("HF_OIDC_RESOURCE"):
        yield Finding("hub token", "ok", "this CI job's identity (HF_OIDC_RESOURCE)")
    elif _has_token():
        yield Finding("hub token", "ok", "present")
    else:
        yield Finding("hub token", "missing", "none", "gated and private models and datasets", "hf auth login")


_NEEDS_HUB = "bases and datasets on the Hub that are not on this disk yet"


def _has_token() -> bool:
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    file = Path(os.environ.get("HF_TOKEN_PATH", home / "token"))
    return bool(os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")) or file.is_file()


def _reaches(endpoint: str) -> bool:
    """One TCP connection to the Hub, or to the proxy in between; a resolver that hangs is not waited for."""
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    address, reached = urlsplit(proxy or endpoint), threading.Event()

    def connect() -> None:
        try:
            port = address.port or (80 if address.scheme == "http" else 443)
            socket.create_connection((address.hostname or "", port), timeout=_NETWORK_TIMEOUT_S).close()
            reached.set()
        except (OSError, ValueError):
            pass

    connecting = threading.Thread(target=connect, daemon=True)
    connecting.start()
    connecting.join(_NETWORK_TIMEOUT_S)
    return reached.is_set()
