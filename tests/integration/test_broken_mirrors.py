"""A mirror that is damaged on disk is made anew; what serves goes on meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentos_controller import database as databases
from tests.integration.test_history_events import Followed
from tests.support import git_servers, manifests


@pytest.fixture
def followed(tmp_path: Path, sqlite: databases.Database) -> Iterator[Followed]:
    (tmp_path / "served").mkdir()
    with git_servers.serving_http(tmp_path / "served") as web:
        yield Followed(tmp_path, sqlite, web)


def no_head(mirror: Path) -> None:
    (mirror / "HEAD").unlink()


def empty_head(mirror: Path) -> None:
    (mirror / "HEAD").write_text("")


def no_objects(mirror: Path) -> None:
    shutil.rmtree(mirror / "objects")


def no_packs(mirror: Path) -> None:
    for pack in (mirror / "objects/pack").iterdir():
        pack.unlink()


def no_index(mirror: Path) -> None:
    for index in (mirror / "objects/pack").glob("*.idx"):
        index.unlink()


def flipped_bytes(mirror: Path) -> None:
    for pack in (mirror / "objects/pack").glob("*.pack"):
        pack.chmod(0o600)
        data = bytearray(pack.read_bytes())
        for at in range(12, len(data) - 20):
            data[at] ^= 0xFF
        pack.write_bytes(data)


def half_a_pack(mirror: Path) -> None:
    for pack in (mirror / "objects/pack").glob("*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(pack.read_bytes()[: pack.stat().st_size // 2])


def rubbish_in_a_ref(mirror: Path) -> None:
    for ref in (mirror / "refs/heads").iterdir():
        ref.write_text("rubbish\n")


DAMAGES = (no_head, empty_head, no_objects, no_packs, no_index, flipped_bytes, half_a_pack, rubbish_in_a_ref)


@pytest.mark.parametrize("moved", [False, True], ids=["at rest", "then a push"])
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("damage", DAMAGES)
async def test_it_is_made_anew(
    followed: Followed, damage: Callable[[Path], None], restarted: bool, moved: bool
) -> None:
    await followed.push("a", more=manifests.model("more"))
    await followed.follow()
    first = followed.repo.head
    assert await followed.state() == (first, "Ready")
    (mirror,) = (followed.world.options.state_dir / "git").glob("*.git")
    damage(mirror)
    if restarted:
        await followed.world.forget()  # everything is read anew
    last = await followed.push("b") if moved else first
    for _ in range(3):
        await followed.look()
    assert await followed.state() == (last, "Ready"), (await followed.source()).error
    assert (await followed.world.live("acme")).keys() == {"Model/one", "Model/more"}
    assert set((await followed.world.reasons("acme")).values()) == {"Ready"}
