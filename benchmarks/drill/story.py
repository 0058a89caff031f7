"""The life of a family on a hub, through the real command line: every act a process, every claim looked up there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.drill.families import Family
from tests.localhub import LocalHub
from tests.localhub.hub import STRANGER
from tests.release.lab import tree_at

from variantforge.release.record import Record, parse_record

_LOADING_S = 1800


@dataclass
class Act:
    """One command. ``window_s`` None: no branch moved. ``problems``: what is not as it must be."""

    what: str
    command: str
    code: int | None = None
    requests: int = 0
    writes: int = 0
    commits: int = 0
    seconds: float = 0.0
    window_s: float | None = None
    found: str = ""
    problems: list[str] = field(default_factory=list)
    missing: bool = False


class Story:
    """``acts`` in the order in which they were played; ``tell`` hears of each when it ends."""

    def __init__(self, hub: LocalHub, family: Family, folder: Path, tell: Callable[[Act], None]) -> None:
        self.hub, self.family, self.folder, self.tell = hub, family, folder, tell
        self.acts: list[Act] = []
        self.store = family.store
        self.home = folder / "home"
        self.here = folder / "family"
        self.here.mkdir(parents=True)
        (family.store / "releases.sqlite").unlink(missing_ok=True)  # of a hub that is gone

    def play(self) -> list[Act]:
        for act in (
            self.first_release,
            self.nothing_to_do,
            self.one_variant_changed,
            self.a_stranger_at_work,
            self.mended,
            self.loaded,
            self.back_and_forth,
            self.candidate,
            self.verified,
            self.another_machine,
            self.retired,
        ):
            act()
        return self.acts

    # ---- the acts

    def first_release(self) -> None:
        self.write("1.0.0")
        with self.act("plan before anything is there", "plan") as act:
            self.demand(act, act.writes == 0, "a plan wrote")
        with self.act("first release", "apply", "--yes") as act:
            record = self.record
            act.found = f"{len(record.repos)} repos, the index, a collection of {len(self.listed)}"
            self.demand(act, record.version == "1.0.0" and len(record.repos) >= 4, "not all repos are released")
            self.demand(act, bool(self.listed), "the collection is empty")
            self.demand(act, all(not self.hub.repo(repo).private for repo in record.repos), "a repo is hidden")
            self.whole(act)

    def nothing_to_do(self) -> None:
        with self.act("the same again", "apply", "--yes") as act:
            self.demand(act, act.writes == 0, f"{act.writes} writes")

    def one_variant_changed(self) -> None:
        before = self.heads()
        self.write("1.1.0", changed=True)
        with self.act("one variant trained anew", "apply", "--yes") as act:
            moved = {repo for repo, head in self.heads().items() if head != before[repo]} - {self.family.index}
            mine = {repo for repo in self.record.repos if f"-{self.family.changes}" in repo}
            act.found = f"{len(moved)} of {len(self.record.repos)} repos got a commit"
            self.demand(act, moved == mine, f"commits to {sorted(moved)}, not to {sorted(mine)}")
            self.demand(act, self.record.version == "1.1.0", "release.json does not say 1.1.0")
            self.whole(act)

    def a_stranger_at_work(self) -> None:
        edited, robbed = min(self.record.repos), max(self.record.repos)
        card = self.hub.read(edited, "README.md").replace(b"license: ", b"license: other # ", 1)
        lost = next(path for path in ("LICENSE", "tokenizer.json") if path in self.hub.repo(robbed).files())
        self.hub.commit_as_stranger(edited, {"README.md": card})
        self.hub.commit_as_stranger(robbed, {lost: None})
        with self.act("a stranger edits a card and deletes a file", "drift", code=4) as act:
            told = {(it["repo"], path, it["who"]) for it in self.findings for path in it["paths"]}
            act.found = f"{len(self.findings)} findings, by whom"
            expected = {(edited, "README.md", STRANGER), (robbed, lost, STRANGER)}
            self.demand(act, told == expected, f"{told} are named, not {expected}")
            self.demand(act, act.writes == 0, "drift wrote")

    def mended(self) -> None:
        with self.act("mended", "apply", "--yes") as act:
            act.found = f"{act.commits} commits"
            self.whole(act)
        with self.act("no drift any more", "drift") as act:
            self.demand(act, not self.findings, f"{len(self.findings)} findings")

    def loaded(self) -> None:
        """Every artifact from the revision that release.json names, by real download into an empty cache."""
        with self.played(Act("every artifact loaded from the Hub", "transformers, peft, llama.cpp")) as act:
            asked = self.family.artifacts(self.here, self.store, self.record)
            requests = len(self.hub.log)
            told = self._load(asked, act)
            act.requests = len(self.hub.log) - requests
            same = [it for it in told if it["remote"] == it["local"] and len(it["remote"]) == 8]
            forms = sorted({it["form"] for it in told})
            act.found = f"{len(same)} of {len(asked)} give the store's 8 tokens ({', '.join(forms)})"
            self.demand(act, len(same) == len(asked), "others: " + str([it for it in told if it not in same])[:600])

    def back_and_forth(self) -> None:
        released = {tag: self.tagged(tag) for tag in ("v1.0.0", "v1.1.0")}
        for what, version in (("rolled back", "1.0.0"), ("and forward again", "1.1.0")):
            sent = sum(entry.bytes_in for entry in self.hub.log if entry.origin == "storage")
            with self.act(what, "rollback", version, "--yes") as act:
                act.found = f"every branch is {version}'s"
                trees = {repo: it.tree for repo, it in released[f"v{version}"].repos.items()}
                now = {repo: tree_at(self.hub, repo, "main") for repo in trees}
                self.demand(act, trees == now, "a branch is not what that version released")
                more = sum(entry.bytes_in for entry in self.hub.log if entry.origin == "storage") - sent
                self.demand(act, more == 0, f"{more} bytes were uploaded")
                self.whole(act)

    def candidate(self) -> None:
        self.write("1.2.0", changed=True, described=True, channel="candidate")
        before = self.heads()
        with self.act("a candidate: one card in other words", "apply", "--yes") as act:
            self.demand(act, self.heads() == before, "main moved")
            act.found = "main did not move"
        with self.act("promoted to stable", "promote", "candidate", "stable", "--yes") as act:
            act.found = f"stable is {self.record.version}"
            self.demand(act, self.record.version == "1.2.0", act.found)
            self.whole(act)
        self.write("1.2.0", changed=True, described=True)

    def verified(self) -> None:
        index = self.family.index
        for version in ("1.0.0", "1.2.0"):
            words = ("verify", f"{index}@{version}", "--download")
            with self.act("anybody, without a token, reads every byte", *words, token="", file=False) as act:
                self.demand(act, act.writes == 0, "it wrote")
                act.found = f"{len(self.tagged(f'v{version}').repos)} repos are what they say"

    def another_machine(self) -> None:
        self.here, kept = self.folder / "elsewhere", self.here
        self.here.mkdir()
        self.store, kept_store = self.here / "store", self.store
        self.write("1.2.0", changed=True, described=True)
        with self.act("another machine, an empty store", "import", "--yes") as act:
            act.found = f"{sum(1 for _ in self.store.glob('publish/*/manifest.json'))} repos are in the store"
            self.demand(act, act.writes == 0, "an import wrote")
        with self.act("the release goes on from there", "plan") as act:
            hub = (self.document.get("hub") or {}).get("release") or {}
            act.found = "nothing to write" if hub.get("nothing_to_do") else f"plan says {str(hub)[:200]}"
            self.demand(act, bool(hub.get("nothing_to_do")), act.found)
        with self.act("no drift there", "drift") as act:
            self.demand(act, not self.findings, f"{len(self.findings)} findings")
        self.here, self.store = kept, kept_store

    def retired(self) -> None:
        old, new = f"{self.hub.org}/long-ago", min(self.record.repos)
        self.hub.create_repo("models", old)
        self.hub.commit_as_stranger(old, {"README.md": b"---\nlicense: mit\n---\n# My old model\n", "x.bin": b"old"})
        with self.act("an old repo sends its readers on", "retire", old, "--new-version", new, "--yes") as act:
            card = self.hub.read(old, "README.md").decode()
            self.demand(act, f"new_version: {new}" in card and "# My old model" in card, "no banner")
            self.demand(act, "x.bin" in self.hub.repo(old).files(), "a file is gone")
            act.found = "one line more on its card, nothing deleted"

    # ---- playing

    @contextmanager
    def act(self, what: str, *words: str, code: int = 0, token: str | None = None, file: bool = True) -> Iterator[Act]:
        """Runs ``vf WORDS --json``; the block looks at what came of it, however it ended."""
        act = Act(what, f"vf {' '.join(words)}")
        with self.played(act):
            start, writes = len(self.hub.log), len(self.hub.writes)
            ended = self._run(*words, token=token, store=words[0] not in ("verify", "retire") and file)
            act.code = ended.returncode
            made = self.hub.writes[writes:]
            act.requests, act.writes = len(self.hub.log) - start, len(made)
            act.commits = sum("/commit/" in entry.path for entry in made)
            self.document = _json(ended.stdout)
            release = self.document.get("release") or self.document
            window = release.get("mixed_window_s") if isinstance(release, dict) else None
            act.window_s = window or None
            if ended.returncode != code:
                act.missing = f"no command '{words[0]}'" in ended.stderr
                act.problems.append(f"exit {ended.returncode}, not {code}: {ended.stderr[-1500:]}")
            yield act

    @contextmanager
    def played(self, act: Act) -> Iterator[Act]:
        began = time.monotonic()
        try:
            yield act
        except Exception as error:  # what was to be looked at is not there: the story goes on, and fails
            act.problems.append(f"{type(error).__name__}: {error}"[:600])
        act.seconds = time.monotonic() - began
        act.problems += [f"the hub crashed: {crash[-600:]}" for crash in self.hub.crashes]
        self.hub.crashes.clear()
        self.acts.append(act)
        self.tell(act)

    def _run(self, *words: str, token: str | None, store: bool) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **self.hub.env(self.home), "NO_COLOR": "1", "COLUMNS": "120"}
        if token is not None:
            env["HF_TOKEN"] = token
        where = ("--store", str(self.store)) if store else ()
        command = [sys.executable, "-m", "variantforge", *words, *where, "--json"]
        return subprocess.run(command, cwd=self.here, env=env, capture_output=True, text=True, check=False)

    def _load(self, asked: list[dict[str, Any]], act: Act) -> list[dict[str, Any]]:
        env = {**os.environ, **self.hub.env(self.folder / "reader"), "TRANSFORMERS_VERBOSITY": "error"}
        command = [sys.executable, str(Path(__file__).with_name("load.py"))]
        ended = subprocess.run(
            command, input=json.dumps(asked), env=env, capture_output=True, text=True, timeout=_LOADING_S, check=False
        )
        act.code = ended.returncode
        if ended.returncode:
            act.problems.append(f"loading ended with {ended.returncode}: {ended.stderr[-1500:]}")
        return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]

    # ---- looking

    def write(self, version: str, *, changed: bool = False, described: bool = False, channel: str = "stable") -> None:
        self.family.write(self.here, version, changed=changed, described=described, channel=channel)

    def demand(self, act: Act, holds: bool, problem: str) -> None:
        if not holds:
            act.problems.append(problem)

    @property
    def findings(self) -> list[dict[str, Any]]:
        return [it for it in self.document["findings"] if it["drift"]]

    @property
    def record(self) -> Record:
        return parse_record(self.hub.read(self.family.index, "release.json"), "release.json")

    def tagged(self, tag: str) -> Record:
        return parse_record(self.hub.read(self.family.index, "release.json", tag), tag)

    @property
    def listed(self) -> list[str]:
        return [item["id"] for one in self.hub.collections.values() for item in one["items"]]

    def heads(self) -> dict[str, str]:
        return {name: repo.head("main") for (_, name), repo in self.hub.repos.items()}

    def whole(self, act: Act) -> None:
        """Every branch holds what release.json names, its tag is there, and no staging branch is left."""
        record = self.record
        for repo, released in record.repos.items():
            there = self.hub.repo(repo)
            self.demand(act, tree_at(self.hub, repo, "main") == released.tree, f"main of {repo} is another tree")
            self.demand(act, there.tags().get(record.tag) == released.commit, f"{repo} lacks {record.tag}")
            left = [name for name in there.branches() if name.startswith("vf/")]
            self.demand(act, not left, f"{repo} keeps {left}")


def _json(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except ValueError:
        return {}


def play(family: Family, folder: Path, tell: Callable[[Act], None]) -> list[Act]:
    with LocalHub() as hub:
        try:
            return Story(hub, family, folder, tell).play()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
