"""A remembered plan tells exactly what a plan laid out anew would tell, whatever was changed in between."""

from __future__ import annotations

import builtins
import io
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plan import families
from variantforge import Resolver, Store, build_plan, load_family, registry
from variantforge.errors import VariantforgeError
from variantforge.plan import remembered, seen
from variantforge.plan.explain import Decision, explain
from variantforge.plan.plan import Plan
from variantforge.plan.remembered import RememberedPlan
from variantforge.registry import Registry
from variantforge.spec import trainer_args
from variantforge.stages.base.look import inspect_base
from variantforge.store.journal import Journal


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A family whose plan was laid out, done, and laid out once more: so it is remembered."""
    monkeypatch.setattr(seen, "_CODE_SETTLED_NS", 0)  # whoever works on these sources runs this test too
    file = families.write_family(tmp_path)
    families.fill(build_plan(load_family(file), Resolver()), tmp_path / "store")
    settle()
    assert not families.lay_out(file, tmp_path / "store")[1]
    assert any(families.lay_out(file, tmp_path / "store")[1] for _ in range(2))  # or they are edited just now
    return file


def settle() -> None:
    time.sleep(2 * seen.SETTLED_NS / 1e9)


def told(plan: Plan, folder: Path) -> dict[str, Decision]:
    store = folder / "store"
    return explain(plan, Store(store), Journal(store / "journal.sqlite").used("seen"))


def anew(file: Path) -> Plan:
    inspect_base.cache_clear()
    return build_plan(load_family(file), Resolver())


def test_a_remembered_plan_is_the_plan(file: Path, tmp_path: Path) -> None:
    plan, was_remembered = families.lay_out(file, tmp_path / "store")
    fresh = anew(file)
    assert was_remembered
    assert list(plan.steps) == list(fresh.steps)
    assert dict(plan.places) == dict(fresh.places)
    assert plan.places_of == fresh.places_of
    assert [plan.label(key) for key in plan.steps] == [fresh.label(key) for key in fresh.steps]
    assert plan.select(until="merge", only=["two"]) == fresh.select(until="merge", only=["two"])
    for key, step in fresh.steps.items():
        kept = plan.steps[key]
        assert (kept.stage, kept.version, kept.method, kept.key) == (step.stage, step.version, step.method, key)
        assert (kept.identity, kept.hints, kept.pins) == (step.identity, step.hints, step.pins)
    assert (plan.family.family, plan.family.version, list(plan.family.variants)) == ("seen", "0.1.0", ["one", "two"])
    assert {decision.word for decision in told(plan, tmp_path).values()} == {"reuse"}


def edit(path: Path) -> None:
    """Other bytes of the same length under the same modification time."""
    before = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def replace(path: Path) -> None:
    beside = path.with_name("new")
    beside.write_bytes(path.read_bytes() + b"\n")
    beside.replace(path)


def reword_family(path: Path) -> None:
    before = path.stat()
    path.write_text(path.read_text().replace("seed: 1", "seed: 3"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


ROW = '{"prompt": "c", "completion": "d"}\n'
SOURCE = "def g():\n    '''Give another number.'''\n    return 2\n"
# What is changed outside, and which stages' steps must get other keys by it (None: planning must fail).
CHANGES: dict[str, tuple[Callable[[Path], Any], set[str] | None]] = {
    "family file, same size and time": (lambda f: reword_family(f / "family.yaml"), {"train"}),
    "dataset file edited": (lambda f: edit(f / "rows.jsonl"), {"data"}),
    "dataset file replaced": (lambda f: replace(f / "rows.jsonl"), {"data"}),
    "dataset file removed": (lambda f: (f / "rows.jsonl").unlink(), None),
    "dataset file linked elsewhere": (lambda f: relink(f / "rows.jsonl", f / "other.jsonl"), {"data"}),
    "file added to a dataset's folder": (lambda f: (f / "rows" / "third.jsonl").write_text(ROW), {"data"}),
    "file of a dataset's folder edited": (lambda f: edit(f / "rows" / "second.jsonl"), {"data"}),
    "file of a dataset's folder removed": (lambda f: (f / "rows" / "second.jsonl").unlink(), {"data"}),
    "file nobody reads in a dataset's folder": (lambda f: (f / "rows" / "x.txt").write_text(""), None),
    "source added": (lambda f: (f / "code" / "more.py").write_text(SOURCE), {"data"}),
    "source added deep inside": (lambda f: (f / "code" / "inner" / "more.py").write_text(SOURCE), {"data"}),
    "source edited": (lambda f: edit(f / "code" / "inner" / "module.py"), {"data"}),
    "source removed": (lambda f: (f / "code" / "module.py").unlink(), {"data"}),
    "base's weights edited": (lambda f: edit(f / "base" / "model.safetensors"), {"base"}),
    "base's configuration edited": (lambda f: replace(f / "base" / "config.json"), {"base"}),
    "base without tokenizer": (lambda f: (f / "base" / "tokenizer.json").unlink(), None),
    "base with another licence": (
        lambda f: (f / "base" / "README.md").write_text("---\nlicense: mit\n---\n"),
        {"card"},
    ),
    "base without licence": (lambda f: (f / "base" / "README.md").unlink(), None),
    "template added to the base": (lambda f: (f / "base" / "chat_template.jinja").write_text("{{ x }}"), {"base"}),
    "base moved away": (lambda f: (f / "base").rename(f / "gone"), None),
    "something foreign where a repo would go": (lambda f: foreign(f), None),
}


def relink(path: Path, target: Path) -> None:
    target.write_text(ROW)
    path.unlink()
    path.symlink_to(target)


def foreign(folder: Path) -> None:
    shutil.rmtree(folder / "published")
    (folder / "published" / "seen-one").mkdir(parents=True)
    (folder / "published" / "seen-one" / "thesis.txt").write_text("mine")


@pytest.mark.parametrize("name", CHANGES)
def test_what_planning_reads_is_seen_to_have_changed(name: str, file: Path, tmp_path: Path) -> None:
    change, stages = CHANGES[name]
    before = anew(file)
    change(tmp_path)
    inspect_base.cache_clear()
    if stages is None:
        with pytest.raises(VariantforgeError):
            families.lay_out(file, tmp_path / "store")
        return
    plan, was_remembered = families.lay_out(file, tmp_path / "store")
    assert not was_remembered
    changed = {step.stage for key, step in plan.steps.items() if key not in before.steps}
    assert stages <= changed
    assert told(plan, tmp_path) == told(anew(file), tmp_path)


AFTERWARDS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an artifact": (lambda f: shutil.rmtree(artifact(f, "publish")), "its artifact is gone"),
    "an artifact's manifest": (lambda f: (artifact(f, "publish") / "manifest.json").unlink(), "its artifact is gone"),
    "an artifact that only finished steps needed": (lambda f: shutil.rmtree(artifact(f, "merge")), ""),
    "the journal": (lambda f: (f / "store" / "journal.sqlite").unlink(), ""),
    "the journal and an artifact": (
        lambda f: ((f / "store" / "journal.sqlite").unlink(), shutil.rmtree(artifact(f, "publish"))),
        "new",
    ),
    "a published folder": (lambda f: shutil.rmtree(f / "published" / "seen-one"), "seen-one is gone"),
    "a published file": (lambda f: (f / "published" / "seen-one" / "README.md").unlink(), "README.md is gone"),
    "a published manifest's bytes": (lambda f: edit_last(f / "published" / "seen-two"), "is not what was published"),
    "the published page's bytes": (lambda f: (f / "published" / "README.md").write_text("egap"), "is not what"),
}


def artifact(folder: Path, stage: str) -> Path:
    return next((folder / "store" / stage).iterdir())


def edit_last(folder: Path) -> None:
    (folder / "variantforge.json").write_text("[]")


@pytest.mark.parametrize("name", AFTERWARDS)
def test_what_is_decided_is_looked_at_each_time(name: str, file: Path, tmp_path: Path) -> None:
    change, reason = AFTERWARDS[name]
    change(tmp_path)
    plan, _ = families.lay_out(file, tmp_path / "store")
    decisions = told(plan, tmp_path)
    assert decisions == told(anew(file), tmp_path)
    assert any(reason in decision.reason for decision in decisions.values()) or not reason
    assert {decision.word for decision in decisions.values()} == ({"reuse", "run"} if reason else {"reuse"})


def test_another_version_of_trl_is_another_plan(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sources are among what the plan rests on, and so is the folder that it is installed in."""
    known = RememberedPlan(tmp_path / "store" / "plans", file)
    sources = trainer_args.sources_read()
    assert any(path.name == "sft_config.py" for path in sources)
    assert all(str(path) in known.path.read_text() for path in sources)
    real, chosen = os.stat, os.fspath(sources[0])

    def upgraded(path: Any, **kwargs: Any) -> Any:
        return real(__file__ if path == chosen else path, **kwargs)

    monkeypatch.setattr(os, "stat", upgraded)
    assert known.read() is None


