"""Each probe finds its wall missing when it is: a probe that cannot fail proves nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from variantforge.errors import SandboxMissing
from variantforge.sandbox import box as boxes
from variantforge.sandbox import bubblewrap, require, seccomp, try_probes
from variantforge.sandbox.limits import Limits

pytestmark = pytest.mark.usefixtures("sandbox")

Words = list[str]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """What the probes find (name -> what went through) when the command line is changed, or a wall left out."""

    def found(
        change: Callable[[Words], Words] = list, *, filtered: bool = True, bounds: bool = True, forks: bool = False
    ) -> dict[str, str]:
        command = bubblewrap.command
        monkeypatch.setattr(bubblewrap, "command", lambda limits, code: change(list(command(limits, code))))
        if not filtered:
            monkeypatch.setattr(seccomp, "program", lambda **_: b"\x06\0\0\0\0\0\xff\x7f")  # RET ALLOW
        if not bounds:
            monkeypatch.setattr(bubblewrap, "rlimits", lambda limits: {})
            boxes._code.cache_clear()
        if forks:
            real = seccomp.program
            monkeypatch.setattr(seccomp, "program", lambda forks: real(forks=True))
        try:
            return {probe.name: probe.found for probe in try_probes.__wrapped__() if probe.found}
        finally:
            boxes._code.cache_clear()

    return found


def put(*words: str) -> Callable[[Words], Words]:
    """More words, before all is made read-only."""
    return lambda line: [*line[: line.index("--proc")], *words, *line[line.index("--proc") :]]


def drop(*words: str) -> Callable[[Words], Words]:
    def change(line: Words) -> Words:
        at = next(n for n in range(len(line)) if tuple(line[n : n + len(words)]) == words)
        return line[:at] + line[at + len(words) :]

    return change


def test_there_are_twelve_and_here_they_hold() -> None:
    assert [probe.found for probe in try_probes()] == [""] * 12
    require()


def test_a_shared_network_is_found(without: Callable[..., dict[str, str]]) -> None:
    assert "no network" in without(put("--share-net"))


def test_reachable_sockets_are_found(without: Callable[..., dict[str, str]]) -> None:
    found = without(put("--share-net"), filtered=False)
    assert found["no sockets of the host"] == "an abstract socket works"


def test_a_variable_too_much_is_found(without: Callable[..., dict[str, str]]) -> None:
    assert without(put("--setenv", "HF_TOKEN", "x")) == {"an empty environment": "it holds HF_TOKEN"}


def test_files_of_the_host_are_found(without: Callable[..., dict[str, str]]) -> None:
    assert "/etc/passwd" in without(put("--ro-bind-data", "0", "/etc/passwd"))["no files of the host"]


def test_a_system_that_can_be_written_is_found(without: Callable[..., dict[str, str]]) -> None:
    assert without(drop("--remount-ro", "/")) == {"a read-only system": "writing /x works"}


def test_root_is_found(without: Callable[..., dict[str, str]]) -> None:
    found = without(lambda line: ["0" if word == "65534" else word for word in line])
    assert found["a user without rights"] == "it is root"


def test_a_missing_filter_is_found(without: Callable[..., dict[str, str]]) -> None:
    found = without(filtered=False)
    assert found["refused system calls"] == "ptrace works"
    assert "no new namespaces" in found
    assert "fork works" in found["no processes of the host, and few inside"]


def test_forks_are_found(without: Callable[..., dict[str, str]]) -> None:
    assert without(forks=True) == {"no processes of the host, and few inside": "fork works"}


def test_missing_limits_are_found(without: Callable[..., dict[str, str]]) -> None:
    found = without(bounds=False)
    assert found["bounded memory"] == "there is no hard limit"
    assert found["bounded files"] == "a file may be large"
    assert found["no processes of the host, and few inside"] == "64 threads can be started"


def test_a_large_folder_is_found(without: Callable[..., dict[str, str]]) -> None:
    found = without(lambda line: ["90000000" if word == "4000000" else word for word in line])
    assert found == {"bounded files": "/tmp takes more than 10 MB"}


def test_a_run_that_is_not_ended_in_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("variantforge.sandbox.probes._IMPATIENT", Limits(seconds=0.5))
    monkeypatch.setattr("variantforge.sandbox.probes._STUBBORN", "")
    found = {probe.name: probe.found for probe in try_probes.__wrapped__()}
    assert found["a run ends in time, with all its processes"] == "it ended by itself"


def test_nothing_is_run_where_a_wall_is_missing(without: Callable[..., dict[str, str]]) -> None:
    without(put("--setenv", "HF_TOKEN", "x"))
    try_probes.cache_clear()
    try:
        with pytest.raises(SandboxMissing) as caught:
            require()
    finally:
        try_probes.cache_clear()
    assert caught.value.exit_code == 7
    assert "an empty environment: it holds HF_TOKEN" in caught.value.why


@pytest.mark.parametrize(
    ("said", "helps"),
    [
        ("bwrap: setting up uid map: Permission denied", "apparmor_restrict_unprivileged_userns=0"),
        ("bwrap: Creating new namespace failed: Operation not permitted", "--security-opt seccomp=unconfined"),
        ("bwrap: Unknown option --disable-userns", "apt-get install -y bubblewrap"),
    ],
)
def test_a_sandbox_that_does_not_start_says_what_helps(
    said: str, helps: str, without: Callable[..., dict[str, str]]
) -> None:
    with pytest.raises(SandboxMissing) as caught:
        without(lambda line: ["/bin/sh", "-c", f"echo '{said}' >&2; exit 1"])
    assert said in caught.value.why
    assert helps in caught.value.next


def test_a_machine_without_bubblewrap_is_told_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    bubblewrap.program.cache_clear()
    try:
        with pytest.raises(SandboxMissing) as caught:
            try_probes.__wrapped__()
    finally:
        bubblewrap.program.cache_clear()
    assert "apt-get install -y bubblewrap" in caught.value.next
