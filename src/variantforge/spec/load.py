"""YAML -> FamilySpec, with every problem of the file told at once: place, key path, what to write instead."""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from variantforge.errors import Problem, SpecError
from variantforge.registry import near
from variantforge.spec import adapter_types
from variantforge.spec.complaints import complaints_of
from variantforge.spec.crosscheck import cross_complaints
from variantforge.spec.doubts import NO_DOUBTS, Doubts, understood
from variantforge.spec.family import FamilySpec
from variantforge.spec.places import Places
from variantforge.spec.trainer_args import sources_read
from variantforge.spec.words import describe
from variantforge.spec.yaml_events import MAX_BYTES, Complaint, Mark, Node, Unreadable, read_yaml

_FILE = Mark(0, 0)  # the file itself
MAX_PROBLEMS = 200  # told one by one; a file with more is broken in one place


@dataclass(frozen=True)
class FamilyFile:
    """A family as written, and where each key of it stands. ``sources``: other files that checking it has read.

    ``complaints``: what is wrong with it; ``doubts``: the parts that ``spec`` therefore does not tell as written.
    """

    spec: FamilySpec
    path: Path
    places: Places
    sources: tuple[Path, ...] = ()
    complaints: tuple[Complaint, ...] = ()
    doubts: Doubts = NO_DOUBTS

    def where(self, key: str) -> str:
        """``"family.yaml:17:5"`` for a key path; the nearest parent's place when the key itself is not written."""
        return self.places.where(key)

    def problem(self, key: str, text: str) -> Problem:
        return Problem(self.where(key), key, text)

    def error(self, found: Iterable[tuple[str, str]] = ()) -> SpecError:
        """One error for the complaints and all that was found, as (key path, sentence): in the order of the file."""
        marks = [(complaint.mark, self.places.problem(complaint)) for complaint in self.complaints]
        marks += [(self.places.mark(self.places.path_of(key)), self.problem(key, text)) for key, text in found]
        return _told(self.path, marks)


def load_family(path: Path) -> FamilyFile:
    """Reads and checks a family file. Raises SpecError with all its problems, in the order of the file."""
    file = read_family(path)
    if file.complaints:
        raise file.error()
    return file


def read_family(path: Path) -> FamilyFile:
    """Reads a family file as far as it can be understood, for ``build_plan`` to tell its complaints with its own.
    Raises SpecError when it has not the shape of a family, or has a great many complaints."""
    try:
        text = _read_text(path)
    except Unreadable as stop:
        raise _spec_error(path, [stop.complaint]) from None
    root, complaints = read_yaml(text)
    if root is not None and not isinstance(root.value, dict):
        complaints.append(_not_a_family(root))
    if root is None or not isinstance(root.value, dict):
        raise _spec_error(path, complaints)
    places = Places(str(path), root)
    spec: FamilySpec | None = None
    doubts = NO_DOUBTS
    try:
        spec = FamilySpec.model_validate(root.value, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        complaints += complaints_of(error, places)
    complaints += cross_complaints(places)
    if complaints or spec is None:
        known = understood(root.value, complaints) if len(complaints) <= MAX_PROBLEMS else None
        if known is None:
            raise _spec_error(path, complaints)
        spec, doubts = known
    sources = (*sources_read(), *adapter_types.sources_read())
    return FamilyFile(spec.with_parity(), path, places, sources, tuple(complaints), doubts)


def _not_a_family(root: Node) -> Complaint:
    if root.value is None and not root.unread:
        return Complaint(root.mark, (), "the file is empty")
    form = "a family file is a mapping of keys (family, base, variants, ...)"
    return Complaint(root.mark, (), f"{form}, not {describe(root.value)}")


# What YAML 1.2 lets a file hold, but for byte order marks inside: https://yaml.org/spec/1.2.2/#51-character-set
_FOREIGN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]").search


def _read_text(path: Path) -> str:
    """The file's text without a byte order mark. Raises Unreadable."""
    data = _read_bytes(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable(Mark(1, 1), "the file is UTF-16: save it as UTF-8")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        mark = _mark_at(data[: error.start].decode("utf-8"))
        raise Unreadable(mark, f"byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8") from None
    if foreign := _FOREIGN(text):
        mark = _mark_at(text[: foreign.start()])
        raise Unreadable(mark, f"the character U+{ord(foreign[0]):04X} cannot stand in a YAML file")
    return text


def _read_bytes(path: Path) -> bytes:
    """At most MAX_BYTES of a regular file. Raises Unreadable with why not."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Unreadable(_FILE, "a folder, not a file" if path.is_dir() else "not a regular file")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise Unreadable(_FILE, f"there is no such file.{near(path.name, _families_beside(path))}") from None
    except (OSError, ValueError) as error:
        raise Unreadable(_FILE, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise Unreadable(_FILE, f"larger than {MAX_BYTES // 1024} KiB; split the family into several files")
    return data


def _families_beside(path: Path) -> list[str]:
    return sorted(other.name for other in path.parent.glob("*.y*ml"))


def _mark_at(before: str) -> Mark:
    """The place that follows a text."""
    lines = re.split("\r\n|\r|\n", before)
    return Mark(len(lines), len(lines[-1]) + 1)


def _spec_error(path: Path, complaints: list[Complaint]) -> SpecError:
    places = Places(str(path), Node(_FILE, None))
    return _told(path, [(complaint.mark, places.problem(complaint)) for complaint in complaints])


def _told(path: Path, found: list[tuple[Mark, Problem]]) -> SpecError:
    """In the order of the file, and not more than a person can read."""
    ordered = [problem for _, problem in sorted(found, key=lambda one: (one[0], one[1].key, one[1].text))]
    problems = ordered[:MAX_PROBLEMS]
    if len(ordered) > MAX_PROBLEMS:
        problems.append(Problem(str(path), "", f"and {len(ordered) - MAX_PROBLEMS:,} more problems after these"))
    command = f"variantforge check {shlex.quote(str(path))}"
    return SpecError(problems, next=f"correct {path}, then run: {command}")
