"""The filter, run by a small machine of its own: what it says to a system call on either processor."""

from __future__ import annotations

import struct

import pytest

from variantforge.sandbox import seccomp

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE = {"x86_64": 56, "aarch64": 220}
THREAD = 0x003D0F00  # what pthread_create asks for
FORK = 0x01200011


def verdict(machine: str, number: int, first: int = 0, *, forks: bool = False, arch: int | None = None) -> int:
    """Runs the BPF program over one struct seccomp_data, as the kernel does."""
    code = seccomp.program(forks=forks, machine=machine)
    steps = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    data = struct.pack("=iIQQ", number, MACHINES[machine] if arch is None else arch, 0, first)
    at = loaded = 0
    while True:
        operation, yes, no, value = steps[at]
        at += 1
        if operation == 0x20:
            (loaded,) = struct.unpack_from("=I", data, value)
        elif operation == 0x06:
            return value
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[operation]
            at += yes if holds else no


@pytest.mark.parametrize("machine", MACHINES)
def test_every_call_of_the_table_is_refused(machine: str) -> None:
    column = list(MACHINES).index(machine)
    for name, numbers in seccomp._REFUSED.items():
        if numbers[column] is not None:
            assert verdict(machine, numbers[column]) == EPERM, name


@pytest.mark.parametrize("machine", MACHINES)
def test_threads_are_allowed_and_processes_only_where_asked(machine: str) -> None:
    assert verdict(machine, CLONE[machine], THREAD) == ALLOW
    assert verdict(machine, CLONE[machine], FORK) == EPERM
    assert verdict(machine, CLONE[machine], FORK, forks=True) == ALLOW
    assert verdict(machine, CLONE[machine], THREAD, forks=True) == ALLOW
    for new in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(machine, CLONE[machine], THREAD | new) == EPERM
        assert verdict(machine, CLONE[machine], FORK | new, forks=True) == EPERM
    assert verdict(machine, 435, forks=True) == ENOSYS


def test_the_older_calls_of_x86_64_fork_only_where_asked() -> None:
    for number in (57, 58):
        assert verdict("x86_64", number) == EPERM
        assert verdict("x86_64", number, forks=True) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_other_calls_pass_and_other_processors_end(machine: str) -> None:
    read_write = {"x86_64": (0, 1, 9, 60, 231), "aarch64": (63, 64, 222, 93, 94)}[machine]
    assert {verdict(machine, number) for number in read_write} == {ALLOW}
    assert verdict(machine, 0, arch=0x40000003) == KILL  # 32-bit x86: other numbers
    assert verdict(machine, 0x40000000 + 41) == EPERM  # x32: a second table


def test_a_machine_without_a_table_is_known_as_such() -> None:
    assert not seccomp.machine_is_known("riscv64")
    assert seccomp.machine_is_known("aarch64")
