"""Where the bytes of a dataset lie, pinned while planning: nothing is read but what the desk hashes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from variantforge.hashing import file_digest, tree_digest
from variantforge.refs import Ref
from variantforge.registry import near
from variantforge.spec.family import PythonSourceDataset, RowsDataset
from variantforge.stages.data import python_files
from variantforge.stages.data.formats import FORMATS
from variantforge.stages.data.sources import READERS, readable
from variantforge.stages.stage import Desk
from variantforge.step import Pin

_NOT_DATA = ("readme", "license", "licence", "notice", "citation")  # stems of files that lie beside data


class Pinned(NamedTuple):
    """``files``: for each pin, the names under its ``at`` (none for a Hub dataset or a single file)."""

    pins: Mapping[str, Pin]
    files: Mapping[str, list[str]]


def pin_rows(desk: Desk, name: str, section: RowsDataset) -> Pinned | None:
    """Pins a dataset of files or of the Hub; None after a problem was told."""
    key = f"datasets.{name}"
    ref = Ref.parse(section.path)
    fits = _columns_fit(desk, key, section)
    if ref.kind == "hub":
        pin = _pin_hub(desk, key, ref, section)
        return Pinned({"data": pin}, {}) if pin and fits else None
    for option in ("revision", "subset", "split"):
        if option in section.identity():
            what = "an address" if ref.kind == "url" else "a local path"
            desk.problem(f"{key}.{option}", f"only a dataset on the Hub has a {option}; {section.path} is {what}")
            fits = False
    if ref.kind == "url":
        pin = _pin_address(desk, key, section)
        return Pinned({"data": pin}, {}) if pin and fits else None
    if ref.kind == "package":
        pin = desk.pin(ref, key=f"{key}.path") if _readable(desk, key, Path(ref.name)) else None
        fits = fits and (pin is None or _is_wanted(desk, key, section, pin.digest, Path(pin.at)))
        return Pinned({"data": pin}, {}) if pin and fits else None
    return _pin_files(desk, key, section) if fits else None


def _columns_fit(desk: Desk, key: str, section: RowsDataset) -> bool:
    forms = FORMATS.values() if section.format == "auto" else [FORMATS[section.format]]
    known = list(dict.fromkeys(field for form in forms for field in form.fields))
    unknown = [field for field in section.columns if field not in known]
    if section.keep and section.format not in ("auto", "prompt_only"):
        desk.problem(f"{key}.keep", f"columns are kept beside prompts (format: prompt_only), not in {section.format}")
        return False
    for field in unknown:
        hint = near(field, known) or f" Fields: {', '.join(known)}."
        desk.problem(f"{key}.columns.{field}", f"no field '{field}' in the format {section.format}.{hint}")
    return not unknown


def _pin_hub(desk: Desk, key: str, ref: Ref, section: RowsDataset) -> Pin | None:
    if ref.revision and section.revision and ref.revision != section.revision:
        desk.problem(f"{key}.revision", f"{section.path} names another revision; keep one of them")
        return None
    if section.sha256:
        desk.problem(f"{key}.sha256", "a dataset on the Hub is pinned by its revision; sha256 is for a file")
        return None
    return desk.pin(Ref("hub", ref.name, section.revision or ref.revision), key=f"{key}.path")


def _pin_address(desk: Desk, key: str, section: RowsDataset) -> Pin | None:
    """What the address must hold is known without asking it: the file is downloaded when the step is done."""
    if not _readable(desk, key, Path(urlsplit(section.path).path)):
        return None
    if section.sha256 is None:
        get = f"curl -fL {shlex.quote(section.path)} | sha256sum"
        desk.problem(f"{key}.sha256", f"an address may hold anything tomorrow: say what is meant. To get it: {get}")
        return None
    return Pin(section.sha256, section.path)


def _is_wanted(desk: Desk, key: str, section: RowsDataset, digest: str, path: Path) -> bool:
    """Whether the file is the one that ``sha256`` names, where it names one."""
    if section.sha256 in (None, digest):
        return True
    desk.problem(f"{key}.sha256", f"{path.name} holds other bytes: its sha256 is {digest}")
    return False


def _pin_files(desk: Desk, key: str, section: RowsDataset) -> Pinned | None:
    written = section.path
    path = desk.folder / Path(written).expanduser()
    desk.look(path)
    if path.is_dir():
        files = _folder_files(desk, key, path)
    elif path.is_file():
        files = [path] if _readable(desk, key, path) else []
    else:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        desk.problem(f"{key}.path", f"no file or folder {written}.{near(path.name, beside)}")
        return None
    if section.sha256 and path.is_dir():
        desk.problem(f"{key}.sha256", f"the digest of a file, and {written} is a folder")
        return None
    pin = desk.pin_files(files, key=f"{key}.path") if files else None
    is_it = not pin or not section.sha256 or pin.digest == tree_digest({path.name: section.sha256})
    if not is_it and not _is_wanted(desk, key, section, file_digest(path), path):
        return None
    return Pinned({"data": pin}, {"data": under(pin, files)}) if pin else None


def _folder_files(desk: Desk, key: str, folder: Path) -> list[Path]:
    """The data files directly in a folder, by name. Another file there may be data that nobody reads: a problem."""
    entries = sorted(folder.iterdir())
    for path in entries:
        desk.look(path)
    files = [path for path in entries if path.is_file() and not path.name.startswith(".")]
    data = [path for path in files if path.stem.lower() not in _NOT_DATA]
    if not data:
        folders = [path.name for path in entries if path.is_dir()]
        inside = f" It holds folders ({', '.join(folders[:5])}): name one of them." if folders else ""
        desk.problem(f"{key}.path", f"no {_known()} file in {folder.name}/.{inside}")
    unread = [path for path in data if not _readable(desk, key, path)]
    return [] if unread else data


def _readable(desk: Desk, key: str, path: Path) -> bool:
    if readable(path.name):
        return True
    desk.problem(f"{key}.path", f"{path.name} is none of {_known()}")
    return False


def _known() -> str:
    return ", ".join(READERS)


def under(pin: Pin, files: list[Path]) -> list[str]:
    """The files' names below the folder that the pin points at."""
    return [Path(os.path.abspath(path)).relative_to(pin.at).as_posix() for path in files]  # noqa: PTH100  links are kept


