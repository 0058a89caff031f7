"""Which of the kernel's counts is read, in every layout of control groups; and when a count tells nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from variantforge.stages import oom_kills
from variantforge.stages.oom_kills import OomKills, Verdict

PID = 4711
V1 = "35 31 0:32 {top} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
V2 = "30 23 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
EMPTY_V2 = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
OTHER_V1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"


class Machine:
    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    def count(self, path: str, kills: int) -> None:
        self.write(path, f"low 0\noom 9\noom_kill_disable 0\noom_kill {kills}\noom_group_kill 8")

    def group(self, groups: str, mounts: str) -> None:
        self.write(f"proc/{PID}/cgroup", groups)
        self.write("proc/self/mountinfo", mounts)
        self.count("proc/vmstat", 0)

    def verdict_after(self, path: str) -> Verdict:
        """Of a process that lived while the count there went from 2 to 3."""
        self.count(path, 2)
        kills = OomKills(PID, self.root)
        (self.root / f"proc/{PID}/cgroup").unlink(missing_ok=True)  # as when it is dead
        self.count(path, 3)
        return kills.verdict()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def counted_in(machine: Machine, path: str) -> None:
    told = f"It was the kernel, for want of memory: oom_kill in {machine.root / path} went from 2 to 3."
    assert machine.verdict_after(path) == Verdict(True, told)


def test_its_own_group_of_v2(machine: Machine) -> None:
    machine.group("0::/user.slice/app.scope", V2.format(top="/"))
    counted_in(machine, "sys/fs/cgroup/user.slice/app.scope/memory.events")
    machine.count("sys/fs/cgroup/user.slice/app.scope/memory.events", 0)
    machine.group("0::/user.slice/app.scope", V2.format(top="/"))
    counted_in(machine, "sys/fs/cgroup/user.slice/app.scope/memory.events.local")  # without those of groups below


def test_the_nearest_group_above_of_v2_where_its_own_counts_no_memory(machine: Machine) -> None:
    machine.group("0::/user.slice/app.scope/leaf", V2.format(top="/"))
    machine.count("sys/fs/cgroup/user.slice/memory.events.local", 0)
    counted_in(machine, "sys/fs/cgroup/user.slice/app.scope/memory.events.local")


def test_the_group_of_v1_also_beside_a_v2_that_counts_nothing(machine: Machine) -> None:
    mounts = "\n".join([OTHER_V1, V1.format(top="/"), EMPTY_V2])
    machine.group("4:memory:/job/1\n1:cpu:/\n0::/", mounts)
    machine.count("sys/fs/cgroup/memory/job/memory.oom_control", 0)  # in v1 a kill is not counted above
    counted_in(machine, "sys/fs/cgroup/memory/job/1/memory.oom_control")


def test_the_group_of_a_container_that_sees_itself_as_the_top(machine: Machine) -> None:
    machine.group("4:cpu,memory:/docker/a1/sub", V1.format(top="/docker/a1"))
    counted_in(machine, "sys/fs/cgroup/memory/sub/memory.oom_control")


@pytest.mark.parametrize("mounts", [V1.format(top="/docker/b2"), "", OTHER_V1], ids=["another", "none", "no memory"])
def test_the_machines_count_where_its_group_cannot_be_seen(machine: Machine, mounts: str) -> None:
    machine.group("4:memory:/docker/a1", mounts)
    counted_in(machine, "proc/vmstat")


def test_the_machines_count_is_not_asked_where_the_group_has_one(machine: Machine) -> None:
    machine.group("0::/app", V2.format(top="/"))
    machine.count("sys/fs/cgroup/app/memory.events", 4)
    verdict = machine.verdict_after("proc/vmstat")
    assert not verdict.killed
    assert verdict.told.endswith("sys/fs/cgroup/app/memory.events stayed at 4.")


def test_no_count_at_all_is_no_verdict(machine: Machine) -> None:
    machine.write("proc/vmstat", "pgfault 1")  # before Linux 4.13
    verdict = machine.verdict_after("elsewhere")
    assert (verdict.killed, "cannot be told" in verdict.told) == (False, True)


def test_a_kill_of_long_ago_was_of_somebody_else(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oom_kills, "APART_S", 0)
    machine.count("proc/vmstat", 2)
    kills = OomKills(PID, machine.root)
    machine.count("proc/vmstat", 3)
    kills.look()
    assert kills.verdict().killed  # it may be dying of it
    kills.look()
    assert not kills.verdict().killed


def test_a_process_that_moved_into_another_group_is_counted_there(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oom_kills, "APART_S", 0)
    machine.group("0::/one", V2.format(top="/"))
    for group in ("one", "two"):
        machine.count(f"sys/fs/cgroup/{group}/memory.events", 1)
    kills = OomKills(PID, machine.root)
    machine.group("0::/two", V2.format(top="/"))
    kills.look()
    machine.count("sys/fs/cgroup/two/memory.events", 2)
    assert kills.verdict().killed
