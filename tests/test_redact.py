"""No secret in what is told, logged or handed to a child, in any form it could be read back from."""

from __future__ import annotations

import base64
import io
import logging
import subprocess
import sys
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from variantforge import redact
from variantforge.errors import HubError

CANARY = "canary+/token=with all&kinds"
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=40)


@pytest.fixture(autouse=True)
def only_what_a_test_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_learned", set())
    for name in redact._NAMES:
        monkeypatch.delenv(name, raising=False)


@given(secret=secrets, before=st.binary(max_size=7), after=st.binary(max_size=7))
@example(secret=CANARY, before=b"user:", after=b"\n")
@example(secret="ML^2`tO|?j)NYK~RC'g8K[E4X8{=4dK.", before=b"", after=b"")
def test_a_learned_secret_is_gone_in_plain_url_and_base64_form(secret: str, before: bytes, after: bytes) -> None:
    redact.learn(secret)
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    for text in (
        f"at {secret}.",
        f"?token={quote(secret, safe='')}&x",
        encoded,
        encoded.replace("+", "-").replace("/", "_"),
    ):
        assert redact.HIDDEN in redact.redacted(text)
        assert secret not in redact.redacted(text)
    assert secret.encode() not in base64.b64decode(_letters(redact.redacted(encoded)))


def _letters(text: str) -> str:
    kept = text.replace(redact.HIDDEN, "").rstrip("=")
    return kept + "A" * (-len(kept) % 4)


@given(st.text())
def test_redacting_twice_is_redacting_once(text: str) -> None:
    redact.learn(CANARY)
    once = redact.redacted(text + CANARY)
    assert redact.redacted(once) == once


@given(st.text(st.characters(exclude_characters="_."), max_size=80))
def test_a_text_without_secrets_stays(text: str) -> None:
    assert redact.redacted(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "hf_" + "aB3" * 11,
        "token hf_jwt_eyJhbGciOiJIUzI1NiJ9 was sent",
        "Authorization: Bearer abcdefgh",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZXBvIn0.c2lnbmF0dXJl",
    ],
)
def test_what_looks_like_a_token_is_hidden_though_nobody_learned_it(text: str) -> None:
    assert redact.HIDDEN in redact.redacted(text)


@pytest.mark.parametrize("text", ["hf_hub_download", "hf_xet 1.8.0", "HF_TOKEN", "the bearer of news", "0123abcd" * 8])
def test_words_that_are_no_tokens_stay(text: str) -> None:
    assert redact.redacted(text) == text


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN"])
def test_a_secret_of_the_environment_is_hidden_in_every_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, CANARY)
    error = HubError(f"what {CANARY}", why=f"why {quote(CANARY, safe='')}", next=f"next {CANARY}")
    assert "canary" not in str(error)
    assert str(error) == "what <token>\nwhy <token>\nNext: next <token>"


def test_a_short_value_blacks_out_no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "a")
    redact.learn("e")
    assert redact.redacted("a failure") == "a failure"


def test_a_child_gets_no_credential_and_no_way_to_the_login() -> None:
    given = {
        "PATH": "/bin",
        "HF_TOKEN": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "HF_OIDC_RESOURCE": "acme/x",
        "ACTIONS_ID_TOKEN_REQUEST_URL": "x",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HOME": "/home/hf",
        "HF_TOKEN_PATH": "/home/token",
    }
    assert redact.without_secrets(given) == {
        "PATH": "/bin",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HOME": "/home/hf",
        "HF_TOKEN_PATH": "/dev/null",
    }


def test_log_records_of_any_library_hold_no_secret_in_message_or_traceback() -> None:
    script = (
        "import logging; from variantforge import redact\n"
        "redact.hush_logs(); redact.hush_logs()\n"
        "logging.basicConfig(level='DEBUG')\n"
        "log = logging.getLogger('somebody')\n"
        f"log.warning('sent %s', {CANARY!r}); log.debug('bad %d', {CANARY!r})\n"
        f"try: raise ValueError({CANARY!r})\n"
        "except ValueError: log.exception('failed')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"HF_TOKEN": CANARY}
    )
    assert "canary" not in done.stderr + done.stdout
    assert "WARNING:somebody:sent <token>" in done.stderr
    assert "DEBUG:somebody:bad %d" in done.stderr
    assert "ValueError: <token>" in done.stderr


def test_a_log_record_without_secrets_is_what_it_was() -> None:
    from variantforge.redact import _hushing

    make = _hushing(logging.LogRecord)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.handle(make("name", logging.INFO, "path", 1, "%s of %d", ("one", 2), None))
    assert stream.getvalue() == "one of 2\n"
