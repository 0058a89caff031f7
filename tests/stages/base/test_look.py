from __future__ import annotations

from pathlib import Path

import pytest

from variantforge.stages.base.look import one_license, readme_license


@pytest.mark.parametrize(
    ("readme", "found"),
    [
        ("---\nlicense: apache-2.0\n---\n# x", "apache-2.0"),
        ("---\nlanguage:\n- en\nlicense: MIT  # ours\ntags: [a]\n---\n", "mit"),
        ('---\nlicense: "llama3.2"\n---\n', "llama3.2"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense:\n- cc-by-4.0\n---\n", "cc-by-4.0"),
        ("---\nlicense: other\nlicense_name: acme-terms\nlicense_link: LICENSE\n---\n", "acme-terms"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense: unknown\n---\n", ""),
        ("---\nlicense:\n---\n", ""),
        ("---\ntags: [a]\n---\nlicense: mit\n", ""),
        ("# no front matter\nlicense: mit\n", ""),
        ("---\nbase:\n  license: mit\n---\n", ""),
        ("", ""),
    ],
)
def test_the_license_is_read_from_the_front_matter(tmp_path: Path, readme: str, found: str) -> None:
    (tmp_path / "README.md").write_bytes(readme.encode())
    assert readme_license(tmp_path) == found


def test_no_readme_names_no_license(tmp_path: Path) -> None:
    assert readme_license(tmp_path) == ""


@pytest.mark.parametrize(
    ("value", "found"),
    [("MIT", "mit"), (["apache-2.0"], "apache-2.0"), (["a", "b"], ""), (3, ""), ("a b", ""), ("", "")],
)
def test_only_an_id_is_a_license(value: object, found: str) -> None:
    assert one_license(value) == found
