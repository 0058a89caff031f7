"""Every licence that is known, by id. Ids are the Hub's where it has one.

A licence that is not here is unknown: its duties cannot be told, so nothing is published on its strength alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from variantforge.licences.llama import LLAMA
from variantforge.licences.makers import MAKERS
from variantforge.licences.public import PUBLIC
from variantforge.licences.qwen import QWEN
from variantforge.licences.terms import Licence

ROWS: tuple[Licence, ...] = (*PUBLIC, *LLAMA, *QWEN, *MAKERS)
LICENCES: Mapping[str, Licence] = MappingProxyType({row.id: row for row in ROWS})
