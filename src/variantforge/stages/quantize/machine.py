"""What a machine has, and whether a quantizer can work with it: facts are gathered here, decisions are pure.

``look`` reads (installed versions, cards, the platform) and decides nothing; ``Quantizer.answer(machine)`` decides and
reads nothing. Planning and ``doctor`` ask the same question and so get the same answer.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from variantforge.stages.quantize.environment import LISTS, MARKER, Environment

NVIDIA_CARDS = Path("/proc/driver/nvidia/gpus")
ENVIRONMENTS = ("gptq",)
PACKAGES = ("bitsandbytes", "compressed-tensors", "libgguf", "gguf")  # that some quantizer rests on


@dataclass(frozen=True)
class Machine:
    """``versions``: package -> installed version, of ``PACKAGES``. ``cards``: names of CUDA devices.
    ``environments``: those of their own that are made already.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    cards: tuple[str, ...] = ()
    system: str = "Linux"
    python: tuple[int, int] = (3, 11)
    environments: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Accepted:
    """``by``: what does the work, with its version."""

    by: str


@dataclass(frozen=True)
class Rejected:
    """``reason``: what this machine lacks, as a sentence. ``next``: a command, or an edit of the family file."""

    reason: str
    next: str


Answer: TypeAlias = Accepted | Rejected


@runtime_checkable
class Demanding(Protocol):
    """A quantizer that cannot work on every machine."""

    def answer(self, machine: Machine) -> Answer:
        """Whether it can work there: a pure function."""


def look() -> Machine:
    """This machine, from what can be seen without importing torch."""
    cards = tuple(sorted(path.name for path in NVIDIA_CARDS.glob("*")))
    installed = {name: found for name in PACKAGES if (found := _version(name))}
    made = frozenset(name for name in ENVIRONMENTS if Environment.of(name).ready)
    return Machine(installed, cards, platform.system(), sys.version_info[:2], made)


def files_read(machine: Machine) -> Iterator[Path]:
    """The files that told this: of installed versions, and of environments."""
    for package, found in machine.versions.items():
        folder = f"{package.replace('-', '_')}-{found}.dist-info"
        yield Path(str(metadata.distribution(package).locate_file(f"{folder}/METADATA")))
    for name in ENVIRONMENTS:
        yield from (LISTS / f"{name}.txt", Environment.of(name).folder / MARKER)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def rests_on(machine: Machine, package: str, extra: str) -> Answer:
    """Accepted where ``package`` is installed."""
    if found := machine.versions.get(package):
        return Accepted(f"{package} {found}")
    return Rejected(f"{package} is not installed", f"pip install 'variantforge[{extra}]'")
