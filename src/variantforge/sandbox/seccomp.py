"""A seccomp filter as a small BPF program: which system calls fail with EPERM inside, whatever the namespaces allow.

The second wall behind bubblewrap's namespaces. It closes what those leave open: kernel interfaces with a history of
holes (io_uring, bpf, userfaultfd, keyrings), sockets of any family, other processes' memory, and memory that no limit
counts (System V shared memory, memfd). Everything else is allowed: the first wall stands without this one.

Numbers are those of the kernel's tables: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

# name -> number on (x86_64, aarch64); None where the machine has no such call.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # network: unconnected socketpairs remain, which asyncio wants
    "socket": (41, 198),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    # namespaces and mounts
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "mknod": (133, None),
    "mknodat": (259, 33),
    # memory and queues that no limit counts
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    # kernel interfaces that generated code has no business with
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "acct": (163, 89),
    "syslog": (103, 116),
    "personality": (135, 92),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
}


@dataclass(frozen=True)
class _Machine:
    column: int
    audit_arch: int
    clone: int
    clone3: int
    forks: tuple[int, ...]  # calls that can do nothing but start a process


_MACHINES = {
    "x86_64": _Machine(0, 0xC000003E, 56, 435, (57, 58)),
    "aarch64": _Machine(1, 0xC00000B7, 220, 435, ()),
}
_X32 = 0x40000000  # the bit of x86_64's second table of calls

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NEW_NAMESPACES, _THREAD = 0x7E020000, 0x00010000  # CLONE_NEW*, CLONE_THREAD


def machine_is_known(machine: str | None = None) -> bool:
    """Whether there is a table for this machine."""
    return (machine or platform.machine()) in _MACHINES


def program(*, forks: bool, machine: str | None = None) -> bytes:
    """The filter as ``struct sock_filter[]``, for ``bwrap --seccomp``. Without ``forks``, threads alone can be started.

    Raises KeyError on a machine without a table.
    """
    of = _MACHINES[machine or platform.machine()]
    refused = [numbers[of.column] for numbers in _REFUSED.values()]
    refused += [] if forks else of.forks
    denied = _returns(_ERRNO | errno.EPERM)
    code = [_loads(_ARCH), _jump(_EQUAL, of.audit_arch, 1, 0), _returns(_KILL), _loads(_NUMBER)]
    code += [_jump(_AT_LEAST, _X32, 0, 1), denied]
    for number in refused:
        if number is not None:
            code += [_jump(_EQUAL, number, 0, 1), denied]
    # clone3 hides its flags in memory, which a filter cannot read: libc falls back to clone when there is none
    code += [_jump(_EQUAL, of.clone3, 0, 1), _returns(_ERRNO | errno.ENOSYS)]
    code += [_jump(_EQUAL, of.clone, 0, 5), _loads(_FIRST_ARGUMENT), _jump(_ANY_BIT, _NEW_NAMESPACES, 0, 1), denied]
    code += [_jump(_ANY_BIT, 0 if forks else _THREAD, 1, 0), _returns(_ALLOW if forks else _ERRNO | errno.EPERM)]
    return b"".join([*code, _returns(_ALLOW)])


def _instruction(code: int, yes: int, no: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _loads(offset: int) -> bytes:
    return _instruction(_LOAD, 0, 0, offset)


def _jump(test: int, value: int, yes: int, no: int) -> bytes:
    """Skips ``yes`` instructions when the test holds, ``no`` when it does not."""
    return _instruction(test, yes, no, value)


def _returns(action: int) -> bytes:
    return _instruction(_RETURN, 0, 0, action)
