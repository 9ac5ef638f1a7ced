"""Recordings as files: redacted, stable, and answering in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentos_engine.runtime import cassette

JSON: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t"), max_size=20)
    | st.sampled_from(["on", "NO", "0o17", "1_000", "1:30", "2026-11-22", "~", "null", " x", "x ", "a: b", "- a", "#"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abn-_ 1", max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.tuples(st.sampled_from(["a.b", "c.d"]), JSON, JSON), max_size=4))
def test_what_is_written_is_read(recorded: list[tuple[str, Any, Any]]) -> None:
    tape = cassette.Cassette(mode="record")
    for target, request, response in recorded:
        tape.record("connector", target, request, response)
    text = cassette.dump(tape.exchanges())
    read = cassette.parse(text.encode(), "tape")
    assert cassette.dump(read) == text
    again = cassette.Cassette(read)
    for target, request, response in recorded:
        assert again.replay("connector", target, request) == response


def test_equal_requests_are_answered_in_order_then_with_the_last() -> None:
    tape = cassette.Cassette(mode="record")
    for status in ("pending", "pending", "done"):
        tape.record("connector", "jobs.get", {"args": {"id": 1.0}}, {"status": status})
    one, other = tape.session(), tape.session()
    asked = [one.replay("connector", "jobs.get", {"args": {"id": 1}})["status"] for _ in range(5)]
    assert asked == ["pending", "pending", "done", "done", "done"]
    assert other.replay("connector", "jobs.get", {"args": {"id": 1}})["status"] == "pending"


def test_files_are_redacted_sorted_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "tapes" / "showcase.yaml"

    def redact(text: str) -> str:
        return text.replace("hunter2", "[redacted]")

    tape = cassette.Cassette.open(path, "record", redact)
    tape.record("model", "fast", {"messages": [{"role": "human", "text": "b"}]}, {"text": "hunter2 is it"})
    tape.record("connector", "a.b", {"args": {"password": "hunter2"}}, {"hunter2": ["x hunter2"]})
    text = path.read_text()
    assert "hunter2" not in text
    assert text.index("connector") < text.index("model")
    assert [file.name for file in path.parent.iterdir()] == ["showcase.yaml"]

    # The same exchanges in another order make the same file, and a request still matches by its redacted form.
    path.unlink()
    tape = cassette.Cassette.open(path, "record", redact)
    tape.record("connector", "a.b", {"args": {"password": "hunter2"}}, {"hunter2": ["x hunter2"]})
    tape.record("model", "fast", {"messages": [{"role": "human", "text": "b"}]}, {"text": "hunter2 is it"})
    assert path.read_text() == text
    replaying = cassette.Cassette.open(path, "replay", redact)
    assert replaying.replay("connector", "a.b", {"args": {"password": "hunter2"}}) == {"[redacted]": ["x [redacted]"]}


def test_recording_anew_replaces_what_it_touches(tmp_path: Path) -> None:
    path = tmp_path / "tape.yaml"
    for answers in (["old", "older"], ["new"]):
        tape = cassette.Cassette.open(path, "record")
        for answer in answers:
            tape.record("connector", "a.b", {"args": {}}, answer)
        tape.record("connector", "kept.op", {"args": {"of": answers[0]}}, 1)
    responses = [(item.target, item.response) for item in cassette.Cassette.open(path, "replay").exchanges()]
    assert responses == [("a.b", "new"), ("kept.op", 1), ("kept.op", 1)]


def test_recordings_into_one_file_keep_each_other(tmp_path: Path) -> None:
    path = tmp_path / "tape.yaml"
    one, other = (cassette.Cassette.open(path, "record") for _ in range(2))
    one.record("connector", "a.b", 1, "one")
    other.record("connector", "c.d", 1, "other")
    one.record("connector", "a.b", 1, "two")
    responses = [item.response for item in cassette.Cassette.open(path, "replay").exchanges()]
    assert responses == ["one", "two", "other"]


def test_a_miss_names_what_is_nearest() -> None:
    tape = cassette.Cassette([cassette.Exchange("connector", "shop.get", {"args": {"id": 12, "x": "a"}}, 1)])
    with pytest.raises(cassette.CassetteError, match=r'to {"args":{"id":13}}; the nearest recorded request is .*12'):
        tape.replay("connector", "shop.get", {"args": {"id": 13}})
    with pytest.raises(cassette.CassetteError, match=r"the nearest recorded target is connector shop.get"):
        tape.replay("connector", "shop.gat", {"args": {"id": 12}})
    with pytest.raises(cassette.CassetteError, match="it is empty"):
        cassette.Cassette().replay("model", "fast", {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version: 1\nexchanges: [", "tape:3:1"),
        ("version: 2\nexchanges: []", "version: 1"),
        ("- a", "version: 1"),
        ("version: 1\nexchanges:\n- kind: model\n", "exchange 1 needs"),
        ("version: &a 1\nexchanges: []", "tape:1:10"),
    ],
)
def test_a_broken_file_says_what_and_where(text: str, says: str) -> None:
    with pytest.raises(cassette.CassetteError, match=says):
        cassette.parse(text.encode(), "tape")


def test_replaying_needs_a_recording(tmp_path: Path) -> None:
    with pytest.raises(cassette.CassetteError, match="record one first"):
        cassette.Cassette.open(tmp_path / "none.yaml", "replay")
