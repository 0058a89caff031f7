"""Does a lock fit what a family needs here and now? What has moved is told; what was swapped is refused."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from variantforge.errors import HubError, IntegrityError, NoAccess, NotAsLocked, NotOnHub
from variantforge.plan.plan import Plan
from variantforge.release.hub.client import Hub
from variantforge.release.hub.retry import Patience
from variantforge.release.lock.facts import carrier_version, content_of, tools
from variantforge.release.lock.hub import files_at, head_of
from variantforge.release.lock.needs import Need, endpoints, needs
from variantforge.release.lock.record import COMMIT, SECTIONS, SHOWN, Lock, Locked, Part
from variantforge.spec.family import FamilySpec
from variantforge.step import Pin

Kind = Literal["missing", "unused", "changed", "moved", "hidden", "swapped"]


@dataclass(frozen=True)
class Misfit:
    """One way in which a lock and the world differ.

    ``missing``, ``unused``: only one of family and lock names it. ``changed``: local bytes or a tool are not the locked
    ones. ``moved``: a branch or tag points elsewhere now, and the locked commit is still what is used. ``hidden``: the
    Hub does not show it. ``swapped``: the same name and commit or version, with other bytes.
    """

    kind: Kind
    section: str
    name: str
    text: str
    upgrade: Part | None = None  # what ``vf lock --upgrade`` must name to take it up

    @property
    def subject(self) -> str:
        return f"{self.section} {self.name}"

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"


@dataclass(frozen=True)
class HubAnswer:
    """What the Hub said of the locked names; ``unreachable`` is why it could not be asked about all of them."""

    misfits: tuple[Misfit, ...] = ()
    unreachable: str = ""


def missing(lock: Lock, family: FamilySpec) -> list[Misfit]:
    """Names of the family that the lock does not hold; needs no plan."""
    return _missing(lock, needs(family))


def _missing(lock: Lock, named: Iterable[Need]) -> list[Misfit]:
    return [
        Misfit("missing", need.section, need.name, _not_held(lock, need))
        for need in named
        if need.name not in lock.section(need.section)
    ]


def _not_held(lock: Lock, need: Need) -> str:
    """Also when only the revision is another one, that is a name which is not held."""
    held = [name for name in lock.section(need.section) if need.hub and name.partition("@")[0] == need.hub.name]
    return f"not locked{f' (locked is {held[0]})' if held else ''}"


def misfits(lock: Lock, family: FamilySpec, plan: Plan) -> list[Misfit]:
    """Everything that can be told without the Hub."""
    named = needs(family, plan)
    found = _missing(lock, named)
    for need in named:
        held, pin = lock.section(need.section).get(need.name), need.pin(plan)
        if held is not None and pin is not None:
            found += _content(need, held, pin)
    keys = {(need.section, need.name) for need in named}
    for section in ("base", "data"):
        unused = [name for name in lock.section(section) if (section, name) not in keys]
        found += [Misfit("unused", section, name, "locked, but no longer used") for name in unused]
    return [*found, *_teachers(lock, family), *_tools(lock)]


def _teachers(lock: Lock, family: FamilySpec) -> Iterator[Misfit]:
    here = endpoints(family)
    for name in sorted({*here, *lock.teachers}):
        now, held = here.get(name), lock.teachers.get(name)
        if now is None:
            yield Misfit("unused", "teachers", name, "locked, but no longer used")
        elif held is None:
            yield Misfit("missing", "teachers", name, "not locked")
        elif (now.endpoint, now.model) != (held.endpoint, held.model):
            text = f"{now.model} at {now.endpoint} here, {held.model} at {held.endpoint} locked"
            yield Misfit("changed", "teachers", name, text, SECTIONS["teachers"])


def _content(need: Need, held: Locked, pin: Pin) -> Iterator[Misfit]:
    if need.hub:
        if pin.at != f"hub:{need.hub.name}@{held.commit}":
            text = f"planned at {pin.at.rpartition('@')[2]}, locked at {held.commit}"
            yield Misfit("changed", need.section, need.name, text, need.section)
        return
    if f"sha256:{pin.digest}" == held.content:
        return
    if not held.version:
        yield Misfit("changed", need.section, need.name, "changed since it was locked", need.section)
    elif held.version == (version := carrier_version(need)):
        text = f"version {version} carries other bytes than were locked under that version"
        yield Misfit("swapped", need.section, need.name, text, need.section)
    else:
        text = f"from version {held.version} to {version}, with other bytes"
        yield Misfit("changed", need.section, need.name, text, need.section)


def _tools(lock: Lock) -> Iterator[Misfit]:
    here = tools()
    for name in sorted({*here, *lock.tools}):
        if here.get(name) != lock.tools.get(name):
            text = f"{here.get(name, 'not installed')} here, {lock.tools.get(name, 'nothing')} locked"
            yield Misfit("changed", "tools", name, text, SECTIONS["tools"])


def on_hub(lock: Lock, family: FamilySpec, plan: Plan) -> list[Need]:
    """The locked names that the Hub can be asked about."""
    return [need for need in needs(family, plan) if need.hub and need.name in lock.section(need.section)]


def ask_hub(lock: Lock, family: FamilySpec, plan: Plan) -> HubAnswer:
    """Where locked names point now, and whether their locked commits are what they were. Never raises for a Hub that
    does not answer: a lock is there to do without it."""
    asked = on_hub(lock, family, plan)
    if not asked:
        return HubAnswer()
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return HubAnswer(unreachable="HF_HUB_OFFLINE is set")
    hub = Hub(patience=Patience(down_s=0, busy_s=0))  # nobody waits for what is only good to know
    silent: list[str] = []  # reasons; after the first one, nobody waits for another

    def ask(need: Need) -> list[Misfit]:
        try:
            return [] if silent else list(_from_hub(hub, need, lock.section(need.section)[need.name]))
        except (NotOnHub, NoAccess):
            text = f"the Hub does not show this {need.repo_type}: it is gone, renamed, private or gated"
            return [Misfit("hidden", need.section, need.name, text)]
        except HubError as error:
            silent.append(error.why or error.what)
            return []

    with ThreadPoolExecutor(max_workers=4) as pool:
        found = [one for answers in pool.map(ask, asked) for one in answers]
    return HubAnswer(tuple(found), silent[0] if silent else "")


def _from_hub(hub: Hub, need: Need, held: Locked) -> Iterator[Misfit]:
    ref, short = need.hub, held.commit[:SHOWN]
    if ref is None:
        return
    revision = ref.revision or "main"
    head = head_of(hub, ref.name, need.repo_type, revision)
    files = files_at(hub, ref.name, need.repo_type, held.commit)
    if files is None:
        text = f"the {need.repo_type} is there, its locked commit {short} is not: made anew, or its history rewritten"
        yield Misfit("swapped", need.section, need.name, text, need.section)
    elif (content := content_of(files, need)) != held.content:
        text = f"commit {short} holds other files than were locked ({content} now, {held.content} then)"
        yield Misfit("swapped", need.section, need.name, text, need.section)
    elif head is None:
        yield Misfit("hidden", need.section, need.name, f"has no revision {revision} any more")
    elif head != held.commit and not COMMIT.fullmatch(revision):
        yield Misfit("moved", need.section, need.name, f"{revision} moved {short} → {head[:SHOWN]}", need.section)


def refuse_swapped(found: Iterable[Misfit], upgrade: str) -> None:
    """Raises IntegrityError for names that stand for other bytes than were locked; ``upgrade`` is the command that
    would take them up."""
    swapped = [one for one in found if one.kind == "swapped"]
    if not swapped:
        return
    parts = " ".join(f"--upgrade {part}" for part in dict.fromkeys(one.upgrade for one in swapped))
    raise IntegrityError(
        f"{swapped[0].subject} does not hold what was locked",
        why="\n".join([*map(str, swapped), "Nothing was run."]),
        next=f"{upgrade} {parts}   # only after a look at what it holds now",
    )


def refuse_misfits(found: Iterable[Misfit], upgrade: str) -> None:
    """Raises NotAsLocked for what is not locked or not as locked: what ``apply --frozen`` will not run with.

    A branch that moved on the Hub is no reason: the locked commit is what is used.
    """
    wrong = [one for one in found if one.kind in ("missing", "changed")]
    if not wrong:
        return
    parts = "".join(f" --upgrade {part}" for part in dict.fromkeys(one.upgrade for one in wrong) if part)
    raise NotAsLocked(
        "what this family needs is not what its lock holds",
        why="\n".join([*map(str, wrong), "Nothing was run."]),
        next=f"{upgrade}{parts}   # takes up what is here now",
    )
