"""Does a released repo rest on what a lock holds? Its variantforge.json names its pins as the lock names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from variantforge.release.lock.needs import every_need
from variantforge.release.lock.record import SHOWN, Lock
from variantforge.release.record import Lineage
from variantforge.spec.family import FamilySpec
from variantforge.stages.data.pool import AGAINST
from variantforge.stages.publish.pins import pins_digest, read_pins, role_of

_SECTIONS = ("base", "data")


def pins_told(lineage: Lineage) -> dict[str, str]:
    """Role -> commit or content; {} of a repo that tells none (an older one, or of another form)."""
    return read_pins(lineage.more.get("pins")) or {}


def fault_of(lineage: Lineage) -> str:
    """What is wrong with the pins that a repo tells of itself, as a clause, or ''."""
    told, digest = lineage.more.get("pins"), lineage.more.get("lock")
    if told is None and digest is None:
        return ""
    pins = read_pins(told)
    return "" if pins is not None and pins_digest(pins) == digest else "the lock it names is not that of its pins"


def held(lock: Lock, family: FamilySpec, variant: str) -> dict[str, str]:
    """Role -> what the lock holds for it: of the variant's base, and of every dataset that the family uses.

    ``pins_digest`` of these, for the roles that a repo tells, is the ``lock`` of a repo that rests on them.
    """
    return {
        role_of(need.section, need.place.name or need.section, need.role): entry.pinned
        for need in every_need(family)
        if need.place.variant in (None, variant) and (entry := lock.section(need.section).get(need.name))
    }


def not_as_locked(pins: Mapping[str, str], locked: Mapping[str, str]) -> Iterator[str]:
    """A clause for each role in which a repo rests on something else than ``held`` names; it may name more."""
    for role, pinned in pins.items():
        if role in locked and locked[role] != pinned:
            yield f"{role} {_short(pinned)}, locked is {_short(locked[role])}"


def not_in_lock(pins: Mapping[str, str], lock: Lock) -> Iterator[str]:
    """A clause for each base and dataset of a repo that a lock holds under no name at all. Needs no family file.

    Suites that data were kept clean of are no part of what it was made of.
    """
    for role, pinned in pins.items():
        section = role.partition("/")[0]
        if (
            f"/{AGAINST}" not in role
            and section in _SECTIONS
            and pinned not in {entry.pinned for entry in lock.section(section).values()}
        ):
            yield f"{role} {_short(pinned)}"


def _short(pinned: str) -> str:
    return pinned.rpartition(":")[2][:SHOWN]
