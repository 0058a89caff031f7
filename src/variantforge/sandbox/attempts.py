# mypy: ignore-errors
# ruff: noqa: SIM115, F821, PTH110, PTH115, PTH108
"""What the probes try, inside: each function returns '' where the wall held, else what went through.

This text is run in the sandbox, under a line that sets ``EXPECTED``: the variables that its environment has.
"""

import contextlib
import ctypes
import errno
import os
import resource
import socket
import threading

libc = ctypes.CDLL(None, use_errno=True)


def works(*attempts):
    for name, attempt in attempts:
        try:
            attempt()
        except (OSError, MemoryError, RuntimeError):
            continue
        return name + " works"
    return ""


def call(name, *arguments):
    def attempt():
        refused = getattr(libc, name)(*arguments) == -1 and ctypes.get_errno() == errno.EPERM
        if refused:
            raise PermissionError(name)

    return attempt


def network(outside):
    links = [line.split(":")[0].strip() for line in open("/proc/net/dev").read().splitlines()[2:]]
    if links != ["lo"]:
        return "it sees " + ", ".join(links)
    return works(
        ("a connection to the host", lambda: socket.create_connection(("127.0.0.1", outside["port"]), 2)),
        ("a UDP socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 53))),
        ("an IPv6 socket", lambda: socket.socket(socket.AF_INET6)),
    )


def sockets(outside):
    return works(
        ("an abstract socket", lambda: socket.socket(socket.AF_UNIX).connect("\0" + outside["abstract"])),
        ("a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
        ("a netlink socket", lambda: socket.socket(16, socket.SOCK_RAW, 0)),
    )


def environment(outside):
    more = set(os.environ) - EXPECTED
    return "it holds " + ", ".join(sorted(more)) if more else ""


def files(outside):
    places = [outside["canary"], "/etc/passwd", "/home", "/var", "/sys", "/run"]
    found = [path for path in places if os.path.exists(path)]
    opened = [fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2 and os.path.exists("/proc/self/fd/" + fd)]
    kinds = [os.readlink("/proc/self/fd/" + fd) for fd in opened]
    found += [kind for kind in kinds if not kind.startswith("pipe:")]
    return "there is " + ", ".join(found) if found else ""


def writing(outside):
    return works(
        *[
            ("writing " + path, lambda path=path: os.open(path, os.O_CREAT | os.O_WRONLY))
            for path in (
                "/x",
                "/usr/x",
                "/usr/bin/python3",
                "/dev/x",
                "/proc/sys/kernel/hostname",
                "/proc/sysrq-trigger",
            )
        ]
    )


def user(outside):
    told = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    if {"0"} & {*told["Uid"].split(), *told["Gid"].split()}:
        return "it is root"
    if int(told["CapEff"], 16) or int(told["CapPrm"], 16) or int(told["CapBnd"], 16):
        return "it has capabilities"
    return "" if told["NoNewPrivs"].strip() == "1" else "it may gain privileges"


def calls(outside):
    told = open("/proc/self/status").read()
    if "Seccomp:\t2" not in told:
        return "no filter is set"
    return works(
        ("ptrace", call("ptrace", 0x9999, 0, 0, 0)),
        ("System V memory", call("shmget", 0, 4096, 0o1600)),
        ("memfd_create", call("memfd_create", b"x", 0)),
        ("a keyring", call("syscall", {"x86_64": 250, "aarch64": 219}[os.uname().machine], 0, -3, 0)),
        ("io_uring", call("syscall", 425, 1, 0)),
        ("mount", call("mount", b"none", b"/tmp", b"tmpfs", 0, 0)),
    )


def namespaces(outside):
    user, mount = 0x10000000, 0x00020000
    return works(("a new user namespace", call("unshare", user)), ("a new mount namespace", call("unshare", mount)))


def processes(outside):
    others = [name for name in os.listdir("/proc") if name.isdigit() and int(name) > 2]
    if others:
        return "it sees processes " + ", ".join(others)
    if through := works(("fork", lambda: os.fork() or os._exit(0))):
        return through
    stop, running = threading.Event(), []
    try:
        for _ in range(64):
            running.append(threading.Thread(target=stop.wait))
            running[-1].start()
    except RuntimeError:
        return ""
    finally:
        stop.set()
    return "64 threads can be started"


def memory(outside):
    for _, hard in (resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_CORE)):
        if hard == resource.RLIM_INFINITY:
            return "there is no hard limit"
    return works(("300 MB", lambda: bytearray(300_000_000)))


def disk(outside):
    def fill(folder):
        written = 0
        for number in range(40):
            with contextlib.suppress(OSError), open(folder + "/" + str(number), "wb", buffering=0) as file:
                for _ in range(3):
                    written += file.write(bytes(500_000))
        for name in os.listdir(folder):
            os.unlink(folder + "/" + name)
        return written

    for folder in ("/tmp", "/dev/shm"):
        if fill(folder) > 10_000_000:
            return folder + " takes more than 10 MB"
    try:
        with open("/tmp/big", "wb", buffering=0) as file:
            return "a file may be large" if sum(file.write(bytes(1_000_000)) for _ in range(3)) >= 3_000_000 else ""
    except OSError:
        return ""
