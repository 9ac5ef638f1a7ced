"""Sources: git repositories read by object id, working copies, remote mirrors, and what is refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pygit2
import pytest

from agentos_controller.source import address, folder, git, snapshot
from agentos_engine import errors
from tests.support import repos


def everywhere(path: str) -> bool:
    return True


@pytest.fixture
def repo(tmp_path: Path) -> repos.Repo:
    return repos.Repo(tmp_path / "repo", bare=True)


def opened(repo: repos.Repo, tmp_path: Path) -> git.Repository:
    return git.Repository(repo.folder, tmp_path / "home")


def test_a_commit_is_listed_and_read_by_object_id(repo: repos.Repo, tmp_path: Path) -> None:
    repo.commit({"agents/a.yaml": "one\n", "agents/deep/er/b.yaml": "two\n", "other/c.txt": "three\n"})
    reader = opened(repo, tmp_path)
    view = reader.snapshot(reader.resolve(None))
    listing = view.listing(lambda path: path.startswith("agents"))
    assert set(listing.files) == {"agents/a.yaml", "agents/deep/er/b.yaml"}
    assert view.read(listing.files["agents/a.yaml"]) == b"one\n"
    assert view.find("other/c.txt") == git.blob_id(b"three\n")
    assert view.find("other/none.txt") is None
    assert view.find("agents") is None


def test_one_changed_file_costs_its_folders_and_no_blob(repo: repos.Repo, tmp_path: Path) -> None:
    first = repo.commit(
        {f"agents/team{team}/a{number}.yaml": f"{team}.{number}" for team in range(20) for number in range(20)}
    )
    second = repo.commit({"agents/team7/a3.yaml": "new", "agents/team7/a4.yaml": None, "agents/team8/x.yaml": "x"})
    reader = opened(repo, tmp_path)
    before = reader.snapshot(first)
    changes = reader.snapshot(second).changes(before.tree, everywhere)
    assert changes is not None
    assert changes.files == {
        "agents/team7/a3.yaml": git.blob_id(b"new"),
        "agents/team7/a4.yaml": None,
        "agents/team8/x.yaml": git.blob_id(b"x"),
    }
    assert reader.counters.blobs == 0
    assert reader.counters.trees == 8  # two sides of: root, agents, team7, team8


def test_a_subtree_that_did_not_move_keeps_its_id(repo: repos.Repo, tmp_path: Path) -> None:
    first = repo.commit({"tenants/a/agents/x.yaml": "x", "tenants/b/agents/y.yaml": "y"})
    second = repo.commit({"tenants/b/agents/y.yaml": "z"})
    reader = opened(repo, tmp_path)
    assert reader.snapshot(first, "tenants/a").tree == reader.snapshot(second, "./tenants/a/").tree
    assert reader.snapshot(first, "tenants/b").tree != reader.snapshot(second, "tenants/b").tree
    assert reader.snapshot(first, "tenants/none").tree == git.EMPTY_TREE


def test_a_file_that_becomes_a_folder_or_a_symlink(repo: repos.Repo, tmp_path: Path) -> None:
    first = repo.commit({"agents/a": "file", "agents/b.yaml": "b"})
    repo.write({"agents/a": None, "agents/a/in.yaml": "in", "agents/b.yaml": None})
    repo.link("agents/b.yaml", "/etc/passwd")
    second = repo.commit()
    reader = opened(repo, tmp_path)
    view = reader.snapshot(second)
    changes = view.changes(reader.snapshot(first).tree, everywhere)
    assert changes is not None
    assert changes.files == {"agents/a": None, "agents/a/in.yaml": git.blob_id(b"in"), "agents/b.yaml": None}
    assert changes.forbidden == {"agents/b.yaml": "a symlink"}
    assert view.listing(everywhere).forbidden == {"agents/b.yaml": "a symlink"}
    assert view.find("agents/b.yaml") is None


def test_an_unknown_tree_is_answered_with_none(repo: repos.Repo, tmp_path: Path) -> None:
    repo.commit({"agents/a.yaml": "a"})
    reader = opened(repo, tmp_path)
    assert reader.snapshot(repo.head).changes("1" * 40, everywhere) is None


def test_size_is_asked_before_a_blob_is_read(repo: repos.Repo, tmp_path: Path) -> None:
    repo.commit({"big.bin": b"\0" * (8 << 20)})
    reader = opened(repo, tmp_path)
    view = reader.snapshot(repo.head)
    blob = view.find("big.bin")
    assert blob is not None
    with pytest.raises(snapshot.FileTooLarge) as raised:
        view.read(blob)
    assert raised.value.size == 8 << 20
    assert reader.counters.bytes == 0


def test_a_tree_of_trees_that_looks_endless_is_refused(repo: repos.Repo, tmp_path: Path) -> None:
    blob = repo.git.create_blob(b"x")
    builder = repo.git.TreeBuilder()
    for number in range(10):
        builder.insert(f"f{number}.yaml", blob, 0o100644)
    tree = builder.write()
    for _ in range(9):
        builder = repo.git.TreeBuilder()
        for number in range(10):
            builder.insert(f"d{number}", tree, 0o040000)
        tree = builder.write()
    repo.commit_tree(str(tree))
    reader = opened(repo, tmp_path)
    with pytest.raises(errors.Stall, match="more than 200,000 files"):
        reader.snapshot(repo.head).listing(everywhere)


def test_refs_are_plain_names(repo: repos.Repo, tmp_path: Path) -> None:
    first = repo.commit({"a": "1"})
    repo.git.references.create("refs/tags/v1", first)
    second = repo.commit({"a": "2"})
    reader = opened(repo, tmp_path)
    assert reader.resolve(None) == reader.resolve("main") == second
    assert reader.resolve("v1") == reader.resolve(first) == first
    for ref in (
        "main~1",
        "main..v1",
        "@{-1}",
        "-c",
        "--upload-pack=x",
        "HEAD^",
        "a b",
        "refs/../x",
        "nowhere",
        "1" * 40,
    ):
        with pytest.raises(errors.Stall):
            reader.resolve(ref)


def test_an_annotated_tag_names_its_commit(repo: repos.Repo, tmp_path: Path) -> None:
    commit = repo.commit({"a": "1"})
    who = pygit2.Signature("A", "a@example.com", 1, 0)
    repo.git.create_tag("v2", commit, pygit2.enums.ObjectType.COMMIT, who, "release")
    assert opened(repo, tmp_path).resolve("v2") == commit


@pytest.mark.parametrize(
    "text",
    [
        "ssh://user:pw@host/x",
        "ssh://-oProxyCommand=x/y",
        "ssh://-l@host/x",
        "git://host/x",
        "git@host:x",
        "ext::sh -c id",
        "http://example.com/x.git",
        "https://user:pw@example.com/x.git",
        "--upload-pack=touch /tmp/x",
        "-x",
        "",
        "https:///x",
        "https://example.com/x y",
        "https://example.com/x?y=1",
        "file:///etc",
        "https://example.com/x.git#--exec=x",
        "ftp://example.com/x",
    ],
)
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(errors.Stall):
        address.parse(text)


def test_addresses_that_are_taken(tmp_path: Path) -> None:
    assert address.parse("https://example.com/a/b.git#main") == address.Address(
        "https://example.com/a/b.git", "main", False
    )
    for url, host in (("https://Example.com:443/a", "example.com"), ("https://example.com:8443/a", "example.com:8443")):
        assert address.parse(url).host == host
    assert address.parse("x", base=tmp_path) == address.Address(str(tmp_path / "x"), None, True)
    assert address.parse("http://127.0.0.1:8/x", allow_loopback_http=True).url == "http://127.0.0.1:8/x"
    with pytest.raises(errors.Stall):
        address.parse("http://127.0.0.1:8/x")


def test_the_repository_of_another_user_is_read_without_trusting_any_other(repo: repos.Repo, tmp_path: Path) -> None:
    # Only root can give a repository away; whoever else runs this sees that an own one is read the same way.
    given_away = os.getuid() == 0
    other = repos.Repo(tmp_path / "other", bare=True)
    for one in (repo, other):
        one.commit({"a": "1"})
        if given_away:
            subprocess.run(["chown", "-R", "65534", str(one.folder)], check=True)
    assert opened(repo, tmp_path).resolve(None) == repo.head
    if given_away:
        with pytest.raises(pygit2.GitError, match="not owned"):
            pygit2.Repository(str(other.folder))


# Working copies


def test_a_working_copy_has_the_blob_ids_of_git(tmp_path: Path) -> None:
    repo = repos.Repo(tmp_path / "work")
    repo.commit({"agents/a.yaml": "one\n", "agents/sub/b.yaml": "two\n"})
    repo.checkout()
    committed = git.Repository(repo.folder, tmp_path / "home").snapshot(repo.head).listing(everywhere)
    copy = folder.Folder(repo.folder)
    view = copy.look(repo.head)
    assert view.listing(everywhere).files == committed.files
    (repo.folder / "agents/a.yaml").write_text("changed\n")
    (repo.folder / "agents/l.yaml").symlink_to("/etc/passwd")
    later = copy.look(repo.head)
    assert later.tree != view.tree
    assert later.revision.startswith(repo.head[:12])
    changes = later.changes(view.tree, everywhere)
    assert changes is not None
    assert changes.files == {"agents/a.yaml": git.blob_id(b"changed\n")}
    assert changes.forbidden == {"agents/l.yaml": "a symlink"}
    assert later.read(git.blob_id(b"changed\n")) == b"changed\n"
    assert copy.look(repo.head).tree == later.tree
    sub = later.below("agents/sub")
    assert sub.listing(everywhere).files == {"b.yaml": git.blob_id(b"two\n")}
    assert sub.tree == view.below("./agents/sub").tree


def test_a_file_saved_between_look_and_read_is_not_mistaken(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("one")
    view = folder.Folder(tmp_path).look(None)
    (tmp_path / "a.yaml").write_text("two")
    with pytest.raises(KeyError):
        view.read(git.blob_id(b"one"))
