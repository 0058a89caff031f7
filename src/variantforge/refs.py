"""Named things with a revision: where a base model or a dataset is to be found.

    org/name            org/name@revision       a repository on the Hub
    ./folder  ../x  /x  ~/x                     a local folder or file
    package:dist/path/in/it.gguf                a file that an installed Python distribution carries
    https://host/file.jsonl                     a file anywhere, for data alone: what it must hold stands beside it

``Ref.parse`` and ``str`` are inverses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["hub", "path", "package", "url"]

_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION = re.compile(r"[\w./-]+")
_LOCAL = ("./", "../", "/", "~/")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Ref:
    """``name``: the repository id, the path or address as written, or ``dist/path``; ``revision`` only for the Hub."""

    kind: Kind
    name: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Raises ValueError with a sentence saying what would be accepted."""
        if text.startswith("package:"):
            dist, _, path = text.removeprefix("package:").partition("/")
            if not dist or not path or ".." in path.split("/"):
                raise ValueError(f"{text!r} is not a package file: write package:distribution/path/to/file")
            return cls("package", f"{dist}/{path}")
        if text.startswith(_LOCAL) or text in (".", ".."):
            return cls("path", text)
        if _ADDRESS.match(text):
            if reason := unsafe_address(text):
                scheme, _, rest = text.partition("://")
                told = f"{scheme}://{rest.rpartition('@')[2]}"  # never a password
                raise ValueError(f"{told!r} {reason}")
            return cls("url", text)
        name, at, revision = text.partition("@")
        if _HUB.fullmatch(name) and (not at or _REVISION.fullmatch(revision)):
            return cls("hub", name, revision or None)
        hint = f". Did you mean './{text}'?" if text and "/" not in text and " " not in text else ""
        raise ValueError(
            f"{text!r} is neither a Hub id (org/name or org/name@revision), "
            f"a local path (./folder, ../file, /path), nor package:distribution/file{hint}"
        )

    def __str__(self) -> str:
        if self.kind == "package":
            return f"package:{self.name}"
        return f"{self.name}@{self.revision}" if self.revision else self.name


def unsafe_address(text: str) -> str:
    """Why nothing is downloaded from an address, as the rest of a sentence; '' when it may be.

    http:// is for this machine alone: elsewhere, who listens would know what is read.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"is no address: {error}"
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _THIS_MACHINE):
        return "is not read: write https://, or download it and name the file"
    if not host or not text.isascii() or not text.isprintable() or " " in text:
        return "is no address of a file: https://host/file.jsonl, with other characters written as %20 and the like"
    if parts.username is not None or parts.password is not None:
        return "holds a name or password, which do not belong into a family file: download it and name the file"
    return ""
