from __future__ import annotations

import pytest

from variantforge.errors import SandboxMissing
from variantforge.sandbox import bubblewrap, grade, read_tests
from variantforge.sandbox.box import Box
from variantforge.sandbox.limits import DEFAULT


@pytest.mark.usefixtures("sandbox")
def test_a_box_that_is_closed_while_it_starts_is_gone_at_once() -> None:
    for _ in range(20):
        with Box("candidate", DEFAULT) as box:
            pass
        assert box._process.returncode is not None


@pytest.mark.usefixtures("sandbox")
def test_a_reply_that_is_read_after_the_end_is_not_lost() -> None:
    with Box("script", DEFAULT) as box:
        box.send("0", "__main__", "raise SystemExit(3)")
        box._process.wait()
        assert box.receive() == {"nonce": "0", "value": None}
        assert box.finish() == (3, b"")


@pytest.mark.usefixtures("sandbox")
def test_a_box_that_never_began_is_no_verdict_on_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """It started when it was probed, and later it does not: a program is not wrong for that."""
    command = bubblewrap.command
    monkeypatch.setattr(bubblewrap, "command", lambda *args: ("bwrap", "--ro-bind", "/nowhere", "/x", *command(*args)))
    every = (["assert f() == 1"], None), ([{"input": [], "output": 1}], "f"), ([{"input": "1", "output": "1"}], None)
    for tests, entry_point in every:
        with pytest.raises(SandboxMissing, match="cannot be run safely"):
            grade("def f(): return 1", read_tests(tests, entry_point))
