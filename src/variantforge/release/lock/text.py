"""The text of a lock, in one form only, and the strict way back: a lock is input, edited and merged by people."""

from __future__ import annotations

import json
import re
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from variantforge.errors import Problem, SpecError
from variantforge.fsops import write_text
from variantforge.hashing import text_digest
from variantforge.refs import Ref
from variantforge.registry import near
from variantforge.release.lock.needs import PYTHON, TASK
from variantforge.release.lock.record import COMMIT, DIGEST, NONE, Lock, Locked, Teacher
from variantforge.spec.places import Places
from variantforge.spec.words import describe
from variantforge.spec.yaml_events import MAX_BYTES, Complaint, KeyPath, Mark, Node, plain_value, read_yaml

FORM = 1  # of the file
HEADER = """\
# What the names in the family file stood for when this was written. Written by `vf lock`: commit it, do not edit it.
# `vf plan` tells what has moved since, `vf lock --upgrade base|data|tools` moves it, `vf apply --frozen` demands it.
"""
_PLAIN = re.compile(r"[A-Za-z0-9./~][A-Za-z0-9_./~@:+-]*(?<!:)")
_UNSEEN = re.compile(r"[^\x20-\x7e]")
_CONFLICT = re.compile(r"^(<{7}|={7}|>{7}|\|{7})(?= |\r?$)", re.MULTILINE)


def lock_text(lock: Lock) -> str:
    """The one text of a lock: sections in a fixed order, names sorted, one fact a line."""
    return HEADER + "".join(f"{line}\n" for line in _lines(lock))


def lock_digest(lock: Lock) -> str:
    """64 hex digits that change with any fact in the lock, and with nothing else."""
    return text_digest(lock_text(lock))


def write_lock(path: Path, lock: Lock) -> None:
    write_text(path, lock_text(lock))


def _lines(lock: Lock) -> Iterator[str]:
    yield f"lock: {FORM}"
    for section in ("base", "data", "teachers"):
        if entries := lock.section(section):
            yield from ("", f"{section}:")
            for name in sorted(entries):
                yield f"  {_scalar(name)}:"
                yield from (f"    {fact}: {_scalar(value)}" for fact, value in entries[name].rows.items())
    yield from ("", "tools:")
    yield from (f"  {_scalar(name)}: {_scalar(lock.tools[name])}" for name in sorted(lock.tools))


