"""Named things with a revision: where a base model or a dataset is to be found.

    org/name            org/name@revision       a repository on the Hub
    ./folder  ../x  /x  ~/x                     a local folder or file
    package:dist/path/in/it.gguf                a file that an installed Python distribution carries

``Ref.parse`` and ``str`` are inverses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["hub", "path", "package"]

_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION = re.compile(r"[\w./-]+")
_LOCAL = ("./", "../", "/", "~/")


@dataclass(frozen=True, slots=True)
class Ref:
    """``name`` is the repository id, the path as written, or ``dist/path``; ``revision`` only for the Hub."""

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
