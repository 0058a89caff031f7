"""Licences made for anybody's work: software, texts and other content, data, and the RAIL family."""

from __future__ import annotations

from variantforge.licences.terms import (
    Credit,
    Kind,
    Licence,
    NoDerivatives,
    NonCommercial,
    Outputs,
    Restrictions,
    ShipText,
    StateChanges,
    Term,
)

_KEEP = ShipText("Copies must carry the copyright line and the text of the licence.")
_DATA_SHARE = (
    "Whether a model is a derived work of what it learned from is disputed; the stricter reading is that it is, and "
    "then it must be passed on under the same terms."
)


def _permissive(id: str, name: str, url: str) -> Licence:
    return Licence(id, name, url, "software", (_KEEP,))


def _free(id: str, name: str, url: str, kind: Kind) -> Licence:
    """Rights given up as far as the law lets one."""
    return Licence(id, name, url, kind)


_SPDX = "https://spdx.org/licenses/"

_PERMISSIVE = (
    Licence(
        "apache-2.0",
        "Apache License 2.0",
        "https://www.apache.org/licenses/LICENSE-2.0",
        "software",
        (
            ShipText("Section 4(a): recipients get a copy of the licence; 4(d): a NOTICE of the original is kept."),
            StateChanges("Section 4(b): changed files say that they were changed."),
        ),
    ),
    _permissive("mit", "MIT License", _SPDX + "MIT.html"),
    _permissive("bsd", "BSD License (version not named)", _SPDX + "BSD-3-Clause.html"),
    _permissive("bsd-2-clause", "BSD 2-Clause License", _SPDX + "BSD-2-Clause.html"),
    _permissive("bsd-3-clause", "BSD 3-Clause License", _SPDX + "BSD-3-Clause.html"),
    _permissive("bsd-3-clause-clear", "BSD 3-Clause Clear License", _SPDX + "BSD-3-Clause-Clear.html"),
    _permissive("isc", "ISC License", _SPDX + "ISC.html"),
    _permissive("psf-2.0", "Python Software Foundation License 2.0", _SPDX + "PSF-2.0.html"),
    _permissive("ncsa", "University of Illinois/NCSA License", _SPDX + "NCSA.html"),
    _permissive("postgresql", "PostgreSQL License", _SPDX + "PostgreSQL.html"),
    _permissive("zlib", "zlib License", _SPDX + "Zlib.html"),
    _permissive("bsl-1.0", "Boost Software License 1.0", _SPDX + "BSL-1.0.html"),
    _permissive("afl-3.0", "Academic Free License 3.0", _SPDX + "AFL-3.0.html"),
    _permissive("ecl-2.0", "Educational Community License 2.0", _SPDX + "ECL-2.0.html"),
    _free("unlicense", "The Unlicense", _SPDX + "Unlicense.html", "software"),
    _free("wtfpl", "WTFPL", _SPDX + "WTFPL.html", "software"),
    _free("0bsd", "BSD Zero Clause License", _SPDX + "0BSD.html", "software"),
)


def _copyleft(id: str, name: str, compatible: tuple[str, ...] = ()) -> Licence:
    return Licence(
        id,
        name,
        f"{_SPDX}{id.upper()}-only.html" if id[0] in "agl" and "gpl" in id else f"{_SPDX}{id.upper()}.html",
        "software",
        (_KEEP, StateChanges("Changed versions must say that they were changed.")),
        bears="same",
        compatible=compatible,
        bears_why=_DATA_SHARE,
    )


_COPYLEFT = (
    _copyleft("gpl-2.0", "GNU General Public License 2.0"),
    _copyleft("gpl-3.0", "GNU General Public License 3.0", ("agpl-3.0",)),
    _copyleft("agpl-3.0", "GNU Affero General Public License 3.0"),
    _copyleft("lgpl-2.1", "GNU Lesser General Public License 2.1", ("gpl-2.0", "gpl-3.0")),
    _copyleft("lgpl-3.0", "GNU Lesser General Public License 3.0", ("gpl-3.0", "agpl-3.0")),
    _copyleft("mpl-2.0", "Mozilla Public License 2.0", ("gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0", "agpl-3.0")),
    _copyleft("epl-2.0", "Eclipse Public License 2.0"),
    _copyleft("eupl-1.2", "European Union Public License 1.2", ("gpl-2.0", "gpl-3.0", "agpl-3.0", "mpl-2.0")),
    _copyleft("osl-3.0", "Open Software License 3.0"),
)

_BY = Credit("Attribution: name the maker and the licence, link both, and say what was changed.")
_NC = NonCommercial(
    "NonCommercial: not for commercial advantage or payment; a model that learned from it is taken alike."
)
_ND = NoDerivatives(
    "NoDerivatives: changed versions may not be shared. Whether a model is one is disputed; strictly read, it is."
)


