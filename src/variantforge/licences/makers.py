"""Licences that a maker wrote for models of its own, read in their own text; the links say where.

They differ most in what they ask of models that learn from a model's outputs; see ``Outputs``.
"""

from __future__ import annotations

from variantforge.licences.terms import (
    Licence,
    ManyUsers,
    NonCommercial,
    Notice,
    Outputs,
    Restrictions,
    ShipText,
    StateChanges,
    Territory,
)

_OWN = "It is the maker's own agreement: what is made of the model stays under it."


_GEMMA = Licence(
    "gemma",
    "Gemma Terms of Use",
    "https://ai.google.dev/gemma/terms",
    "model",
    (
        Notice(
            "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
            "Section 3.1: a text file 'Notice' with these words goes with every copy.",
        ),
        ShipText("Section 3.1: recipients get a copy of the terms."),
        StateChanges("Section 3.1: changed files carry a prominent notice."),
        Restrictions(
            "https://ai.google.dev/gemma/prohibited_use_policy",
            "Sections 3.1 and 3.2: recipients are told of the forbidden uses and bound to them.",
        ),
    ),
    "same",
    (),
    "Section 3.1: other terms may be added, never set against these; its own terms are the safe choice.",
    Outputs(
        "derivative",
        "Section 1.1(e): a model that learned from its outputs to perform like it is a derivative, with all duties.",
    ),
    public=False,
)


_DEEPSEEK = Licence(
    "deepseek",
    "DeepSeek License Agreement 1.0",
    "https://github.com/deepseek-ai/DeepSeek-V3/blob/main/LICENSE-MODEL",
    "model",
    (
        ShipText("Section 4.b: recipients get a copy of the licence."),
        StateChanges("Section 4.c: changed files carry a prominent notice."),
        Restrictions(
            "https://github.com/deepseek-ai/DeepSeek-V3/blob/main/LICENSE-MODEL",
            "Sections 4.a and 5: the forbidden uses of Attachment A bind everybody down the line.",
        ),
    ),
    "same",
    (),
    "Section 4.e: other terms must contain the same forbidden uses; the licence itself has them.",
    Outputs("derivative", "Section 1: a model that learned from synthetic data of the model is a derivative of it."),
    public=False,
)

_MINIMAX_POLICY = "https://github.com/MiniMax-AI/MiniMax-M2.5/blob/main/LICENSE-MODEL"
_MINIMAX_USES = "A list of prohibited uses is part of the agreement, military ones among them."
_MINIMAX = (
    Licence(
        "minimax",
        "MiniMax Model License",
        _MINIMAX_POLICY,
        "model",
        (
            Notice(
                "MiniMax AI model is licensed under the MiniMax Model License, "
                "Copyright © MiniMax. All Rights Reserved.",
                "Section 2.b.ii: kept in a text file 'Notice' that goes with the copies.",
            ),
            ShipText("Section 2.b.i: a copy of the agreement goes with the weights and what is made of them."),
            StateChanges("Section 2.b.i: changed files carry a prominent notice."),
            Restrictions(_MINIMAX_POLICY, _MINIMAX_USES),
        ),
        "same",
        (),
        "Read in its text for M2.5. Older releases bear the name too and may say more: the file the base brings rules.",
        Outputs(
            "derivative",
            "Section 2.b.i counts another AI model among what uses the model; so are outputs, strictly read.",
        ),
        public=False,
    ),
    Licence(
        "minimax-non-commercial",
        "MiniMax Non-Commercial License (M2.7)",
        "https://github.com/MiniMax-AI/MiniMax-M2.7/blob/main/LICENSE",
        "model",
        (
            NonCommercial("Condition 3: commercial use, of fine-tuned versions too, needs a written authorisation."),
            ShipText("Condition 1: copyright line and permission notice are kept."),
            Restrictions("https://github.com/MiniMax-AI/MiniMax-M2.7/blob/main/LICENSE", _MINIMAX_USES),
        ),
        "same",
        (),
        _OWN,
        Outputs(
            "some", "Nothing is said of outputs; the stricter reading keeps them non-commercial.", (NonCommercial,)
        ),
        public=False,
    ),
    Licence(
        "minimax-community",
        "MiniMax Community License (M3)",
        "https://huggingface.co/MiniMaxAI/MiniMax-M3/blob/main/LICENSE",
        "model",
        (
            NonCommercial(
                "The grant is for non-commercial purposes; commercial use is announced to MiniMax, or asked for."
            ),
            ShipText("Condition 1: copyright line and permission notice are kept."),
            ManyUsers(
                "20 million US dollars of yearly revenue",
                "Condition 2: such products need an authorisation; all commercial ones show 'Built with MiniMax M3'.",
            ),
        ),
        "same",
        (),
        _OWN,
        Outputs(
            "some", "Nothing is said of outputs; the stricter reading keeps them non-commercial.", (NonCommercial,)
        ),
        public=False,
    ),
)

