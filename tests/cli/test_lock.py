"""``vf lock``, and what plan and apply make of a lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Ended, Vf
from tests.cli.toys import Toy
from tests.localhub import Fault, LocalHub
from tests.release.named import model_folder, write_family
from variantforge.release.lock.facts import tools
from variantforge.release.lock.record import Lock, Locked
from variantforge.release.lock.text import lock_text, read_lock, write_lock

D = "sha256:" + "1" * 64


@pytest.fixture
def family(tmp_path: Path) -> Path:
    model_folder(tmp_path / "base")
    return write_family(tmp_path)


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    return tmp_path / "variantforge.lock"


def test_a_lock_is_written_once_and_then_left_alone(vf: Vf, family: Path, lock_file: Path) -> None:
    ended = vf("lock")
    assert ended.code == 0
    assert f"wrote variantforge.lock: 1 base, 1 data, {len(tools())} tools\n" in ended.out
    assert "  added  base   ./base        " in ended.out
    lock = read_lock(lock_file)
    assert (list(lock.base), list(lock.data), lock.tools) == (["./base"], ["./rows.jsonl"], tools())
    lock_file.write_text(lock_file.read_text() + "# a note of ours\n")
    assert vf("lock").out.startswith("nothing to do: variantforge.lock has them all: 1 base, 1 data, ")
    assert lock_file.read_text().endswith("# a note of ours\n")
    assert "vf lock" not in vf("plan").out


def test_every_part_moves_alone(vf: Vf, family: Path, lock_file: Path, tmp_path: Path) -> None:
    vf("lock")
    held = read_lock(lock_file)
    write_lock(lock_file, replace(held, tools={**held.tools, "trl": "1.0"}))
    (tmp_path / "rows.jsonl").write_text('{"text": "another"}\n')
    (tmp_path / "base" / "tokenizer.json").write_text('{"version": "2.0"}')
    told = vf("plan").out
    assert "base ./base: changed since it was locked; vf lock --upgrade base\n" in told
    assert "data ./rows.jsonl: changed since it was locked; vf lock --upgrade data\n" in told
    assert f"tools trl: {tools()['trl']} here, 1.0 locked; vf lock --upgrade tools\n" in told
    before = lock_file.read_text().splitlines()
    assert "moved  data  ./rows.jsonl" in vf("lock", "--upgrade", "data").out
    after = lock_file.read_text().splitlines()
    assert len([pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]) == 1
    assert vf("lock", "--upgrade", "base", "--upgrade", "tools").code == 0
    assert vf("lock", "--check").code == 0
    assert read_lock(lock_file).tools == tools()


def test_check_writes_nothing_and_ends_with_4_where_the_lock_does_not_fit(
    vf: Vf, family: Path, lock_file: Path, tmp_path: Path
) -> None:
    ended = vf("lock", "--check")
    assert (ended.code, lock_file.exists()) == (4, False)
    assert ended.err.endswith("error: variantforge.lock does not fit the family\nnext: vf lock\n")
    vf("lock")
    written = lock_file.read_text()
    (tmp_path / "rows.jsonl").write_text('{"text": "another"}\n')
    ended = vf("lock", "--check")
    assert (ended.code, lock_file.read_text()) == (4, written)
    assert ended.err.endswith("next: vf lock --upgrade data\n")


def test_json_holds_changes_and_misfits(vf: Vf, family: Path, tmp_path: Path) -> None:
    first = json.loads(vf("lock", "--json").out)
    assert first["written"] is True
    assert first["changes"][0]["name"] == "./base"
    assert {one["change"] for one in first["changes"]} == {"added"}
    (tmp_path / "rows.jsonl").write_text('{"text": "another"}\n')
    second = json.loads(vf("lock", "--json").out)
    assert (second["written"], second["changes"]) == (False, [])
    misfit = {"kind": "changed", "section": "data", "name": "./rows.jsonl", "upgrade": "data"}
    assert [{key: one[key] for key in misfit} for one in second["misfits"]] == [misfit]
    assert json.loads(vf("plan", "--json").out)["lock"]["misfits"] == second["misfits"]


def test_a_family_without_a_lock_is_planned_as_ever(vf: Vf, family: Path) -> None:
    ended = vf("plan", "--json")
    assert "lock" not in json.loads(ended.out)
    assert "vf lock" not in vf("plan").out


@pytest.mark.parametrize("locked", [False, True])
def test_planning_local_names_does_not_load_the_hub_s_client(vf: Vf, family: Path, locked: bool) -> None:
    if locked:
        assert vf("lock").code == 0
    script = "import sys; from variantforge.cli.app import main; assert main(['plan']) == 0; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    assert "huggingface_hub" not in modules
    assert ("variantforge.release.lock.text" in modules) is locked


def test_a_broken_lock_stops_every_command_with_its_place(vf: Vf, family: Path, lock_file: Path) -> None:
    lock_file.write_text("lock: 1\n<<<<<<< HEAD\n")
    for words in (("plan",), ("check",), ("apply",), ("lock",)):
        ended = vf(*words)
        assert ended.code == 2
        assert f"{lock_file.name}:2:1  a merge left its mark" in ended.err
        assert "Traceback" not in ended.err


def test_families_in_one_folder_keep_their_own_locks(vf: Vf, family: Path, tmp_path: Path) -> None:
    write_family(tmp_path, name="qwen.yaml")
    assert vf("lock", "qwen.yaml").code == 0
    assert (tmp_path / "qwen.variantforge.lock").exists()
    assert vf("apply", "--frozen").err.startswith("error: there is no variantforge.lock\n")


# apply --frozen


def test_frozen_demands_a_lock(vf: Vf, toys: dict[str, Toy]) -> None:
    ended = vf("apply", "--frozen")
    assert (ended.code, ended.out) == (4, "")
    assert ended.err == "error: there is no variantforge.lock\n  --frozen runs with a lock only.\nnext: vf lock\n"


def test_frozen_runs_with_a_lock_that_fits(vf: Vf, toys: dict[str, Toy], lock_file: Path) -> None:
    entry = Locked(D, template=D, tokenizer=D)
    write_lock(lock_file, Lock(base={"./base": entry}, data={"./rows.jsonl": Locked(D)}, tools=tools()))
    assert vf("apply", "--frozen").code == 0
    assert "19 reuse" in vf("plan").out


def test_frozen_with_another_tool_runs_nothing(vf: Vf, toys: dict[str, Toy], lock_file: Path) -> None:
    entry = Locked(D, template=D, tokenizer=D)
    other = {**tools(), "torch": "1.0", "gone": "3"}
    write_lock(lock_file, Lock(base={"./base": entry}, data={"./rows.jsonl": Locked(D)}, tools=other))
    ended = vf("apply", "--frozen")
    assert (ended.code, ended.out) == (4, "")
    assert "tools gone: not installed here, 3 locked" in ended.err
    assert ended.err.endswith("next: vf lock --upgrade tools   # takes up what is here now\n")
    assert "19 run" in vf("plan").out


def test_frozen_refuses_what_is_not_locked_or_not_as_locked(vf: Vf, family: Path, tmp_path: Path) -> None:
    vf("lock")
    (tmp_path / "rows.jsonl").write_text('{"text": "another"}\n')
    changed = vf("apply", "--frozen")
    assert (changed.code, changed.out) == (4, "")
    assert "data ./rows.jsonl: changed since it was locked" in changed.err
    write_family(tmp_path, base="acme/x", data={"rows": "path: ./rows.jsonl"})
    unlocked = vf("apply", "--frozen")
    assert unlocked.code == 4
    assert "base acme/x: not locked" in unlocked.err
    assert not (tmp_path / ".variantforge" / "base").exists()


# Names on the Hub


@pytest.fixture
def online(vf: Vf, hub: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Vf:
    """``online("plan")``: a command that reaches a hub with acme/x, a model, and acme/chat, a dataset. Names of
    variables change the environment of one command."""
    hub.create_repo("models", "acme/x")
    hub.commit_as_stranger("acme/x", {"config.json": b"{}", "tokenizer.json": b"1", "model.safetensors": b"w"})
    hub.create_repo("datasets", "acme/chat")
    hub.commit_as_stranger("acme/chat", {"train.jsonl": b'{"text": "x"}\n'}, kind="datasets")
    write_family(tmp_path, base="acme/x", data={"chat": "path: acme/chat", "rows": "path: ./rows.jsonl"})
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object, **changed: str) -> Ended:
        with monkeypatch.context() as patch:
            for name, value in (hub.env(tmp_path / "hf") | changed).items():
                patch.setenv(name, value)
            patch.setattr("huggingface_hub.constants.ENDPOINT", os.environ["HF_ENDPOINT"])  # read at its import
            patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", os.environ["HF_HUB_OFFLINE"] == "1")
            ended = vf(*words)
        assert hub.token not in ended.out + ended.err
        return ended

    return run


def test_a_listing_of_several_pages_is_read_to_its_end(online: Vf, hub: LocalHub, lock_file: Path) -> None:
    hub.commit_as_stranger("acme/chat", {f"part-{n}.jsonl": b"{}" for n in range(5)}, kind="datasets")
    online("lock")
    whole = lock_file.read_text()
    lock_file.unlink()
    hub.page_size = 2
    online("lock")
    assert lock_file.read_text() == whole
    hub.commit_as_stranger("acme/chat", {"part-4.jsonl": b"{} "}, kind="datasets")
    online("lock", "--upgrade", "data")
    chat = read_lock(lock_file).data["acme/chat"]
    assert f"content: {chat.content}" not in whole


def test_a_private_dataset_is_locked_with_the_user_s_token_and_hidden_without(online: Vf, hub: LocalHub) -> None:
    hub.repo("acme/chat", "datasets").private = True
    assert online("lock").code == 0
    assert "vf lock" not in online("plan").out
    assert "data acme/chat: the Hub does not show this dataset" in online("plan", HF_TOKEN="").out


def delete_repo(hub: LocalHub, name: str) -> None:
    organization, _, short = name.partition("/")
    request = urllib.request.Request(
        f"{hub.endpoint}/api/repos/delete",
        json.dumps({"name": short, "organization": organization, "type": "model"}).encode(),
        {"Authorization": f"Bearer {hub.token}", "Content-Type": "application/json"},
        method="DELETE",
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()


def test_a_branch_that_moves_is_told_and_the_locked_commit_is_kept(online: Vf, hub: LocalHub, lock_file: Path) -> None:
    assert online("lock").code == 0
    first = hub.repo("acme/x").head()
    assert read_lock(lock_file).base["acme/x"].commit == first
    assert "vf lock" not in online("plan").out
    planned = steps(online("plan", "--json").out)
    second = hub.commit_as_stranger("acme/x", {"config.json": b'{"a": 1}'})
    chat = hub.repo("acme/chat", "datasets").head()
    moved_chat = hub.commit_as_stranger("acme/chat", {"train.jsonl": b"{}\n"}, kind="datasets")
    told = online("plan")
    assert told.code == 0
    assert f"base acme/x: main moved {first[:7]} → {second[:7]}; vf lock --upgrade base\n" in told.out
    assert f"data acme/chat: main moved {chat[:7]} → {moved_chat[:7]}; vf lock --upgrade data\n" in told.out
    assert steps(online("plan", "--json").out) == planned
    assert f"moved  base  acme/x  {first[:7]} → {second[:7]}" in online("lock", "--upgrade", "base").out
    upgraded = read_lock(lock_file)
    assert (upgraded.base["acme/x"].commit, upgraded.data["acme/chat"].commit) == (second, chat)
    assert online("lock", "--check").code == 0
    assert online("lock", "--check", "--upgrade", "data").code == 4


def steps(document: str) -> list[str]:
    return [step["key"] for step in json.loads(document)["steps"]]


def test_an_edited_card_moves_the_branch_and_nothing_else(online: Vf, hub: LocalHub, lock_file: Path) -> None:
    online("lock")
    old = read_lock(lock_file).base["acme/x"]
    hub.commit_as_stranger("acme/x", {"README.md": b"# better"})
    online("lock", "--upgrade", "base")
    new = read_lock(lock_file).base["acme/x"]
    assert old.commit != new.commit
    assert replace(old, commit="") == replace(new, commit="")


def test_a_repo_made_anew_under_its_old_name_is_refused(online: Vf, hub: LocalHub, lock_file: Path) -> None:
    online("lock")
    old = hub.repo("acme/x").head()
    delete_repo(hub, "acme/x")
    hidden = online("plan")
    assert hidden.code == 0
    assert "base acme/x: the Hub does not show this model: it is gone, renamed, private or gated\n" in hidden.out
    hub.create_repo("models", "acme/x")
    hub.commit_as_stranger("acme/x", {"config.json": b"{}", "model.safetensors": b"other"})
    for words in (("plan",), ("apply",), ("apply", "--frozen")):
        ended = online(*words)
        assert (ended.code, ended.out) == (6, "")
        assert "error: base acme/x does not hold what was locked\n" in ended.err
        assert f"its locked commit {old[:7]} is not: made anew, or its history rewritten" in ended.err
        assert " lock --upgrade base   # only after a look at what it holds now\n" in ended.err
    assert online("lock", "--upgrade", "base").code == 0
    assert online("plan").code == 0
    assert read_lock(lock_file).base["acme/x"].commit == hub.repo("acme/x").head()


def test_other_files_at_the_locked_commit_are_refused(online: Vf, lock_file: Path) -> None:
    online("lock")
    held = read_lock(lock_file)
    swapped = {"acme/chat": replace(held.data["acme/chat"], content=D)}
    write_lock(lock_file, replace(held, data={**held.data, **swapped}))
    ended = online("plan")
    assert ended.code == 6
    assert "holds other files than were locked" in ended.err


def test_a_lock_is_enough_without_the_hub(online: Vf, hub: LocalHub) -> None:
    online("lock")
    planned = steps(online("plan", "--json").out)
    hub.commit_as_stranger("acme/x", {"config.json": b'{"a": 1}'})
    asked = len(hub.log)
    offline = online("plan", "--offline", "--json")
    assert (offline.code, steps(offline.out)) == (0, planned)
    assert online("lock", "--check").code == 0
    assert len(hub.log) == asked
    for changed in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        ended = online("plan", **changed)
        assert ended.code == 0
        assert ended.out.count("lock: the Hub could not be asked what has moved (") == 1
    assert len(hub.log) == asked


@pytest.mark.parametrize("kind", ["401", "403", "429", "500", "503", "refused", "timeout", "truncated", "wrong_bytes"])
@pytest.mark.parametrize("request_line", ["GET /api/models/acme/x/*", "GET */tree/*"])
def test_a_hub_that_misbehaves_costs_a_line_and_no_plan(
    online: Vf, hub: LocalHub, kind: str, request_line: str
) -> None:
    online("lock")
    planned = steps(online("plan", "--json").out)
    hub.faults.append(fault := Fault(request_line, kind, nth=0))
    ended = online("plan", "--json")
    lock = json.loads(ended.out)["lock"]
    assert (ended.code, steps(ended.out), fault.fired > 0) == (0, planned, True)
    assert lock["hub_unreachable"] or {one["kind"] for one in lock["misfits"]} == {"hidden"}
    assert fault.fired <= 2  # asked once for each name, not again


def test_what_is_locked_already_is_not_asked_again(online: Vf, hub: LocalHub, lock_file: Path, tmp_path: Path) -> None:
    online("lock")
    before, asked = lock_file.read_text(), len(hub.log)
    write_family(tmp_path, base="acme/x", data={"rows": "path: ./rows.jsonl"})
    ended = online("lock")
    assert "removed  data  acme/chat" in ended.out
    assert len(hub.log) == asked
    assert lock_file.read_text() == lock_text(read_lock(lock_file)) != before


def test_a_hub_that_does_not_answer_leaves_no_half_lock(online: Vf, lock_file: Path) -> None:
    ended = online("lock", HF_ENDPOINT="http://127.0.0.1:9")
    assert ended.code == 2
    assert "cannot be asked which commit acme/x@main is" in ended.err
    assert not lock_file.exists()
