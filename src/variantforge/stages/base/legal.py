"""The texts that a base brings along for lawyers: LICENSE, NOTICE, a use policy. A step of their own, beside the base.

So an agreement added to a model's folder reaches what is published and costs no training: no weights hang on it.
"""

from __future__ import annotations

from pathlib import Path

from variantforge.errors import BaseError, IntegrityError
from variantforge.fsops import copy_file, make_folder
from variantforge.hashing import file_digest, tree_digest
from variantforge.spec.family import FamilySpec
from variantforge.stages.stage import Desk, Place
from variantforge.step import Step, StepContext

LEGAL = "legal"  # the method, the place, and the folder in the artifact
VERSION = 1
_STEMS = ("license", "licence", "notice", "use_policy", "use-policy", "copying")
_SUFFIXES = ("", ".txt", ".md")
_MAX_BYTES = 1 << 20
_PATTERNS = [f"{spelled}*" for stem in _STEMS for spelled in (stem.upper(), stem.title(), stem)]


def plan_legal(desk: Desk, name: str, base: Step) -> None:
    """Lays the step out where the base brings such texts, or may: of one on the Hub only its files will tell."""
    at = base.pins["model"].at
    if at.startswith("hub:"):
        desk.add(Place("base", name, LEGAL), Step("base", VERSION, LEGAL, pins={"model": base.pins["model"]}))
    elif base.method == "folder":
        desk.look(at)
        texts = desk.once(_texts_in, at)
        if texts and (pin := desk.pin_files(texts, key="base.model")):
            params = {"files": [path.name for path in texts]}
            desk.add(Place("base", name, LEGAL), Step("base", VERSION, LEGAL, params, pins={"texts": pin}))


def _texts_in(family: FamilySpec, folder: str) -> list[Path]:
    return legal_files(Path(folder))


def legal_files(folder: Path) -> list[Path]:
    """Texts on the folder's top level whose names say what they are, sorted."""
    return sorted(path for path in folder.iterdir() if _is_legal(path))


def _is_legal(path: Path) -> bool:
    stem = path.name.lower().removesuffix(path.suffix.lower())
    known = stem.startswith(_STEMS) and path.suffix.lower() in _SUFFIXES
    return known and path.is_file() and path.stat().st_size <= _MAX_BYTES


def bring_legal(context: StepContext) -> None:
    """Fills ``legal/``. Raises BaseError when a text is no text, or the Hub cannot be reached; IntegrityError."""
    folder = make_folder(context.out / LEGAL)
    texts = _of_hub(context) if "model" in context.step.pins else _of_folder(context)
    for path in texts:
        try:
            path.read_text("utf-8")
        except (UnicodeDecodeError, OSError) as error:
            raise BaseError(f"{path.name} of the base cannot be read as text", why=str(error)[:200]) from error
        copy_file(path, folder / path.name)
    context.write_facts({"files": [path.name for path in texts]})


def _of_folder(context: StepContext) -> list[Path]:
    pin = context.step.pins["texts"]
    texts = [Path(pin.at) / name for name in context.step.params["files"]]
    if tree_digest({path.name: file_digest(path) for path in texts if path.is_file()}) != pin.digest:
        raise IntegrityError(f"the licence texts in {pin.at} have changed since the plan was made", next="run it again")
    return texts


def _of_hub(context: StepContext) -> list[Path]:
    from variantforge.stages.base.from_hub import telling

    name, _, commit = context.step.pins["model"].at.removeprefix("hub:").partition("@")
    with telling(name, commit):
        from huggingface_hub import snapshot_download

        return legal_files(Path(snapshot_download(name, revision=commit, allow_patterns=_PATTERNS)))
