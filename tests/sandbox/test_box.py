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
