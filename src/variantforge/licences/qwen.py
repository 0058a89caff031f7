"""Alibaba's agreements for Qwen. Most Qwen models are under Apache-2.0 and need none of these."""

from __future__ import annotations

from variantforge.licences.terms import (
    Display,
    Licence,
    ManyUsers,
    NonCommercial,
    Notice,
    Outputs,
    ShipText,
    StateChanges,
    Term,
)

_OWN = "It is the maker's own agreement: what is made of the model stays under it."
_COPY = ShipText("Section 3.a: recipients of the weights, or of what is made of them, get a copy of the agreement.")
_CHANGED = StateChanges("Section 3.b: changed files carry a prominent notice.")


def _qwen(id: str, name: str, url: str, notice: str, *extra: Term, outputs: Outputs) -> Licence:
    kept = Notice(notice, "Section 3.c: kept in a text file 'Notice' that goes with the copies.")
    return Licence(id, name, url, "model", (kept, _COPY, _CHANGED, *extra), "same", (), _OWN, outputs, public=False)


_MANY = ManyUsers("100 million monthly users", "Section 4: commercial products of that size need a licence.")
_SHOWN = Display("Built with Qwen", "A model made with it, or with its outputs, shows this in its documentation.")
_ONLY = "Its outputs may not improve another large language model than its own."
_RESEARCH = NonCommercial("Section 2: granted for research and evaluation only; commercial use needs a licence.")
QWEN = (
    _qwen(
        "qwen",
        "Qwen License Agreement",
        "https://huggingface.co/Qwen/Qwen2.5-72B/blob/main/LICENSE",
        "Qwen is licensed under the Qwen LICENSE AGREEMENT, Copyright (c) Alibaba Cloud. All Rights Reserved.",
        _SHOWN,
        _MANY,
        outputs=Outputs("some", "Section 5.b: the same words are shown for models trained on outputs.", (Display,)),
    ),
    _qwen(
        "qwen-research",
        "Qwen Research License Agreement",
        "https://huggingface.co/Qwen/Qwen2.5-3B/blob/main/LICENSE",
        "Qwen is licensed under the Qwen RESEARCH LICENSE AGREEMENT, Copyright (c) Alibaba Cloud. All Rights Reserved.",
        _RESEARCH,
        _SHOWN,
        outputs=Outputs(
            "some",
            "Models trained on outputs show the words. That they stay non-commercial too is not said; it is the "
            "stricter reading of a grant for research only.",
            (Display, NonCommercial),
        ),
    ),
    _qwen(
        "tongyi-qianwen",
        "Tongyi Qianwen License Agreement",
        "https://github.com/QwenLM/Qwen/blob/main/Tongyi%20Qianwen%20LICENSE%20AGREEMENT",
        "Tongyi Qianwen is licensed under the Tongyi Qianwen LICENSE AGREEMENT, "
        "Copyright (c) Alibaba Cloud. All Rights Reserved.",
        _MANY,
        outputs=Outputs("forbidden", f"Section 5.b: {_ONLY}", (), ("tongyi-qianwen",)),
    ),
    _qwen(
        "tongyi-qianwen-research",
        "Tongyi Qianwen Research License Agreement",
        "https://github.com/QwenLM/Qwen/blob/main/Tongyi%20Qianwen%20RESEARCH%20LICENSE%20AGREEMENT",
        "Tongyi Qianwen is licensed under the Tongyi Qianwen RESEARCH LICENSE AGREEMENT, "
        "Copyright (c) Alibaba Cloud. All Rights Reserved.",
        _RESEARCH,
        outputs=Outputs("forbidden", f"Section 4.b: {_ONLY}", (), ("tongyi-qianwen-research",)),
    ),
)
