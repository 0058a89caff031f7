"""``vf doctor``: what is there, what each missing thing prevents, and never a token."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.cli.test_release import to_hub  # noqa: F401
from tests.localhub import LocalHub
from variantforge.store.artifacts import Store


def findings(vf: Vf, *words: str) -> dict[str, dict[str, str]]:
    return {finding["name"]: finding for finding in json.loads(vf("doctor", "--json", *words).out)["findings"]}


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Name -> the version that is pretended (None: not installed)."""
    pretended: dict[str, str | None] = {}
    real = metadata.version

    def version(name: str) -> str:
        found = pretended.get(name, "") or (None if name in pretended else real(name))
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)
    return pretended


def test_everything_worth_knowing_is_looked_at(vf: Vf) -> None:
    found = findings(vf)
    assert {"python", "torch", "trl", "bitsandbytes", "converter", "libgguf", "xllamacpp", "llama-quantize"} <= set(
        found
    )
    assert {"device", "disk", "store", "hub", "hub token"} <= set(found)
    assert found["torch"]["state"] == "ok"
    assert found["torch"]["found"] == metadata.version("torch")


def test_a_missing_extra_is_told_with_what_it_prevents_and_what_to_type(
    vf: Vf, versions: dict[str, str | None]
) -> None:
    versions["bitsandbytes"] = None
    ended = vf("doctor")
    assert ended.code == 0
    assert "bitsandbytes: prevents adapters of type qlora, the formats nf4 and int8\n" in ended.out
    assert "next: pip install 'variantforge[qlora]'\n" in ended.out


def test_a_version_outside_the_constraints_is_wrong(vf: Vf, versions: dict[str, str | None]) -> None:
    versions["trl"] = "0.9.1"
    ended = vf("doctor")
    assert ended.code == 1
    assert "wrong    trl" in ended.out
    assert "0.9.1, outside <2,>=1.16" in ended.out


def test_a_package_that_everything_needs_is_wrong_when_missing(vf: Vf, versions: dict[str, str | None]) -> None:
    versions["peft"] = None
    assert findings(vf)["peft"]["state"] == "wrong"


def test_a_token_is_told_of_and_never_shown(vf: Vf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_TOKEN_PATH", raising=False)
    assert findings(vf)["hub token"]["state"] == "missing"
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    assert findings(vf)["hub token"]["state"] == "ok"
    told = vf("doctor")
    assert "verysecret" not in told.out + told.err + vf("doctor", "--json").out


def test_an_unreachable_hub_is_told_within_seconds(vf: Vf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub = findings(vf)["hub"]
    assert (hub["state"], hub["found"]) == ("missing", "not reachable")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in findings(vf)["hub"]["found"]


def test_a_store_at_work_is_named_with_its_process(vf: Vf, tmp_path: Path) -> None:
    with Store(tmp_path / ".variantforge").locked("vf apply"):
        assert f"process {os.getpid()}" in findings(vf)["store"]["found"]
    assert findings(vf)["store"]["found"] == "free"


def test_little_disk_is_told_before_it_is_none(vf: Vf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("variantforge.run.environment.free_bytes", lambda path: 1_000_000)
    ended = vf("doctor")
    assert "missing  disk" in ended.out
    assert "choose another place with --store" in ended.out


def test_the_sandbox_is_tried_and_its_absence_told(vf: Vf, monkeypatch: pytest.MonkeyPatch) -> None:
    from variantforge.sandbox import Probe, bubblewrap

    found = findings(vf)["sandbox"]
    assert found["found"].endswith("12 probes held") if found["state"] == "ok" else found["next"]
    monkeypatch.setattr(
        "variantforge.run.environment.try_probes", lambda: (Probe("no network", "a UDP socket works"), Probe("x"))
    )
    found = findings(vf)["sandbox"]
    assert (found["state"], found["found"]) == ("wrong", "1 of 2 probes failed: no network: a UDP socket works")

    def refuse() -> None:
        raise bubblewrap.missing("bubblewrap (bwrap) is not installed", bubblewrap.INSTALL)

    monkeypatch.setattr("variantforge.run.environment.try_probes", refuse)
    ended = vf("doctor")
    assert ended.code == 0
    assert "sandbox: prevents running generated code" in ended.out
    assert "apt-get install -y bubblewrap" in ended.out


def test_a_gpu_without_a_torch_for_it_is_wrong(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str | None], tmp_path: Path
) -> None:
    from variantforge.run import environment

    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    monkeypatch.setattr(environment, "NVIDIA_CARDS", tmp_path / "gpus")
    versions["torch"] = "2.13.0+cpu"
    assert environment.device().state == "wrong"
    versions["torch"] = "2.13.0"
    assert environment.device().state == "ok"


def test_a_family_that_is_released_to_the_hub_is_looked_at_there(vf: Vf, to_hub: LocalHub) -> None:  # noqa: F811
    found = findings(vf)
    assert found["hub account"]["found"] == "alice (write), member of acme"
    assert found["repos"]["state"] == "ok"
    assert to_hub.writes == []
    to_hub.accounts.tokens.clear()
    ended = vf("doctor")
    assert ended.code == 1
    assert "hub account: prevents a release\nnext: hf auth whoami" in ended.out
