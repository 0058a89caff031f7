"""A whole family, from a private base on the Hub to a release there, through the real program and its processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.cli.test_canary import FORMS, IN_ENVIRONMENT, IN_LOGIN
from tests.e2e.family import write_family
from tests.localhub import LocalHub

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kept", ["environment", "login"])
def test_a_private_base_is_read_and_a_family_released_and_no_token_stays_anywhere(
    hub: LocalHub, tiny_llama: Path, tmp_path: Path, kept: str
) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("acme/base", private=True)
    commit = api.upload_folder(repo_id="acme/base", folder_path=tiny_llama).oid
    secret = IN_ENVIRONMENT if kept == "environment" else IN_LOGIN
    hub.accounts.add_token("alice", token=secret)
    folder, home = tmp_path / "family", tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, **hub.env(home, secret)}
    if kept == "login":
        del environment["HF_TOKEN"]
        (home / "token").write_text(secret)
    file = write_family(folder, Path("acme/base"), steps=2)
    text = file.read_text().replace("license: apache-2.0}", f"revision: {commit}, license: apache-2.0}}", 1)
    text = text.replace("publish: {path: ./published}", "publish: {to: hub, namespace: acme}")
    file.write_text(text.replace("better_by: 0.0", "worse_by_at_most: 9.0"))
    done = subprocess.run(
        [sys.executable, "-m", "variantforge", "apply", "--yes"],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert ("models", "acme/tiny-lora") in hub.repos
    searched = {"stdout": done.stdout, "stderr": done.stderr, **dict(hub.stored_bytes())}
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file != home / "token"]
    assert len(files) > 50
    searched |= {str(file): file.read_bytes() for file in files}
    for place, content in searched.items():
        assert not any(form in content for form in FORMS), f"a token got into {place}"