_HUNYUAN = Licence(
    "hunyuan",
    "Tencent Hunyuan Community License Agreement",
    "https://huggingface.co/tencent/Hunyuan-A13B-Instruct/blob/main/LICENSE",
    "model",
    (
        Territory(
            ("EU", "UK", "KR"),
            "Sections 1, 3 and 5.c: use and distribution only outside the European Union, the United Kingdom and South "
            "Korea. Whether you yourself may use it depends on where you are.",
        ),
        Notice(
            "Tencent Hunyuan is licensed under the Tencent Hunyuan Community License Agreement, Copyright © Tencent. "
            'All Rights Reserved. The trademark rights of "Tencent Hunyuan" are owned by Tencent or its affiliate.',
            "Section 3.d: a text file 'Notice' goes with every copy. Its own text has the release's year and name.",
        ),
        ShipText("Section 3.a: recipients get a copy of the agreement."),
        StateChanges("Section 3.b: changed files carry a prominent notice."),
        Restrictions(
            "https://huggingface.co/tencent/Hunyuan-A13B-Instruct/blob/main/LICENSE",
            "Section 5 and Exhibit A: the acceptable use policy binds everybody down the line.",
        ),
        ManyUsers(
            "the monthly users that its section 4 names", "Releases differ: 1 million for some, more for others."
        ),
    ),
    "same",
    (),
    _OWN,
    Outputs("forbidden", "Section 5.b: its outputs may not improve another AI model.", (), ("hunyuan",)),
    public=False,
)

_KIMI = Licence(
    "kimi",
    "Modified MIT License of Kimi",
    "https://huggingface.co/moonshotai/Kimi-K2-Instruct/blob/main/LICENSE",
    "model",
    (
        ShipText("The MIT part: copyright line and permission notice are kept."),
        ManyUsers(
            "100 million monthly users or 20 million US dollars of monthly revenue",
            "The modification: such products show the model's name, for example 'Kimi K2', in their interface.",
        ),
    ),
    "same",
    (),
    "The modification speaks of derivative works too, so it has to go along.",
    Outputs("free", "The text says nothing of outputs."),
    public=False,
)

_MISTRAL_ONLY = "Section 3.2: models, what is made of them and outputs alike, for research that earns nothing."
_MISTRAL = (
    Licence(
        "mrl",
        "Mistral AI Research License",
        "https://mistral.ai/licenses/MRL-0.1.md",
        "model",
        (
            NonCommercial(_MISTRAL_ONLY + " A company may not distribute them at all, paid or free."),
            Notice(
                "Licensed by Mistral AI under the Mistral AI Research License",
                "Section 2.2: kept in a text file 'Notice' that goes with the copies.",
            ),
            ShipText("Section 2.2: recipients can get a copy of the agreement."),
            StateChanges("Section 2.3: a prominent notice that the model was modified."),
        ),
        "same",
        (),
        "Section 2.3 lets other terms be added, but use stays under this agreement.",
        Outputs("some", "Sections 3.2 and 4.2: outputs are for research purposes only.", (NonCommercial,)),
        public=False,
    ),
    Licence(
        "mnpl",
        "Mistral AI Non-Production License",
        "https://mistral.ai/licenses/MNPL-0.1.md",
        "model",
        (
            NonCommercial("Section 3.2: testing, research and personal use outside production; no commercial supply."),
            ShipText("Recipients can get a copy of the agreement."),
            StateChanges("A notice that the model was modified."),
        ),
        "same",
        (),
        _OWN,
        Outputs(
            "some", "Read as for its successor, the research licence: not for production either.", (NonCommercial,)
        ),
        public=False,
    ),
)

_OUTPUTS_OF_SERVICES = Licence(
    "openai-outputs",
    "Outputs of OpenAI's services (terms of use)",
    "https://openai.com/policies/row-terms-of-use/",
    "model",
    (),
    "any",
    (),
    "",
    Outputs(
        "forbidden",
        "The terms of use forbid developing models that compete with OpenAI from outputs. Whether a small model does "
        "is for lawyers; the stricter reading is that any language model does.",
    ),
    public=False,
)

MAKERS = (_GEMMA, _DEEPSEEK, *_MINIMAX, _HUNYUAN, _KIMI, *_MISTRAL, _OUTPUTS_OF_SERVICES)
