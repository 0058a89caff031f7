"""A reader that nobody here wrote, olah, serves a clone of what was published to the real client again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi

from tests.localhub import LocalHub
from tests.localhub.conftest import Write
from tests.localhub.test_files import CARD, weights
from tests.localhub.test_git import git, needs_lfs

OWN = Path(__file__).parents[2] / ".cache" / "olah" / "bin" / "olah-cli"
OLAH = shutil.which("olah-cli") or (str(OWN) if OWN.exists() else None)
SETTINGS = """
[basic]
repos-path = "{folder}/cache"
mirrors-path = ["{folder}/mirror"]
[accessibility]
offline = true
"""
READ = """
import sys
from huggingface_hub import snapshot_download
for revision in ("main", "v1"):
    snapshot_download("acme/x", revision=revision, local_dir=f"{sys.argv[1]}/{revision}")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """olah over ``folder/mirror``, without any network; its address."""
    assert OLAH is not None
    (folder / "olah.toml").write_text(SETTINGS.format(folder=folder))
    address = f"http://127.0.0.1:{(port := free_port())}"
    options = ["-c", str(folder / "olah.toml"), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(
        [OLAH, *options, "--log-path", str(folder / "logs")],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            for _ in range(300):
                try:
                    httpx2.get(f"{address}/api/models/acme/x/revision/main")
                    break
                except httpx2.ConnectError:
                    time.sleep(0.1)
            yield address
        finally:
            process.kill()


@pytest.mark.slow
@needs_lfs
@pytest.mark.skipif(
    OLAH is None, reason="olah is not installed (docs/localhub.md tells how, in an environment of its own)"
)
def test_olah_gives_back_what_was_published(hub: LocalHub, write: Write, api: HfApi, mode: str, tmp_path: Path) -> None:
    write({"README.md": CARD, "model.safetensors": weights(), "d/a.txt": b"1"})
    api.create_tag("acme/x", tag="v1")
    write({"d/a.txt": b"2"})
    clone = tmp_path / "mirror" / "models" / "acme" / "x"
    git("clone", "-q", f"{hub.endpoint}/acme/x", str(clone))
    git("lfs", "install", "--local", at=clone)
    git("lfs", "fetch", "--all", at=clone)
    git("lfs", "checkout", at=clone)
    with serving(tmp_path) as address:
        env = os.environ | hub.env(tmp_path / "home") | {"HF_ENDPOINT": address, "HF_TOKEN": ""}
        done = subprocess.run([sys.executable, "-c", READ, str(tmp_path)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for revision, last in (("main", b"2"), ("v1", b"1")):
        assert (tmp_path / revision / "model.safetensors").read_bytes() == weights()
        assert (tmp_path / revision / "README.md").read_bytes() == CARD
        assert (tmp_path / revision / "d" / "a.txt").read_bytes() == last
