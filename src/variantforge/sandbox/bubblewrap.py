"""The command line of bubblewrap: what generated code can see and do. Every line of it has a probe (see ``probes``)."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
from functools import cache
from pathlib import Path

from variantforge.errors import SandboxMissing
from variantforge.sandbox import seccomp
from variantforge.sandbox.limits import Limits

NOBODY = 65534
ENVIRONMENT = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "PATH": "/usr/bin", "HOME": "/tmp"}
INSTALL = "sudo apt-get install -y bubblewrap    (other systems: the package 'bubblewrap', 0.8 or newer)"
USER_NAMESPACES = (
    "let users make namespaces: on Ubuntu 'sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0'; in a "
    "container, start it with '--security-opt seccomp=unconfined --security-opt apparmor=unconfined' or run on its host"
)
_MB = 1_000_000


@cache
def program() -> str:
    """The bwrap on this machine. Raises SandboxMissing."""
    found = shutil.which("bwrap")
    if sys.platform != "linux" or not found:
        raise missing("bubblewrap (bwrap) is not installed", INSTALL)
    if not seccomp.machine_is_known():
        raise missing(f"there is no table of system calls for {platform.machine()}", "use an x86_64 or aarch64 machine")
    return found


@cache
def python() -> str:
    """The interpreter that generated code runs in: this one, where the sandbox's user can read it, else the system's.

    Raises SandboxMissing when there is none.
    """
    own = Path(os.path.realpath(sys.executable))
    for path in (own, Path("/usr/local/bin/python3"), Path("/usr/bin/python3")):
        if path.exists() and _readable(path.resolve()) and _recent(path.resolve()):
            return str(path.resolve())
    why = f"{own} lies in a folder that only root may enter, and the system has no Python of its own"
    raise missing(why, "sudo apt-get install -y python3    (3.11 or newer)")


def missing(why: str, next: str) -> SandboxMissing:
    return SandboxMissing("generated code cannot be run safely on this machine, so it is not run", why=why, next=next)


def does_not_start(said: str) -> SandboxMissing:
    """``said``: by bubblewrap, or by the system, as it ended."""
    old = "unknown option" in said.lower()
    return missing(said or "a sandbox ended before it began", INSTALL if old else USER_NAMESPACES)


def _readable(path: Path) -> bool:
    """Root drops to a user who owns nothing, and must be let in by everybody's bits; others stay who they are."""
    if os.geteuid() != 0:
        return os.access(path, os.X_OK)
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def _recent(path: Path) -> bool:
    major, _, minor = path.name.removeprefix("python").partition(".")
    return path == Path(os.path.realpath(sys.executable)) or (major == "3" and minor.isdigit() and int(minor) >= 11)


def _prefix() -> list[str]:
    """The folder of an interpreter outside /usr, made visible where it lies."""
    path = Path(python())
    return [] if path.is_relative_to("/usr") else ["--ro-bind", *[str(path.parents[1])] * 2]


def _system() -> list[str]:
    """/usr, and beside it what leads there: links on merged systems, folders on older ones."""
    words = ["--ro-bind", "/usr", "/usr"]
    for name in ("lib", "lib64", "bin"):
        path = Path("/") / name
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    return words


@cache
def command(limits: Limits, code: str) -> tuple[str, ...]:
    """All but the descriptors, which differ from run to run; ``code`` is what Python is given with -c."""
    words = [*_as_nobody(), program(), "--unshare-all", "--unshare-user", "--disable-userns"]
    words += ["--uid", str(NOBODY), "--gid", str(NOBODY), "--cap-drop", "ALL", "--hostname", "sandbox"]
    # Python is process 1: when it ends, the kernel ends all others at once, and bubblewrap reaps it
    words += ["--as-pid-1", "--die-with-parent", "--new-session", "--clearenv"]
    for name, value in ENVIRONMENT.items():
        words += ["--setenv", name, value]
    words += [*_system(), *_prefix(), "--proc", "/proc", "--dev", "/dev"]
    words += ["--size", str(_MB), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    words += ["--size", str(limits.folder_mb * _MB), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"]
    # no site, no user's packages, no folder of the program on the path
    return (*words, "--seccomp", "{seccomp}", "--info-fd", "{info}", "--", python(), "-s", "-S", "-P", "-c", code)


def _as_nobody() -> list[str]:
    """Root would be let past limits on processes: it becomes a user who owns nothing, before all else."""
    if os.geteuid() != 0:
        return []
    found = shutil.which("setpriv")
    if not found:
        raise missing("setpriv is not installed, and root needs it to become nobody", "install util-linux")
    return [found, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def rlimits(limits: Limits) -> dict[str, int]:
    """What the process inside binds itself with before anything else (name in ``resource`` -> hard limit)."""
    return {
        "RLIMIT_AS": limits.memory_mb * _MB,
        "RLIMIT_FSIZE": limits.file_mb * _MB,
        "RLIMIT_NOFILE": limits.files,
        "RLIMIT_NPROC": limits.tasks,
        "RLIMIT_CPU": int(limits.seconds) + 1,
        "RLIMIT_CORE": 0,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_MEMLOCK": 0,
    }