def test_a_new_installation_is_another_plan(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path / "base")
    assert not families.lay_out(file, tmp_path / "store")[1]


def test_another_home_is_another_plan(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not families.lay_out(file, tmp_path / "store")[1]


def test_other_code_is_another_plan(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat

    def edited(path: Any, **kwargs: Any) -> Any:
        return real(tmp_path / "rows.jsonl" if path == remembered.__file__ else path, **kwargs)

    monkeypatch.setattr(os, "stat", edited)
    assert not families.lay_out(file, tmp_path / "store")[1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"reuse", b"resue").replace(b"nf4", b"nf5", 1)),
        lambda path: path.write_bytes(path.read_bytes().replace(b"variantforge plan ", b"variantforge plan 9", 1)),
        lambda path: path.write_bytes(os.urandom(5000)),
        lambda path: path.unlink(),
    ],
    ids=["empty", "cut", "a byte", "another format", "foreign", "gone"],
)
def test_a_damaged_memory_is_ignored_and_written_anew(
    damage: Callable[[Path], Any], file: Path, tmp_path: Path
) -> None:
    damage(RememberedPlan(tmp_path / "store" / "plans", file).path)
    assert not families.lay_out(file, tmp_path / "store")[1]
    assert families.lay_out(file, tmp_path / "store")[1]


