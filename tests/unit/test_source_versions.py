"""Ranges of versions: the order of SemVer's own example, what each operator lets in, and what is no range."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentos_controller.source import versions

ORDER = (
    "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
    "1.0.0", "2.0.0", "2.1.0", "2.1.1",
)  # fmt: skip
"""From sections 10 and 11 of the specification."""


def test_the_order_is_that_of_the_specification() -> None:
    parsed = [versions.parse(text) for text in ORDER]
    assert all(one is not None for one in parsed)
    for before, after in itertools.pairwise(parsed):
        assert before < after  # type: ignore[operator]


@pytest.mark.parametrize("text", ["1.0", "1.2.3.4", "01.2.3", "1.2.3-01", "1.2.3-", "release", "v", "1.2.x", ""])
def test_what_is_no_version(text: str) -> None:
    assert versions.parse(text) is None


@pytest.mark.parametrize(
    ("range_", "inside", "outside"),
    [
        (">=1.2.0 <2.0.0", ["1.2.0", "v1.9.9"], ["1.1.9", "2.0.0", "2.0.0-rc.1", "1.5.0-rc.1"]),
        (">=1.2.0, <2", ["1.2.0", "1.99.0"], ["2.0.0", "2.1.0"]),
        ("^1.4", ["1.4.0", "1.10.2"], ["1.3.9", "2.0.0"]),
        ("^0.4.2", ["0.4.2", "0.4.9"], ["0.5.0", "0.4.1"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4", "0.1.0"]),
        ("^0", ["0.0.1", "0.9.0"], ["1.0.0"]),
        ("~1.4", ["1.4.0", "1.4.9"], ["1.5.0"]),
        ("~1", ["1.0.0", "1.9.0"], ["2.0.0"]),
        ("~1.4.2", ["1.4.2", "1.4.3"], ["1.4.1", "1.5.0"]),
        ("1.x", ["1.0.0", "1.9.9"], ["2.0.0", "0.9.9"]),
        ("1.4.x", ["1.4.7"], ["1.5.0"]),
        ("*", ["0.0.1", "99.0.0"], ["1.0.0-rc.1"]),
        ("=1.2.3", ["1.2.3", "1.2.3+build.5"], ["1.2.4", "1.2.3-rc.1"]),
        ("1.2", ["1.2.0", "1.2.9"], ["1.3.0"]),
        (">1.2", ["1.3.0"], ["1.2.9", "1.2.0"]),
        ("<=1.2", ["1.2.9", "0.1.0"], ["1.3.0"]),
        (">1.2.3", ["1.2.4"], ["1.2.3"]),
        ("<1 || >=3", ["0.9.0", "3.0.0"], ["1.0.0", "2.9.9"]),
        (">=1.0.0-rc.1", ["1.0.0-rc.1", "1.0.0-rc.2", "1.0.0", "2.0.0"], ["1.0.0-beta", "2.0.0-rc.1"]),
        (">1.0.0-rc.1 <2", ["1.0.0-rc.1.1", "1.0.0"], ["1.0.0-rc.1"]),
    ],
)
def test_what_a_range_lets_in(range_: str, inside: list[str], outside: list[str]) -> None:
    parsed = versions.parse_range(range_)
    for text in (*inside, *outside):
        version = versions.parse(text)
        assert version is not None
        assert (version in parsed) is (text in inside), text


@pytest.mark.parametrize("text", ["", ">=", "1.2.3.4", "a", ">=1 ||", "1 - 2", ">*", "--upload-pack=x", "1.2.3 &"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"version|range"):
        versions.parse_range(text)


def test_the_newest_tag_inside() -> None:
    names = ["v1.0.0", "v1.2.0", "1.10.0", "v2.0.0", "v1.11.0-rc.1", "nightly", "v1.10.0"]
    assert versions.newest(versions.parse_range("^1"), names) == "1.10.0"
    assert versions.newest(versions.parse_range("^3"), names) is None


_VERSIONS = st.builds(
    versions.Version,
    st.tuples(*[st.integers(0, 3)] * 3),
    st.sampled_from([(), (), ("rc", "1"), ("rc", "2"), ("0",)]),
)


@given(_VERSIONS, _VERSIONS)
def test_every_version_is_in_exactly_one_side_of_a_cut(version: versions.Version, cut: versions.Version) -> None:
    text = ".".join(map(str, cut.numbers)) + (f"-{'.'.join(cut.pre)}" if cut.pre else "")
    sides = [version in versions.parse_range(f"{operator}{text}") for operator in ("<", "=", ">")]
    if not version.pre or (version.numbers == cut.numbers and cut.pre):
        assert sides == [version < cut, version == cut, version > cut]
    else:
        assert sides == [False, False, False]