def _scalar(text: str) -> str:
    """Text as YAML reads it back: bare where it can stand bare (a version like 0.50 would be read as a number)."""
    bare = _PLAIN.fullmatch(text) and _reads_as_text(text)
    return text if bare else _UNSEEN.sub(_escaped, json.dumps(text, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    """What nobody sees, or what YAML takes for the end of a line, as an escape."""
    return match[0] if match[0].isprintable() else f"\\U{ord(match[0]):08x}"


def _reads_as_text(bare: str) -> bool:
    try:
        return isinstance(plain_value(bare), str)
    except ValueError:
        return False


def read_lock(path: Path) -> Lock:
    """Raises SpecError with every problem of the file, each with its place."""
    text = _read(path)
    root, complaints = read_yaml(text)
    if root is None:
        raise _error(path, Node(Mark(0, 0), None), complaints)
    reader = _Reader(root, complaints)
    lock = reader.lock()
    if reader.complaints:
        raise _error(path, root, reader.complaints)
    return lock


def _read(path: Path) -> str:
    """The file's text. Raises SpecError where it cannot be one of a lock."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _refused(path, "not a regular file")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise _refused(path, f"larger than {MAX_BYTES // 1024} KiB: no lock has that many names")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _refused(path, f"byte 0x{data[error.start]:02x} is not UTF-8", line) from None
    if conflict := _CONFLICT.search(text):
        raise _refused(
            path,
            f"a merge left its mark {conflict[0]!r} here: keep the lines of one side, or delete the file and lock anew",
            text.count("\n", 0, conflict.start()) + 1,
        )
    return text


def _refused(path: Path, sentence: str, line: int = 0) -> SpecError:
    mark = Mark(line, 1) if line else Mark(0, 0)
    return _error(path, Node(Mark(0, 0), None), [Complaint(mark, (), sentence)])


def _error(path: Path, root: Node, complaints: list[Complaint]) -> SpecError:
    places = Places(str(path), root)
    ordered = sorted(complaints, key=lambda one: (one.mark, str(one.path), one.text))
    problems: list[Problem] = [places.problem(complaint) for complaint in ordered]
    restore = f"git checkout -- {shlex.quote(str(path))}   # or delete it, and write it anew: vf lock"
    return SpecError(problems, next=restore)


Check = Callable[[str], str]  # '' when the text is good, else what is wanted


def _wants(pattern: re.Pattern[str], what: str) -> Check:
    return lambda text: "" if pattern.fullmatch(text) else what


_DIGEST_OR_BLOB = re.compile(rf"{DIGEST.pattern}|git:[0-9a-f]{{40}}")
_VERSION = re.compile(r"[A-Za-z0-9][\w.+!:-]{0,79}", re.ASCII)
_LINE = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,200}")
_ENDPOINT = re.compile(r"https?://[^\s@?#\x00-\x1f]{1,200}")
_is_digest = _wants(DIGEST, "sha256: and 64 hex digits are wanted")
_is_mark = _wants(_DIGEST_OR_BLOB, "sha256: and 64, or git: and 40 hex digits are wanted")
_is_version = _wants(_VERSION, "a version is wanted")
_is_line = _wants(_LINE, "a short text of one line is wanted")

_CONTENT: dict[str, Check] = {"content": _is_digest}
_OF_A_REPO: dict[str, Check] = {"commit": _wants(COMMIT, "the 40 hex digits of a commit are wanted"), **_CONTENT}
_OF_A_PACKAGE: dict[str, Check] = {"version": _is_version, **_CONTENT}
_OF_A_BASE: dict[str, Check] = {"template": lambda text: "" if text == NONE else _is_mark(text), "tokenizer": _is_mark}
_OF_A_TEACHER: dict[str, Check] = {
    "endpoint": _wants(_ENDPOINT, "an http address without user, password or query is wanted"),
    "model": _is_line,
}


class _Reader:
    """Walks the tree of a lock, keeping every complaint."""

    def __init__(self, root: Node, complaints: list[Complaint]) -> None:
        self.root, self.complaints, self.places = root, list(complaints), Places("", root)

    def lock(self) -> Lock:
        top = self.mapping((), self.root.value)
        if self.root.children is None or isinstance(self.root.children, list):
            return Lock()
        self.known((), top, ["lock", "base", "data", "teachers", "tools"])
        if top.get("lock") != FORM or isinstance(top.get("lock"), bool):
            self.complain(("lock",), f"form {FORM} of the file is read here, not {describe(top.get('lock'))}")
        return Lock(
            base=self.refs("base", top),
            data=self.refs("data", top),
            tools=self.tools(top),
            teachers=self.teachers(top),
        )

    def refs(self, section: str, top: Mapping[str, Any]) -> dict[str, Locked]:
        found = {}
        for name, value in self.mapping((section,), top.get(section, {})).items():
            path = (section, name)
            checks = self.facts_of(path, section, name)
            facts = self.facts(path, value, checks) if checks else None
            if facts is not None:
                found[name] = Locked(**facts)
        return found

    def facts_of(self, path: KeyPath, section: str, name: str) -> dict[str, Check] | None:
        """Which facts an entry has, by the kind of its name; None after a complaint."""
        if section == "data" and name.startswith((PYTHON, TASK)):
            return _CONTENT
        try:
            ref = Ref.parse(name)
        except ValueError as error:
            self.complain(path, str(error))
            return None
        own = {"hub": _OF_A_REPO, "package": _OF_A_PACKAGE, "path": _CONTENT, "url": _CONTENT}[ref.kind]
        if ref.kind == "hub" and ref.revision and COMMIT.fullmatch(ref.revision):
            revision = ref.revision
            own = {**own, "commit": lambda text: "" if text == revision else "the name itself says another commit"}
        return {**own, **_OF_A_BASE} if section == "base" else own

    def facts(self, path: KeyPath, value: Any, checks: Mapping[str, Check]) -> dict[str, str] | None:
        """Exactly the facts that are wanted, each of the right form; None after a complaint."""
        before = len(self.complaints)
        entry = self.mapping(path, value)
        if len(self.complaints) > before:
            return None
        self.known(path, entry, list(checks))
        if missing := [fact for fact in checks if fact not in entry]:
            self.complain(path, f"incomplete: {', '.join(missing)} missing", at_key=True)
        for fact, check in checks.items():
            if fact in entry:
                self.text((*path, fact), entry[fact], check)
        return {fact: entry[fact] for fact in checks} if len(self.complaints) == before else None

    def tools(self, top: Mapping[str, Any]) -> dict[str, str]:
        tools = self.mapping(("tools",), top.get("tools", {}))
        return {name: value for name, value in tools.items() if self.text(("tools", name), value, _is_version)}

    def teachers(self, top: Mapping[str, Any]) -> dict[str, Teacher]:
        found = {}
        for name, value in self.mapping(("teachers",), top.get("teachers", {})).items():
            optional = {"fingerprint": _is_line} if isinstance(value, dict) and "fingerprint" in value else {}
            facts = self.facts(("teachers", name), value, {**_OF_A_TEACHER, **optional})
            if facts is not None:
                found[name] = Teacher(**facts)
        return found

    def mapping(self, path: KeyPath, value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        if not (path and value is None):  # 'data:' with nothing under it
            self.complain(path, f"a mapping of keys is wanted here, not {describe(value)}")
        return {}

    def known(self, path: KeyPath, entry: Mapping[str, Any], keys: list[str]) -> None:
        for key in entry:
            if key not in keys:
                told = near(key, keys) or f" Known: {', '.join(keys)}."
                self.complain((*path, key), f"unknown key.{told}", at_key=True)

    def text(self, path: KeyPath, value: Any, check: Check) -> bool:
        wanted = check(value) if isinstance(value, str) else "text is wanted here (in quotes where it is a number)"
        if wanted:
            self.complain(path, f"{wanted}, not {describe(value)}")
        return not wanted

    def complain(self, path: KeyPath, text: str, *, at_key: bool = False) -> None:
        if not self.places.unread(path):
            self.complaints.append(Complaint(self.places.mark(path, at_key=at_key), path, text))