def test_links_to_one_file_in_two_folders_are_two_families(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name in ("base", "rows", "code"):
        shutil.copytree(tmp_path / name, other / name)
    (other / "rows.jsonl").write_text(ROW)
    (other / "family.yaml").symlink_to(file)
    plan, was_remembered = families.lay_out(other / "family.yaml", tmp_path / "store")
    assert not was_remembered
    assert list(plan.steps) != list(anew(file).steps)


def test_what_has_just_changed_is_not_remembered(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be changed again within the same tick of the clock."""
    replace(tmp_path / "rows.jsonl")
    with monkeypatch.context() as slow_clock:
        slow_clock.setattr(seen, "SETTLED_NS", 10**13)
        assert not families.lay_out(file, tmp_path / "store")[1]
        assert not families.lay_out(file, tmp_path / "store")[1]
    settle()
    assert not families.lay_out(file, tmp_path / "store")[1]
    assert families.lay_out(file, tmp_path / "store")[1]


def test_code_that_has_just_changed_is_not_remembered(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "_CODE_SETTLED_NS", time.time_ns())
    (path := RememberedPlan(tmp_path / "store" / "plans", file).path).unlink()
    assert not families.lay_out(file, tmp_path / "store")[1]
    assert not path.exists()


def test_a_plan_that_asked_the_hub_is_not_remembered(file: Path, tmp_path: Path) -> None:
    resolver = Resolver()
    plan = build_plan(load_family(file), resolver)
    settle()
    resolver.seen.lasting = False
    memory = RememberedPlan(tmp_path / "elsewhere", file)
    memory.keep(plan, resolver.seen)
    assert not memory.path.exists()


def test_a_plan_made_with_a_plug_in_is_not_remembered(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what it looks at."""
    table: Registry[Any] = Registry("tables", "table", {})
    monkeypatch.setitem(table.__dict__, "rows", {"theirs": "json:dumps"})
    monkeypatch.setattr(registry, "plugged_in", (plugged_in := set()))
    table.load("theirs")
    monkeypatch.setattr(remembered, "plugged_in", plugged_in)
    (path := RememberedPlan(tmp_path / "store" / "plans", file).path).unlink()
    assert not families.lay_out(file, tmp_path / "store")[1]
    assert not path.exists()


def test_a_store_that_cannot_be_written_costs_only_time(file: Path, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    for _ in range(2):
        plan, was_remembered = families.lay_out(file, tmp_path / "blocked")
        assert plan.steps
        assert not was_remembered


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, set[str]]]:
    """What the process asks of the disk: path by kind of question."""
    asked: dict[str, set[str]] = {"stat": set(), "list": set(), "open": set()}

    def telling(kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def ask(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            if isinstance(path, str | os.PathLike):
                asked[kind].add(os.path.abspath(path))  # noqa: PTH100
            return real(path, *args, **kwargs)

        return ask

    for module, name, kind in [
        (os, "stat", "stat"), (os, "lstat", "stat"), (os, "access", "stat"), (os, "listdir", "list"),
        (os, "scandir", "list"), (builtins, "open", "open"), (io, "open", "open"),
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, telling(kind, getattr(module, name)))
    yield asked
    monkeypatch.undo()


def test_planning_looks_at_nothing_in_silence(file: Path, tmp_path: Path, touched: dict[str, set[str]]) -> None:
    """A new thing that planning reads must be told of with ``desk.look``: else a remembered plan could be wrong."""
    anew(file)  # what is imported on the way is imported
    inspect_base.cache_clear()
    loaded, resolver = load_family(file), Resolver()
    for paths in touched.values():
        paths.clear()
    build_plan(loaded, resolver)
    assert len(touched["stat"]) > 10
    stamps = resolver.seen.stamps
    for path in touched["open"] | touched["list"]:
        assert path in stamps, f"{path} is read"
    for path in touched["stat"] - {*sys.path, *map(str, file.parents)}:
        assert path in stamps or str(Path(path).parent) in stamps, f"{path} is looked at"


def test_a_measurement_that_is_looked_at_in_a_second_way_is_remembered_too(file: Path, tmp_path: Path) -> None:
    """The places of such steps have names of two words."""
    file.write_text(file.read_text().replace("better_by: 0.0", "better_by: 0.05, noise_floor: true"))
    settle()
    assert not families.lay_out(file, tmp_path / "store")[1]
    plan, was_remembered = families.lay_out(file, tmp_path / "store")
    assert was_remembered
    assert any(place.name.endswith(" again") for place in plan.places)
    assert dict(plan.places) == dict(anew(file).places)
