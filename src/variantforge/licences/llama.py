"""Meta's community licences: one agreement for each generation, alike in most and different in names and outputs."""

from __future__ import annotations

from variantforge.licences.terms import (
    Display,
    Licence,
    ManyUsers,
    NamePrefix,
    Notice,
    Outputs,
    Restrictions,
    ShipText,
    Term,
)

_OWN = "It is the maker's own agreement: what is made of the model stays under it."


def _llama(id: str, version: str, url: str, policy: str, *, since_3_1: bool, prefix: str, display: str) -> Licence:
    named = "Meta Llama 3" if version == "3" else f"Llama {version}"
    notice = (
        f"{named} is licensed under the {named} Community License, "
        "Copyright © Meta Platforms, Inc. All Rights Reserved."
    )
    terms: list[Term] = [
        NamePrefix(prefix, f"Section 1.b.i: a model made with it carries '{prefix}' at the beginning of its name."),
        Display(display, "Section 1.b.i: shown on a website, an about page or the documentation."),
        Notice(notice, "Section 1.b.iii: kept in a text file 'Notice' that goes with the copies."),
        ShipText("Section 1.b.i: a copy of the agreement goes with the weights."),
        Restrictions(policy, "Section 1.b.iv: the acceptable use policy is part of the agreement."),
        ManyUsers(
            "700 million monthly users", "Section 2: a licence of Meta's is needed, by the release date's count."
        ),
    ]
    if since_3_1:
        outputs = Outputs(
            "some", "Section 1.b.i: a model improved with its outputs must carry the name.", (NamePrefix,)
        )
    else:
        outputs = Outputs(
            "forbidden",
            f"Section 1.b.v: neither it nor its outputs may improve another large language model than {named}.",
            unless_base=(id,),
        )
    return Licence(
        id, f"{named} Community License", url, "model", tuple(terms), "same", (), _OWN, outputs, public=False
    )


_META = "https://github.com/meta-llama/llama-models/blob/main/models"
_LLAMA_2 = Licence(
    "llama2",
    "Llama 2 Community License",
    "https://github.com/facebookresearch/llama/blob/main/LICENSE",
    "model",
    (
        Notice(
            "Llama 2 is licensed under the LLAMA 2 Community License, "
            "Copyright (c) Meta Platforms, Inc. All Rights Reserved.",
            "Section 1.b.iii: kept in a text file 'Notice' that goes with the copies.",
        ),
        ShipText("Section 1.b.i: a copy of the agreement goes with the weights and what is made of them."),
        Restrictions(
            "https://ai.meta.com/llama/use-policy", "Section 1.b.iv: the use policy is part of the agreement."
        ),
        ManyUsers(
            "700 million monthly users", "Section 2: a licence of Meta's is needed, by the release date's count."
        ),
    ),
    "same",
    (),
    _OWN,
    Outputs("forbidden", "Section 1.b.v: its outputs may not improve another large language model.", (), ("llama2",)),
    public=False,
)
LLAMA = (
    _LLAMA_2,
    _llama("llama3", "3", "https://github.com/meta-llama/llama3/blob/main/LICENSE",
           "https://llama.meta.com/llama3/use-policy", since_3_1=False, prefix="Llama 3",
           display="Built with Meta Llama 3"),
    *(_llama(f"llama{version}", version, f"{_META}/{folder}/LICENSE", policy, since_3_1=True, prefix="Llama",
             display="Built with Llama")
      for version, folder, policy in (
          ("3.1", "llama3_1", "https://llama.meta.com/llama3_1/use-policy"),
          ("3.2", "llama3_2", "https://www.llama.com/llama3_2/use-policy"),
          ("3.3", "llama3_3", "https://www.llama.com/llama3_3/use-policy"),
          ("4", "llama4", "https://www.llama.com/llama4/use-policy"),
      )),
)  # fmt: skip
