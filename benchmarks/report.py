"""How the benchmarks print: a title, and lines of a figure with what it is held against."""

from __future__ import annotations


def title(text: str) -> None:
    print(f"\n{text}", flush=True)


def line(what: str, figure: str, beside: str) -> None:
    print(f"  {what:<58} {figure:>18}   {beside}", flush=True)


def ratio(what: str, ours: float, theirs: float, bar: str) -> None:
    """`ours` over `theirs`, in seconds."""
    line(what, f"{ours:.3f} / {theirs:.3f} s", f"{ours / theirs:.2f}×; bar {bar}×")
