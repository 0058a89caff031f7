from __future__ import annotations

import pytest

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
