"""No command lets a token out: not to the terminal, a log, the store, a card, or into what the Hub keeps."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import typer

from tests.cli.conftest import Ended, Vf
from tests.cli.test_release import to_hub  # noqa: F401  a family of toys that is released to the Hub
from tests.localhub import LocalHub
from tests.localhub.http import HubError, Reply, Request
from variantforge import redact
from variantforge.cli.app import COMMANDS, CommandFolder

# Nothing about them looks like a token: only who knows them can keep them in.
IN_ENVIRONMENT = "canary/of+the=environment&4711"
IN_LOGIN = "canary~of the%stored?login/0815"
# What a command is given besides --yes; the others need nothing.
ARGUMENTS = {
    "init": ["new.yaml"],
    "data": ["check"],
    "compare": ["code/nf4", "code"],
    "promote": ["candidate", "stable"],
    "rollback": ["1.0.0"],
    "retire": ["acme/toy-code", "--new-version", "acme/toy-law"],
    "verify": ["acme/toy", "--download"],
}
WANT_A_MODEL = {"data", "compare"}  # toys have none, so these two end with a letter


def forms(secret: str) -> set[bytes]:
    """A secret in plain, in URL form, and in base64 at the three offsets it may have."""
    found = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret.encode()).decode().rstrip("=")
        inner = encoded[4 if offset else 0 : -4]
        found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {form.encode() for form in found}


FORMS = {form for secret in (IN_ENVIRONMENT, IN_LOGIN) for form in forms(secret)}


def test_the_search_finds_what_it_looks_for() -> None:
    for text in (f"x{IN_LOGIN}", quote_plus(IN_ENVIRONMENT), base64.b64encode(f"Bearer {IN_LOGIN}:".encode()).decode()):
        assert any(form in text.encode() for form in FORMS)


@pytest.fixture(params=["environment", "login"])
def canary(
    request: pytest.FixtureRequest,
    to_hub: LocalHub,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> LocalHub:
    """Alice's token is a canary: in HF_TOKEN, or in the file that ``hf auth login`` writes."""
    secret = {"environment": IN_ENVIRONMENT, "login": IN_LOGIN}[request.param]
    to_hub.accounts.add_token("alice", token=secret)
    monkeypatch.setattr(redact, "_learned", set())
    (tmp_path / "home").mkdir(exist_ok=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
    if request.param == "login":
        monkeypatch.delenv("HF_TOKEN")
        (tmp_path / "home" / "token").write_text(secret)
    else:
        monkeypatch.setenv("HF_TOKEN", secret)
    return to_hub


def words(command: str) -> list[str]:
    """The command line to try a command with."""
    made: Any = CommandFolder.get_command(CommandFolder(), typer.Context(typer.main.get_command(_app())), command)
    asks = any("--yes" in parameter.opts for parameter in made.params)
    return [command, *ARGUMENTS.get(command, []), *(["--yes"] if asks else [])]


def _app() -> typer.Typer:
    from variantforge.cli.app import app

    return app


def everything(ended: Ended, hub: LocalHub, folder: Path, logs: str) -> Iterator[tuple[str, bytes]]:
    yield "stdout", ended.out.encode()
    yield "stderr", ended.err.encode()
    yield "the logs", logs.encode()
    for file in folder.rglob("*"):
        if file.is_file() and file != folder / "home" / "token":
            yield str(file.relative_to(folder)), file.read_bytes() + str(file).encode()
    yield from hub.stored_bytes()


def search(ended: Ended, hub: LocalHub, folder: Path, logs: str, clean: set[bytes]) -> None:
    """``clean``: contents in which nothing was found before."""
    for place, content in everything(ended, hub, folder, logs):
        if content not in clean:
            assert not any(form in content for form in FORMS), f"a token got into {place}"
            clean.add(content)
    assert "Traceback" not in ended.err


def test_no_command_lets_a_token_out_while_it_does_its_work(
    vf: Vf, canary: LocalHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    first, clean = vf("apply", "--yes"), set[bytes]()
    assert first.code == 0, first.err
    assert any(entry.user == "alice" and entry.writes for entry in canary.log)
    search(first, canary, tmp_path, caplog.text, clean)
    text = Path("family.yaml").read_text().replace("version: 1.0.0", "version: 1.1.0")
    Path("family.yaml").write_text(text.replace("to: hub,", "to: hub, channel: candidate,"))
    assert vf("apply", "--yes").code == 0
    for command in COMMANDS:
        caplog.clear()
        ended = vf(*words(command))
        assert ended.code == 0 or command in WANT_A_MODEL, ended.err
        search(ended, canary, tmp_path, caplog.text, clean)


@pytest.mark.parametrize("status", [401, 500])
@pytest.mark.parametrize("command", ["plan", "apply", "drift", "doctor"])
def test_a_hub_that_sends_the_token_back_in_its_error_does_not_get_it_shown(
    command: str,
    status: int,
    vf: Vf,
    canary: LocalHub,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("VARIANTFORGE_TRACEBACK", "1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    echoed: list[str] = []

    def echo(request: Request) -> Reply:
        sent = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        echoed.append(sent)
        encoded = base64.b64encode(sent.encode()).decode()
        raise HubError(status, f"no: {sent} {quote(sent, safe='')} {encoded}", body={"error_description": sent})

    monkeypatch.setattr(canary, "handle", echo)
    ended = vf(*words(command))
    assert any(sent in (IN_ENVIRONMENT, IN_LOGIN) for sent in echoed)
    search(ended, canary, tmp_path, caplog.text, set())
    assert status == 401 or redact.HIDDEN in ended.out + ended.err  # huggingface_hub has words of its own for 401
