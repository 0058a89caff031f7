"""What should not stand in a row's text: secrets, broken Unicode, and the base's own control tokens.

Secrets are found by the formats that their makers publish (``SECRETS``); a secret itself is never told, only its kind
and its first four characters. Broken Unicode is what a wrong decoding or a hostile hand leaves behind. Control tokens
are those that give a chat its form: written in a text, they are tokenized as such, and end the turn they stand in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from variantforge.errors import ControlTokensInText
from variantforge.stages.rows import texts_of

Row = Mapping[str, Any]
SECRET, UNICODE = "secret", "broken unicode"


class Finding(NamedTuple):
    """``kind``: SECRET or UNICODE; ``what``: which sort of it; ``shown``: as much of it as may be told."""

    kind: str
    what: str
    shown: str


# --- secrets ----------------------------------------------------------------------------------------------------------


class Format(NamedTuple):
    """``marks``: one of these stands in every secret of the kind: looked for first, since that is fast. A run that must
    be followed by something has a largest length: no text may make the search slow."""

    what: str
    marks: tuple[str, ...]
    pattern: str


SECRETS = (
    # docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html: prefixes of unique ids
    Format("AWS access key", ("AKIA", "ASIA"), r"\bA[KS]IA[A-Z2-7]{16}\b"),
    # github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats
    Format("GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"\bgh[pousr]_[A-Za-z0-9]{36,}"),
    Format("GitHub token", ("github_pat_",), r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    # docs.gitlab.com/security/tokens: token prefixes
    Format("GitLab token", ("glpat-",), r"\bglpat-[\w-]{20,}"),
    # huggingface.co/docs/hub/security-tokens
    Format("Hugging Face token", ("hf_", "api_org_"), r"\b(?:hf|api_org)_[A-Za-z0-9]{34,}"),
    # platform.openai.com and docs.anthropic.com: keys as their consoles write them
    Format("OpenAI key", ("T3BlbkFJ",), r"\bsk-[\w-]{16,200}T3BlbkFJ[\w-]{16,}"),
    Format("Anthropic key", ("sk-ant-",), r"\bsk-ant-[a-z]+\d+-[\w-]{80,}"),
    # cloud.google.com/docs/authentication/api-keys
    Format("Google API key", ("AIza",), r"\bAIza[\w-]{35}(?![\w-])"),
    # api.slack.com/authentication/token-types
    Format("Slack token", ("xox",), r"\bxox[abeoprs]-[\w-]{20,}"),
    Format("Slack webhook", ("hooks.slack.com",), r"hooks\.slack\.com/services/T\w{8,20}/B\w{8,20}/\w{20,}"),
    # docs.stripe.com/keys: live keys; test keys move no money
    Format("Stripe key", ("_live_",), r"\b[rs]k_live_[A-Za-z0-9]{24,}"),
    # docs.npmjs.com/about-access-tokens; pypi.org/help/#apitoken: a macaroon for pypi.org
    Format("npm token", ("npm_",), r"\bnpm_[A-Za-z0-9]{36}\b"),
    Format("PyPI token", ("pypi-AgEIcHlwaS5vcmc",), r"\bpypi-AgEIcHlwaS5vcmc[\w-]{50,}"),
    # www.twilio.com/docs/sendgrid/ui/account-and-settings/api-keys
    Format("SendGrid key", ("SG.",), r"\bSG\.[\w-]{22}\.[\w-]{43}(?![\w-])"),
    # learn.microsoft.com/azure/storage/common/storage-configure-connection-string
    Format("Azure storage key", ("AccountKey=",), r"\bAccountKey=[A-Za-z0-9+/]{86}=="),
    # RFC 7468, section 10 and 11; RFC 4880, section 6.2
    Format(
        "private key", ("PRIVATE KEY",), r"-----BEGIN (?:[A-Z0-9]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----\s*[\w+/=:]{16}"
    ),
    # RFC 7519: header and claims are JSON objects, {" is eyJ in base64
    Format("JSON web token", ("eyJ",), r"\beyJ[\w-]{8,400}\.eyJ[\w-]{8,4000}\.[\w-]{16,}"),
)
_SECRETS = [(one, re.compile(one.pattern)) for one in SECRETS]
_SHOWN = 4  # characters of a secret that may be told: they say its kind
_MADE_UP = re.compile(r"EXAMPLE|example|x{6}|X{6}|0{8}|\*{3}|1234567890")
_LEAST_LETTERS = 8  # a real one has more different characters; AKIAAAAAAAAAAAAAAAAA is a placeholder


def secrets_in(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """``what, match`` of each; placeholders of documentation are none."""
    for form, pattern in _SECRETS:
        if any(mark in text for mark in form.marks):
            for match in pattern.finditer(text):
                if not _MADE_UP.search(match[0]) and len(set(match[0])) >= _LEAST_LETTERS:
                    yield form.what, match


def hidden_secrets(text: str) -> list[str]:
    """What may be shown of each character: itself, or nothing after the first four of a secret (``…`` in the fifth's
    place)."""
    shown = list(text)
    for _, match in secrets_in(text):
        start, end = match.start() + _SHOWN, match.end()
        shown[start:end] = ["…", *[""] * (end - start - 1)]
    return shown


def _told(secret: str) -> str:
    return f"{secret[:_SHOWN]}…"


# --- broken Unicode ---------------------------------------------------------------------------------------------------

_SORTS = (
    ("replacement character", re.compile("\ufffd")),
    ("control character", re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")),
    # www.unicode.org/reports/tr36 and CVE-2021-42574: text that reads otherwise than it runs
    ("bidirectional override", re.compile("[\u202a-\u202e\u2066-\u2069]")),
    # joiners (U+200C, U+200D) are none: Persian, Hindi and emoji need them
    ("zero-width character", re.compile("[\u200b\u2060\ufeff]")),
)
_ODD = re.compile("[^\t-\r -~]")  # anything but plain ASCII text
_CP1252 = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"  # what the bytes 80 to 9f are there
_RUN = re.compile(rf"(?:[\u00c2-\u00f4][\u0080-\u00bf{_CP1252}]{{1,3}})+")
_KNOWN = re.compile(rf"Ã[\u0080-\u00bf{_CP1252}]|Â[\u00a0-\u00bf]|â€|ðŸ|ï»¿|ï¿½")


def broken_in(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """``what, match`` of each place where a text is not what was written."""
    if not _ODD.search(text):
        return
    for what, pattern in _SORTS:
        for match in pattern.finditer(text):
            yield what, match
    for match in _RUN.finditer(text):
        if _is_mojibake(match[0]):
            yield "mojibake", match


def _is_mojibake(run: str) -> bool:
    """UTF-8 read as Windows-1252 or Latin-1: it can be read back, and is more than one letter that happens to fit."""
    data = b"".join(letter.encode("cp1252" if letter in _CP1252 else "latin-1") for letter in run)
    try:
        letters = len(data.decode())
    except UnicodeDecodeError:
        return bool(_KNOWN.search(run))
    return letters > 1 or bool(_KNOWN.match(run))


# --- control tokens ---------------------------------------------------------------------------------------------------


def control_tokens(model: Path, facts: Mapping[str, Any]) -> list[str]:
    """The special tokens of a base that give a chat its form: those its chat template writes, BOS, EOS and the stop
    tokens. Others (``<filename>``, ``<extra_id_0>``) teach nothing wrong where they stand in a text.

    ``model``: its folder; ``facts``: of its artifact.
    """
    listed = _read(model / "tokenizer.json").get("added_tokens", [])
    special = {str(token["content"]) for token in listed if token.get("special")}
    named = _read(model / "tokenizer_config.json")
    ends = {_content(named.get(name)) for name in ("bos_token", "eos_token")} | set(facts.get("stop_tokens", ()))
    template = model / "chat_template.jinja"
    written = template.read_text(encoding="utf-8") if template.is_file() else ""
    return sorted(token for token in special if token.strip() and (token in ends or token in written))


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return found


def _content(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


class ControlTokens:
    """Looks for ``tokens`` in rows."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        longest_first = sorted(tokens, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if tokens else None

    def found_in(self, row: Row) -> list[str]:
        """Those in a row's text, each once, in the order of the text."""
        if self._pattern is None:
            return []
        return list(dict.fromkeys(found for text in texts_of(row) for found in self._pattern.findall(text)))

    def refuse(self, row: Row) -> None:
        """Raises ControlTokensInText when a row has any."""
        if found := self.found_in(row):
            raise ControlTokensInText(
                f"row {row['id']} of '{row['source']}' has {', '.join(found[:3])} in its text",
                why="The tokenizer makes a control token of it: a turn would end, or another begin, in the midst of a "
                "text. Whoever can write into the data could put words into the system's mouth.",
                next="remove it from the row; or leave such rows out with data_policy: {on_special_tokens: skip}, or, "
                "where texts were rendered with the template on purpose, set it to keep",
            )


# --- of a row ---------------------------------------------------------------------------------------------------------


def findings(row: Row) -> Iterator[Finding]:
    """Secrets and broken Unicode in a row's text."""
    for text in texts_of(row):
        for what, match in secrets_in(text):
            yield Finding(SECRET, what, _told(match[0]))
        for what, match in broken_in(text):
            yield Finding(UNICODE, what, ascii(match[0])[1:-1] if what != "mojibake" else match[0][:8])
