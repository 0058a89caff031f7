"""The judgement: a table of pairs with what must come of each, and the laws that hold for any of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variantforge.licences import LICENCES, Allowed, Refused, Source, Target, canonical, judge
from variantforge.licences.judge import begins_with
from variantforge.licences.question import Judgement

PUBLIC = Target("public", ("acme/Llama-3-Acme-code",))  # a name that every prefix rule likes
PRIVATE = replace(PUBLIC, visibility="private")
FOLDER = replace(PUBLIC, visibility="folder")


def base(says: str, name: str = "acme/base", **more: str) -> Source:
    return Source(name, says, key="base", **more)


def data(says: str = "", *, stated: str = "", reason: str = "", own: bool = False, name: str = "acme/rows") -> Source:
    return Source(name, says, stated, reason, own, "datasets.rows")


def teacher(says: str, name: str = "acme/teacher") -> Source:
    return Source(name, says, key="variants.code.train.teacher")


@dataclass(frozen=True)
class Pair:
    """``licence``: what it goes out under, when allowed. ``refused``: kinds of reasons. ``duties``: kinds it has."""

    base: Source
    teachers: tuple[Source, ...] = ()
    datasets: tuple[Source, ...] = ()
    target: Target = PUBLIC
    licence: str = ""
    refused: frozenset[str] = frozenset()
    duties: frozenset[str] = field(default=frozenset())
    says: str = ""  # words that some reason, fix or duty holds


def allowed(what: Source, *datasets: Source, licence: str, duties: str = "", says: str = "", **more: object) -> Pair:
    return Pair(what, (), datasets, licence=licence, duties=frozenset(duties.split()), says=says, **more)  # type: ignore[arg-type]


def refused(what: Source, *datasets: Source, kinds: str, says: str = "", **more: object) -> Pair:
    return Pair(what, (), datasets, refused=frozenset(kinds.split()), says=says, **more)  # type: ignore[arg-type]


R1_LLAMA = base("mit", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B")
NO_PREFIX = replace(PUBLIC, names=("acme/acme-code", "acme/acme-code-GGUF"))
NC_LICENCE = replace(PUBLIC, licence="cc-by-nc-4.0")
OUTSIDE = replace(PUBLIC, excludes=("EU", "UK", "KR"))

PAIRS = {
    # permissive with permissive
    "apache and mit": allowed(base("apache-2.0"), data("mit"), licence="apache-2.0", duties="text changes credit"),
    "mit and apache": allowed(base("mit"), data("apache-2.0"), licence="mit", duties="text credit"),
    "apache alone": allowed(base("apache-2.0"), licence="apache-2.0", duties="text changes"),
    "bsd and psf": allowed(base("bsd-3-clause"), data("psf-2.0"), licence="bsd-3-clause"),
    "apache and cc0": allowed(base("apache-2.0"), data("cc0-1.0"), licence="apache-2.0"),
    "apache and cc-by": allowed(base("apache-2.0"), data("cc-by-4.0"), licence="apache-2.0", duties="credit"),
    "apache and odc-by": allowed(base("apache-2.0"), data("odc-by"), licence="apache-2.0", duties="credit"),
    "apache and cdla permissive": allowed(base("apache-2.0"), data("cdla-permissive-2.0"), licence="apache-2.0"),
    "apache and cdla sharing: results are free": allowed(
        base("apache-2.0"), data("cdla-sharing-1.0"), licence="apache-2.0"
    ),
    "unlicense and pddl": allowed(base("unlicense"), data("pddl"), licence="unlicense"),
    "apache released as mit": allowed(base("apache-2.0"), licence="mit", target=replace(PUBLIC, licence="MIT")),
    "mit released under terms of the user's own": allowed(
        base("mit"), licence="acme-terms", target=replace(PUBLIC, licence="acme-terms")
    ),
    # Llama
    "llama 3.1 with the prefix": allowed(
        base("llama3.1"),
        licence="llama3.1",
        duties="name text notice display restrictions size",
        says="Llama 3.1 is licensed under the Llama 3.1 Community License",
    ),
    "llama 3.1 without the prefix": refused(
        base("llama3.1"), kinds="name", target=NO_PREFIX, says="publish.repo: 'Llama-{family}-{variant}'"
    ),
    "llama 3.2, private, without the prefix": refused(
        base("llama3.2"), kinds="name", target=replace(NO_PREFIX, visibility="private")
    ),
    "llama 3.3 into a folder, without the prefix": allowed(
        base("llama3.3"), licence="llama3.3", target=replace(NO_PREFIX, visibility="folder"), says="must begin with"
    ),
    "llama 3 wants its number in the name": refused(
        base("llama3"), kinds="name", target=replace(PUBLIC, names=("acme/Llama-acme",)), says="'Llama 3'"
    ),
    "llama 3 with its number": allowed(base("llama3"), licence="llama3", says="Built with Meta Llama 3"),
    "llama 2 asks for no name": allowed(base("llama2"), licence="llama2", target=NO_PREFIX, duties="notice text size"),
    "llama 4": allowed(base("llama4"), licence="llama4", duties="name"),
    "r1-distill-llama: mit and llama bind": allowed(R1_LLAMA, licence="llama3.1", duties="name notice text"),
    "r1-distill-llama without the prefix": refused(R1_LLAMA, kinds="name", target=NO_PREFIX),
    "r1-distill-llama as mit": refused(R1_LLAMA, kinds="licence", target=replace(PUBLIC, licence="mit")),
    "r1-distill-qwen is mit": allowed(
        base("mit", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"), licence="mit", target=NO_PREFIX
    ),
    "llama released as apache": refused(
        base("llama3.2"),
        kinds="licence",
        target=replace(PUBLIC, licence="apache-2.0"),
        says="publish.license: llama3.2",
    ),
    "an apache card over a llama name": refused(
        base("apache-2.0", "acme/Llama-3.1-8B-chat"), kinds="name", target=NO_PREFIX
    ),
    "tinyllama is no llama": allowed(
        base("apache-2.0", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"), licence="apache-2.0", target=NO_PREFIX
    ),
    "a llama name with a reason": allowed(
        base("apache-2.0", "acme/Llama-3.1-named", stated="apache-2.0", reason="trained from nothing by us"),
        licence="apache-2.0",
        target=NO_PREFIX,
    ),
    "llama and share-alike data": refused(
        base("llama3.1"), data("cc-by-sa-4.0"), kinds="disputed", says="no licence suits all sources"
    ),
    "apache learns from llama outputs in a dataset": refused(
        base("apache-2.0"), data("llama3.1"), kinds="name", target=NO_PREFIX
    ),
    "apache learns from llama 3.1": Pair(
        base("apache-2.0"), (teacher("llama3.1"),), licence="apache-2.0", duties=frozenset({"name"})
    ),
    "apache learns from llama 2": Pair(
        base("apache-2.0"), (teacher("llama2"),), refused=frozenset({"outputs", "licence"})
    ),
    "llama 2 learns from llama 2": Pair(base("llama2"), (teacher("llama2"),), licence="llama2"),
    # Gemma, RAIL, DeepSeek
    "gemma": allowed(base("gemma"), licence="gemma", duties="notice text changes restrictions"),
    "gemma released as mit": refused(base("gemma"), kinds="licence", target=replace(PUBLIC, licence="mit")),
    "gemma 4 is apache": allowed(base("apache-2.0", "google/gemma-4-12b"), licence="apache-2.0"),
    "apache learns from gemma": Pair(
        base("apache-2.0"), (teacher("gemma"),), refused=frozenset({"licence"}), says="publish.license: gemma"
    ),
    "apache learns from gemma and says so": Pair(
        base("apache-2.0"),
        (teacher("gemma"),),
        target=replace(PUBLIC, licence="gemma"),
        licence="gemma",
        duties=frozenset({"notice", "restrictions"}),
    ),
    "bloom rail": allowed(
        base("bigscience-bloom-rail-1.0"), licence="bigscience-bloom-rail-1.0", duties="restrictions"
    ),
    "starcoder": allowed(base("bigcode-openrail-m"), licence="bigcode-openrail-m", duties="restrictions text"),
    "starcoder as apache": refused(
        base("bigcode-openrail-m"), kinds="licence", target=replace(PUBLIC, licence="apache-2.0")
    ),
    "deepseek's own licence": allowed(base("deepseek"), licence="deepseek", duties="restrictions text changes"),
    "deepseek under mit": allowed(base("mit", "deepseek-ai/DeepSeek-V3-0324"), licence="mit"),
    # Qwen, MiniMax, Hunyuan, Kimi, Mistral
    "qwen": allowed(base("qwen"), licence="qwen", duties="display notice text changes size", says="Built with Qwen"),
    "qwen under apache": allowed(base("apache-2.0", "Qwen/Qwen3-4B"), licence="apache-2.0"),
    "qwen research in public": allowed(base("qwen-research"), licence="qwen-research", duties="noncommercial"),
    "qwen research as apache": refused(
        base("qwen-research"), kinds="noncommercial", target=replace(PUBLIC, licence="apache-2.0")
    ),
    "apache learns from qwen": Pair(
        base("apache-2.0"), (teacher("qwen"),), licence="apache-2.0", duties=frozenset({"display"})
    ),
    "apache learns from the first qwen": Pair(
        base("apache-2.0"), (teacher("tongyi-qianwen"),), refused=frozenset({"outputs", "licence"})
    ),
    "minimax": allowed(base("minimax"), licence="minimax", duties="notice text restrictions"),
    "minimax m2.7 is not for earning": allowed(
        base("other", "MiniMaxAI/MiniMax-M2.7", stated="minimax-non-commercial", reason="its LICENSE file"),
        licence="minimax-non-commercial",
        duties="noncommercial",
    ),
    "minimax m2.7 called mit": refused(
        base("mit", "MiniMaxAI/MiniMax-M2.7"), kinds="noncommercial", target=replace(PUBLIC, licence="mit")
    ),
    "hunyuan to everybody": refused(base("hunyuan"), kinds="territory", says="EU, KR, UK"),
    "hunyuan outside its territories": allowed(
        base("hunyuan"), licence="hunyuan", target=OUTSIDE, duties="territory notice"
    ),
    "hunyuan but the EU": refused(
        base("hunyuan"), kinds="territory", target=replace(PUBLIC, excludes=("UK", "KR")), says="passed on to EU"
    ),
    "hunyuan in private": allowed(base("hunyuan"), licence="hunyuan", target=PRIVATE, duties="territory"),
    "apache learns from hunyuan": Pair(
        base("apache-2.0"), (teacher("hunyuan"),), target=OUTSIDE, refused=frozenset({"outputs", "licence"})
    ),
    "kimi": allowed(base("modified-mit", "moonshotai/Kimi-K2-Instruct"), licence="kimi", duties="size text"),
    "modified mit of nobody known": refused(base("modified-mit", "acme/new"), kinds="unknown"),
    "mistral research": allowed(base("mrl"), licence="mrl", duties="noncommercial notice changes"),
    "mistral research as apache": refused(
        base("mrl"), kinds="noncommercial", target=replace(PRIVATE, licence="apache-2.0")
    ),
    "mistral non-production": allowed(base("mnpl"), licence="mnpl", duties="noncommercial"),
    "apache learns from mistral research": Pair(
        base("apache-2.0"), (teacher("mrl"),), refused=frozenset({"noncommercial"}), says="publish.license: cc-by-nc"
    ),
    # data
    "non-commercial data in a public family": refused(
        base("apache-2.0"), data("cc-by-nc-4.0"), kinds="noncommercial", says="publish.license: cc-by-nc-4.0"
    ),
    "non-commercial data, said so": allowed(
        base("apache-2.0"),
        data("cc-by-nc-4.0"),
        licence="cc-by-nc-4.0",
        target=NC_LICENCE,
        duties="noncommercial credit",
    ),
    "non-commercial data in private": refused(
        base("apache-2.0"), data("cc-by-nc-4.0"), kinds="noncommercial", target=PRIVATE
    ),
    "non-commercial data in a folder": allowed(
        base("apache-2.0"), data("cc-by-nc-4.0"), licence="apache-2.0", target=FOLDER, duties="noncommercial"
    ),
    "non-commercial data and llama": refused(base("llama3.1"), data("cc-by-nc-4.0"), kinds="noncommercial"),
    "share-alike data": refused(
        base("apache-2.0"), data("cc-by-sa-4.0"), kinds="disputed", says="publish.license: cc-by-sa-4.0"
    ),
    "share-alike data, shared alike": allowed(
        base("apache-2.0"), data("cc-by-sa-4.0"), licence="cc-by-sa-4.0", target=replace(PUBLIC, licence="CC BY-SA 4.0")
    ),
    "share-alike data under a compatible licence": allowed(
        base("apache-2.0"), data("cc-by-sa-4.0"), licence="gpl-3.0", target=replace(PUBLIC, licence="gpl-3.0")
    ),
    "share-alike data, argued": allowed(
        base("apache-2.0"),
        data("cc-by-sa-4.0"),
        licence="apache-2.0",
        target=replace(PUBLIC, licence="apache-2.0", reason="our lawyers hold that a model is no adaptation"),
        says="goes out under cc-by-sa-4.0",
    ),
    "an argument does not free non-commercial data": refused(
        base("apache-2.0"),
        data("cc-by-nc-sa-4.0"),
        kinds="noncommercial",
        target=replace(PUBLIC, licence="apache-2.0", reason="so we say"),
    ),
    "two share-alikes that do not meet": refused(
        base("apache-2.0"), data("cc-by-sa-3.0"), data("gpl-2.0", name="acme/code"), kinds="disputed"
    ),
    "no-derivatives data": refused(base("apache-2.0"), data("cc-by-nd-4.0"), kinds="disputed", says="NoDerivatives"),
    "no-derivatives base": refused(base("cc-by-nd-4.0"), kinds="nd"),
    "gpl code as data": refused(base("apache-2.0"), data(stated="gpl-3.0", own=True), kinds="disputed"),
    "odbl data": refused(base("mit"), data("odbl"), kinds="disputed"),
    "outputs of a service as data": refused(base("apache-2.0"), data(stated="openai", own=True), kinds="outputs"),
    # unknown
    "unknown base": refused(base(""), kinds="unknown", says="base.license_reason"),
    "unknown base in private": refused(base(""), kinds="unknown", target=PRIVATE),
    "unknown base into a folder": allowed(base(""), licence="", target=FOLDER, says="names no licence"),
    "unknown base, stated with a reason": allowed(
        base("", stated="apache-2.0", reason="the paper says so"), licence="apache-2.0", duties="text"
    ),
    "unknown base, stated without a reason": refused(
        base("", stated="apache-2.0"), kinds="unknown", says="nothing says why"
    ),
    "a licence that is not in the table": refused(base("acme-model-terms"), kinds="unknown", says="acme-model-terms"),
    "a licence that is not in the table, with a reason": allowed(
        base("acme-model-terms", stated="acme-model-terms", reason="read by us: free to pass on"),
        licence="acme-model-terms",
    ),
    "a licence of one's own may not replace an unknown one": refused(
        base("acme-terms", stated="acme-terms", reason="read"), kinds="licence", target=replace(PUBLIC, licence="mit")
    ),
    "another licence than the base names": refused(base("llama3.1", stated="mit"), kinds="contradiction"),
    "the licence that the base names": allowed(base("apache-2.0", stated="Apache-2.0"), licence="apache-2.0"),
    "unknown data of a hub": refused(base("mit"), data(stated="mit"), kinds="unknown"),
    "unknown data of one's own": refused(
        base("mit"), data(own=True), kinds="unknown", says="datasets.rows.license: its id"
    ),
    "data of one's own, stated": allowed(base("mit"), data(stated="mit", own=True), licence="mit"),
    "somebody else's licence for a work of one's own": refused(
        base("mit"), kinds="licence", target=replace(PUBLIC, licence="llama3.1")
    ),
}  # fmt: skip


def judged(pair: Pair) -> Judgement:
    return judge(pair.base, pair.teachers, pair.datasets, pair.target)


def test_there_are_many_pairs() -> None:
    assert len(PAIRS) >= 60


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_is_judged_as_its_texts_say(name: str) -> None:
    pair = PAIRS[name]
    found = judged(pair)
    told = repr(found)
    if pair.refused:
        assert isinstance(found, Refused), told
        assert {reason.kind for reason in found.reasons} == pair.refused
        assert all(reason.fix for reason in found.reasons)
    else:
        assert isinstance(found, Allowed), told
        assert found.licence == pair.licence
        assert found.notes == () or pair.target.visibility != "public" or pair.target.reason
    assert pair.duties <= {duty.kind for duty in found.duties}
    assert pair.says in told.replace('\\"', '"').replace("\\'", "'")


@pytest.mark.parametrize(
    ("name", "words", "good"),
    [
        ("Llama-3-Acme", "Llama 3", True),
        ("Llama3-Acme", "Llama 3", True),
        ("Llama_3.1-Acme", "Llama 3", True),
        ("acme/Llama-Acme", "Llama", True),
        ("llama-acme", "Llama", False),
        ("Acme-Llama", "Llama", False),
        ("Llama-Acme-3", "Llama 3", False),
        ("", "Llama", False),
    ],
)
def test_a_name_begins_with_the_words_of_a_licence(name: str, words: str, good: bool) -> None:
    assert begins_with(name, words) is good


ids = st.sampled_from(["", "no-such-licence", *LICENCES])
names = st.sampled_from(["acme/a", "acme/Llama-3.1-b", "MiniMaxAI/MiniMax-M2.7", "acme/c"])
sources = st.builds(
    Source,
    names,
    ids,
    st.sampled_from(["", "mit", "gemma"]),
    st.sampled_from(["", "read"]),
    st.booleans(),
    st.just("k"),
)
targets = st.builds(
    Target,
    st.sampled_from(["public", "private", "folder"]),
    st.tuples(st.sampled_from(["a/x", "a/Llama-3-x"])),
    st.sampled_from(["", "mit", "cc-by-nc-4.0", "own-terms"]),
    st.sampled_from(["", "argued"]),
    st.sampled_from([(), ("EU", "UK", "KR")]),
)
many = st.lists(sources, max_size=3)


@settings(deadline=None)  # other work on the same cores is no failure
@given(sources, many, many, targets, sources)
def test_another_source_never_removes_a_duty_or_a_reason(
    base: Source, teachers: list[Source], datasets: list[Source], target: Target, another: Source
) -> None:
    def duties(found: Judgement) -> set[tuple[str, str, str]]:
        return {(duty.kind, duty.licence, duty.text) for duty in found.duties}

    before = judge(base, teachers, datasets, target)
    for after in (
        judge(base, [*teachers, another], datasets, target),
        judge(base, teachers, [*datasets, another], target),
    ):
        assert duties(before) <= duties(after)
        if isinstance(before, Refused):
            assert isinstance(after, Refused)
        if isinstance(before, Allowed) and isinstance(after, Allowed):
            own = {canonical(another.says, another.name), canonical(another.stated, another.name)}
            assert set(after.licences) <= set(before.licences) | own


@settings(deadline=None)  # other work on the same cores is no failure
@given(sources, many, many, targets, st.randoms())
def test_the_order_of_sources_does_not_matter(
    base: Source, teachers: list[Source], datasets: list[Source], target: Target, random: object
) -> None:
    import random as shuffling

    other = list(datasets), list(teachers)
    assert isinstance(random, shuffling.Random)
    for each in other:
        random.shuffle(each)
    assert judge(base, teachers, datasets, target) == judge(base, other[1], other[0], target)


@settings(deadline=None)  # other work on the same cores is no failure
@given(sources, many, many, targets)
def test_what_is_allowed_goes_out_under_a_licence_that_all_sources_admit(
    base: Source, teachers: list[Source], datasets: list[Source], target: Target
) -> None:
    found = judge(base, teachers, datasets, target)
    assert found == judge(base, teachers, datasets, target)
    if isinstance(found, Allowed) and target.visibility == "public" and not (target.licence and target.reason):
        assert found.licence in found.licences
        assert found.notes == ()


@settings(deadline=None)  # other work on the same cores is no failure
@given(sources, many, many, targets)
def test_what_public_allows_private_and_folder_allow(
    base: Source, teachers: list[Source], datasets: list[Source], target: Target
) -> None:
    by = {
        visibility: isinstance(judge(base, teachers, datasets, replace(target, visibility=visibility)), Allowed)
        for visibility in ("public", "private", "folder")
    }
    assert by["folder"]
    assert by["private"] or not by["public"]


def test_a_source_with_no_key_of_its_own_cannot_be_explained_only_replaced() -> None:
    found = judge(Source("acme/other-base", ""), [], [], PUBLIC)
    assert isinstance(found, Refused)
    assert [reason.fix for reason in found.reasons] == ["use a base whose licence is known"]
