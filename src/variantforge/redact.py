"""Secrets stay inside: what tokens look like, and a text or an environment without them.

Laws: ``redacted(text)`` holds no known secret in plain, base64 or URL form, nor anything that looks like a token of
the Hub; ``redacted`` of its own result changes nothing; a text without secrets comes back as it was.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import LogRecord

HIDDEN = "<token>"
_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "CREDENTIAL", "HF_OIDC")
_NO_SECRET = frozenset({"TOKENIZERS_PARALLELISM"})
_LIKE_A_TOKEN = re.compile(
    r"\b(?:hf|api_org)_[A-Za-z0-9_.-]{16,}|\beyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*|(?<=Bearer )[^\s'\"<]+"
)
_SHORTEST = 8  # shorter strings are no tokens, and would black out words

_learned: set[str] = set()


def learn(secret: str) -> None:
    """From now on this string is a secret: a token fetched, read from a file, or handed in."""
    if len(secret) >= _SHORTEST:
        _learned.add(secret)


def redacted(text: str) -> str:
    """``text`` with ``<token>`` wherever a secret stood."""
    for form in _forms():
        text = text.replace(form, HIDDEN)
    return _LIKE_A_TOKEN.sub(HIDDEN, text)


def is_secret(name: str) -> bool:
    """Whether an environment variable of this name may hold a credential, or leads to one."""
    return name not in _NO_SECRET and any(word in name.upper() for word in _WORDS)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What a child process is given: everything but credentials, and no way to the stored login."""
    kept = {name: value for name, value in environment.items() if not is_secret(name)}
    return {**kept, "HF_TOKEN_PATH": os.devnull}


def hush_logs() -> None:
    """Every log record of this process, of any library, is made without secrets: message and traceback."""
    import logging

    make = logging.getLogRecordFactory()
    if getattr(make, "hushed", False):
        return
    logging.setLogRecordFactory(_hushing(make))


def _hushing(make: Callable[..., LogRecord]) -> Callable[..., LogRecord]:
    import logging

    plain = logging.Formatter()

    def record(*args: object, **kwargs: object) -> LogRecord:
        made = make(*args, **kwargs)
        try:
            made.msg, made.args = redacted(made.getMessage()), ()
        except Exception:  # a record whose arguments do not fit is its handler's to complain about, but not with them
            made.msg, made.args = redacted(str(made.msg)), ()
        if made.exc_info and made.exc_info[0]:
            made.exc_text = redacted(plain.formatException(made.exc_info))
        return made

    record.hushed = True  # type: ignore[attr-defined]
    return record


def _forms() -> list[str]:
    """All that would give a secret away, longest first."""
    secrets = _learned | {value for name in _NAMES if len(value := os.environ.get(name, "").strip()) >= _SHORTEST}
    return sorted({form for secret in secrets for form in _forms_of(secret)}, key=len, reverse=True)


@cache
def _forms_of(secret: str) -> frozenset[str]:
    from urllib.parse import quote, quote_plus

    return frozenset({secret, quote(secret, safe=""), quote_plus(secret), *_base64_of(secret.encode())})


def _base64_of(secret: bytes) -> set[str]:
    """What of a secret shows in base64, at each of the three offsets it may have in what was encoded."""
    from base64 import b64encode

    found = set()
    for offset in range(3):
        encoded = b64encode(b"\0" * offset + secret).decode()
        first, last = -(-offset * 8 // 6), (offset + len(secret)) * 8 // 6  # letters made of the secret's bits alone
        found |= {encoded[first:last], encoded[first:last].replace("+", "-").replace("/", "_")}
    return found