def digest_of(pin: Pin, files: Sequence[str]) -> str:
    """The digest of what lies there now, worked out as the desk does it; '' when something is gone."""
    try:
        if not files:
            return file_digest(Path(pin.at))
        return tree_digest({file: file_digest(Path(pin.at, file)) for file in files})
    except OSError:
        return ""


def pin_python(desk: Desk, name: str, section: PythonSourceDataset) -> Pinned | None:
    """Pins the .py files of every package and of the folder; None after a problem was told."""
    pins: dict[str, Pin] = {}
    files: dict[str, list[str]] = {}
    for role, key, found in _python_places(desk, name, section):
        pin = desk.pin_files(found, key=key) if found else None
        if pin:
            pins[role], files[role] = pin, under(pin, found)
    wanted = len(set(section.packages)) + bool(section.folder)
    return Pinned(pins, files) if len(pins) == wanted else None


def _python_places(desk: Desk, name: str, section: PythonSourceDataset) -> list[tuple[str, str, list[Path]]]:
    places = []
    for package in sorted(set(section.packages)):
        key = f"datasets.{name}.packages[{section.packages.index(package)}]"
        found = python_files.of_package(package, desk.look)
        if not found:
            desk.problem(key, python_files.not_found(package))
        places.append((f"package:{package}", key, found))
    if section.folder:
        key = f"datasets.{name}.folder"
        folder = desk.folder / Path(section.folder).expanduser()
        found = python_files.of_folder(folder, desk.look)
        if not found:
            why = "no .py files in" if folder.is_dir() else "no folder"
            beside = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
            desk.problem(key, f"{why} {section.folder}.{'' if folder.is_dir() else near(folder.name, beside)}")
        places.append(("folder", key, found))
    return places