def _cc(parts: str, version: str, compatible: tuple[str, ...] = ()) -> Licence:
    """``parts`` as in the id: ``by-nc-sa``."""
    found: list[Term] = [_BY]
    found += [_NC] if "nc" in parts else []
    found += [_ND] if "nd" in parts else []
    return Licence(
        f"cc-{parts}-{version}",
        f"Creative Commons {parts.upper()} {version}",
        f"https://creativecommons.org/licenses/{parts}/{version}/",
        "content",
        tuple(found),
        bears="same" if "sa" in parts else "noncommercial" if "nc" in parts else "any",
        compatible=compatible,
        bears_why=_DATA_SHARE if "sa" in parts else _NC.why if "nc" in parts else "",
    )


_CREATIVE_COMMONS = (
    _free("cc0-1.0", "Creative Commons Zero 1.0", "https://creativecommons.org/publicdomain/zero/1.0/", "content"),
    *(_cc("by", version) for version in ("2.0", "2.5", "3.0", "4.0")),
    _cc("by-sa", "3.0", ("cc-by-sa-4.0",)),
    _cc("by-sa", "4.0", ("gpl-3.0",)),
    *(_cc("by-nc", version) for version in ("2.0", "3.0", "4.0")),
    _cc("by-nd", "4.0"),
    *(_cc("by-nc-nd", version) for version in ("3.0", "4.0")),
    _cc("by-nc-sa", "2.0", ("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0")),
    _cc("by-nc-sa", "3.0", ("cc-by-nc-sa-4.0",)),
    _cc("by-nc-sa", "4.0"),
)

_ODBL_NOTICE = Credit("Section 4.3: whoever meets a work made from the database must learn of the database.")
_DATA = (
    Licence("odc-by", "Open Data Commons Attribution", "https://opendatacommons.org/licenses/by/1-0/", "data",
            (Credit("Section 4.3: a work made from the database names the database."),)),
    Licence("odbl", "Open Database License", "https://opendatacommons.org/licenses/odbl/1-0/", "data", (_ODBL_NOTICE,),
            bears="same",
            bears_why="Works made from the database need only a notice, derived databases the same licence. Which of "
            "the two a model is, nobody has decided; the stricter reading is the second."),
    _free("pddl", "Open Data Commons Public Domain Dedication", "https://opendatacommons.org/licenses/pddl/1-0/",
          "data"),
    _free("cdla-permissive-1.0", "CDLA Permissive 1.0", "https://cdla.dev/permissive-1-0/", "data"),
    _free("cdla-permissive-2.0", "CDLA Permissive 2.0", "https://cdla.dev/permissive-2-0/", "data"),
    # Section 1.11 and 1.12: what is computed from the data ("Results") is outside the duty to share alike.
    _free("cdla-sharing-1.0", "CDLA Sharing 1.0", "https://cdla.dev/sharing-1-0/", "data"),
    _free("c-uda", "Computational Use of Data Agreement", "https://github.com/microsoft/Computational-Use-of-Data-Agreement",
          "data"),
    Licence("etalab-2.0", "Etalab Open License 2.0", "https://www.etalab.gouv.fr/licence-ouverte-open-licence/", "data",
            (Credit("The source and the date of its last change are named."),)),
)  # fmt: skip


def _rail(id: str, name: str, url: str) -> Licence:
    """Responsible AI licences: free to pass on, with a list of forbidden uses that must go along."""
    return Licence(
        id,
        name,
        url,
        "model",
        (
            ShipText("Recipients get a copy of the licence."),
            StateChanges("Changed files say that they were changed."),
            Restrictions(url, "The forbidden uses in the attachment bind everybody down the line, by contract."),
        ),
        bears="same",
        bears_why="Other terms are possible only with the same forbidden uses in them; the licence itself has them.",
        outputs=Outputs(
            "derivative", "A model that learned from the model's outputs to perform like it counts as derived of it."
        ),
    )


_RAIL = (
    _rail("openrail", "OpenRAIL (form not named)", "https://www.licenses.ai/ai-licenses"),
    _rail("openrail++", "OpenRAIL++-M", "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md"),
    _rail("bigscience-openrail-m", "BigScience OpenRAIL-M", "https://www.licenses.ai/blog/2022/8/26/bigscience-open-rail-m-license"),
    _rail("bigscience-bloom-rail-1.0", "BigScience BLOOM RAIL 1.0", "https://huggingface.co/spaces/bigscience/license"),
    _rail("bigcode-openrail-m", "BigCode OpenRAIL-M v1", "https://huggingface.co/spaces/bigcode/bigcode-model-license-agreement"),
    _rail("creativeml-openrail-m", "CreativeML OpenRAIL-M", "https://huggingface.co/spaces/CompVis/stable-diffusion-license"),
)  # fmt: skip

PUBLIC = (*_PERMISSIVE, *_COPYLEFT, *_CREATIVE_COMMONS, *_DATA, *_RAIL)
