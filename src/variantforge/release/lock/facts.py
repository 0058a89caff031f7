"""What the names of a family stand for now: digests of what the plan pinned, and versions of the tools.

Nothing heavy is imported, and of a model only what names its template and its tokenizer is looked at.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Collection, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from variantforge.errors import NotOnHub
from variantforge.hashing import file_digest, text_digest, tree_digest
from variantforge.plan.plan import Plan
from variantforge.release.hub.client import Hub
from variantforge.release.hub.retry import Patience
from variantforge.release.lock.hub import files_at
from variantforge.release.lock.needs import Need, endpoints, needs
from variantforge.release.lock.record import NONE, Lock, Locked
from variantforge.spec.family import FamilySpec
from variantforge.stages.base.files import is_pinned
from variantforge.stages.base.gguf_header import read_gguf_header
from variantforge.stages.base.look import inspect_base
from variantforge.stages.quantize.llama_cpp import CONVERTER
from variantforge.step import Pin
from variantforge.store.manifest import TOOLS

_PATIENCE = Patience(down_s=20, busy_s=60)
_TEMPLATES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")  # where one stands, first wins
_TOKENIZERS = ("tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")


def now(
    family: FamilySpec,
    plan: Plan,
    held: Lock,
    moving: Collection[str] = (),
    *,
    tell: Callable[[str], None] = lambda text: None,
) -> Lock:
    """The lock that would be written from nothing; entries of ``held`` that do not move are taken over unasked.

    ``tell`` hears one line for every wait. Raises HubError for a repo that the Hub cannot be asked about.
    """
    named = needs(family, plan)
    hub = Hub(tell=tell, patience=_PATIENCE) if any(need.hub for need in named) else None
    found: dict[str, dict[str, Locked]] = {"base": {}, "data": {}}
    for need in named:
        kept = None if need.section in moving else held.section(need.section).get(need.name)
        if kept is not None:
            found[need.section][need.name] = kept
        elif pin := need.pin(plan):
            found[need.section][need.name] = locked(need, pin, hub)
    return Lock(base=found["base"], data=found["data"], tools=tools(), teachers=endpoints(family))


def locked(need: Need, pin: Pin, hub: Hub | None) -> Locked:
    """The entry of one name, from the bytes that the plan pinned for it."""
    if need.hub and hub:
        return _locked_on_hub(need, need.hub.name, pin.at.rpartition("@")[2], hub)
    marks = _marks(pin) if need.section == "base" else {}
    return Locked(f"sha256:{pin.digest}", version=carrier_version(need), **marks)


def _locked_on_hub(need: Need, name: str, commit: str, hub: Hub) -> Locked:
    files = files_at(hub, name, need.repo_type, commit)
    if files is None:
        raise NotOnHub(
            f"{name} has no commit {commit} on the Hub", next=f"look at its commits: {hub.page(name, need.repo_type)}"
        )
    marks = _marks_of(files) if need.section == "base" else {}
    return Locked(content_of(files, need), commit=commit, **marks)


def content_of(files: Mapping[str, str], need: Need) -> str:
    """One digest for the listing of a commit: of the files that are read, so an edited card moves nothing."""
    model = need.section == "base"
    return f"sha256:{tree_digest({path: digest for path, digest in files.items() if is_pinned(path, model=model)})}"


def carrier_version(need: Need) -> str:
    """The installed version of the distribution that carries a ``package:`` file; '' for every other name."""
    if need.ref is None or need.ref.kind != "package":
        return ""
    try:
        return metadata.version(need.ref.name.partition("/")[0])
    except metadata.PackageNotFoundError:
        return ""


def _marks(pin: Pin) -> dict[str, str]:
    """Template and tokenizer of a base on this disk."""
    path = Path(pin.at)
    if not path.is_dir():
        return _marks_in_gguf(path)
    names = [name for name in ("tokenizer.json", *_TOKENIZERS, *_TEMPLATES) if (path / name).is_file()]
    marks = _marks_of({name: f"sha256:{file_digest(path / name)}" for name in names})
    return marks if inspect_base(pin).has_template else marks | {"template": NONE}


def _marks_of(files: Mapping[str, str]) -> dict[str, str]:
    """Both by the digests of the files that hold them."""
    template = next((files[name] for name in _TEMPLATES if name in files), NONE)
    others = {name: files[name] for name in _TOKENIZERS if name in files}
    return {"template": template, "tokenizer": files.get("tokenizer.json") or f"sha256:{tree_digest(others)}"}


def _marks_in_gguf(path: Path) -> dict[str, str]:
    """The template's text, and every other pair under ``tokenizer.`` as it lies in the file."""
    header = read_gguf_header(path)
    template = header.text("tokenizer.chat_template")
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for key in sorted(header.pairs):
            if key.startswith("tokenizer.") and key != "tokenizer.chat_template":
                start, end = header.pairs[key]
                file.seek(start)
                digest.update(file.read(end - start))
    return {
        "template": f"sha256:{text_digest(template)}" if template else NONE,
        "tokenizer": f"sha256:{digest.hexdigest()}",
    }


@cache
def tools() -> dict[str, str]:
    """Name -> version of every tool that is installed, read from metadata.

    Without the local part: 2.13.0+cpu and 2.13.0+cu128 are one release, built for two devices.
    """
    found = {"python": platform.python_version()}
    for name in TOOLS:
        try:
            found[name] = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
    if folder := os.environ.get("LLAMA_CPP_DIR"):
        converter = Path(folder).expanduser() / CONVERTER
        if converter.is_file():
            found["llama.cpp"] = f"sha256:{file_digest(converter)}"
    return found
