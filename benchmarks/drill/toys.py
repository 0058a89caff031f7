"""The families of a few bytes that are released in the drill, and hubs prepared for them."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.localhub import LocalHub
from tests.localhub.fixtures import forget_xet_addresses
from tests.localhub.hub import STRANGER
from tests.localhub.repos import Repo
from tests.release import lab

from variantforge.release.desired import Desired
from variantforge.release.record import parse_record

NF4 = "acme/toys-code-nf4"
WEIGHTS = {**lab.WEIGHTS, NF4: {"model.safetensors": b"four bits", "config.txt": b"settings"}}
REPOS = (*WEIGHTS, lab.INDEX)
THANKS = b"\nThanks for this model!\n"


def first(folder: Path) -> Desired:
    """1.0.0: an index, four repos, a collection."""
    return lab.desired(folder, contents=WEIGHTS)


def second(folder: Path) -> Desired:
    """1.1.0: one repo with other weights and a file less, one with another card, two as they were."""
    contents = lab.changed(lab.changed(WEIGHTS, lab.MERGED, "notes.txt", None), lab.MERGED, "model.safetensors", b"new")
    return lab.desired(folder, "1.1.0", contents, cards={lab.ADAPTER: "# Better words"})


def rival(folder: Path, number: int) -> Desired:
    """One of several releases that all follow 1.0.0, each with weights of its own."""
    contents = lab.changed(WEIGHTS, lab.MERGED, "model.safetensors", b"weights of rival %d" % number)
    return lab.desired(folder, f"1.{number + 1}.0", contents)


WISHES: dict[str, Callable[[Path], Desired]] = {"first": first, "second": second}


@dataclass
class Image:
    """A hub as it once was, to be put back in milliseconds."""

    folder: Path
    repos: dict[tuple[str, str], dict[str, Any]]
    collections: dict[str, Any]

    @classmethod
    def of(cls, hub: LocalHub, folder: Path) -> Image:
        for name in ("models", "lfs"):
            shutil.copytree(hub.data / name, folder / name)
        settings = {
            key: {"created": repo.created, "private": repo.private, "gated": repo.gated}
            for key, repo in hub.repos.items()
        }
        return cls(folder, settings, copy.deepcopy(hub.collections))

    def put_back(self, hub: LocalHub) -> None:
        hub.reset()
        for name in ("models", "lfs"):
            shutil.copytree(self.folder / name, hub.data / name, dirs_exist_ok=True)
        for (kind, name), settings in self.repos.items():
            hub.repos[kind, name] = Repo(kind, name, hub.data / kind / f"{name}.git", **settings)
        hub.collections.update(copy.deepcopy(self.collections))


def prepare(hub: LocalHub, scenario: str, images: Path) -> None:
    """An empty hub; for ``second``, one that holds 1.0.0, and words and a file of a stranger's in two repos."""
    hub.before = hub.after = None
    hub.faults.clear()
    if scenario == "first":
        hub.reset()
    elif scenario in _IMAGES:
        _IMAGES[scenario].put_back(hub)
    else:
        hub.reset()
        lab.apply(hub, first(images / "made"), images / "made")
        page = hub.read(lab.MERGED, "README.md") + THANKS
        hub.commit_as_stranger(lab.MERGED, {"README.md": page, "theirs.txt": b"mine"})
        hub.commit_as_stranger(lab.INDEX, {"README.md": hub.read(lab.INDEX, "README.md") + THANKS})
        _IMAGES[scenario] = Image.of(hub, images / scenario)
    forget_xet_addresses()


_IMAGES: dict[str, Image] = {}


def forget() -> None:
    """The prepared hubs: their folder goes."""
    _IMAGES.clear()


def end_state(hub: LocalHub) -> dict[str, Any]:
    """All that a release decides, without commit ids and times; what the drill's stranger slipped in is left out."""
    state: dict[str, Any] = {}
    for (_, name), repo in sorted(hub.repos.items()):
        refs = {**repo.branches(), **{f"tag {tag}": oid for tag, oid in repo.tags().items()}}
        for ref, oid in refs.items():
            files = {path: _told(hub.read(name, path, oid), path) for path in repo.files(oid)}
            state[f"{name} {ref}"] = {path: data for path, data in files.items() if path != "stranger.txt"}
        ours = [commit.message for commit in repo.commits() if commit.author != STRANGER]
        state[name] = (repo.private, repo.gated, ours)
    state["collections"] = [
        {"title": one["title"], "about": one["description"], "private": one["private"]}
        | {"items": [(item["id"], item["note"]["text"]) for item in one["items"]]}
        for one in hub.collections.values()
    ]
    return state


def _told(data: bytes, path: str) -> Any:
    """release.json without the names of commits: they hold the time."""
    if path != "release.json":
        return data
    record = parse_record(data, path)
    repos = {repo: replace(released, commit="0" * 40) for repo, released in record.repos.items()}
    return asdict(replace(record, repos=repos))
