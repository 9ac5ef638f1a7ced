"""Secrets at rest, in rotation, and out of sight."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import TypeAdapter

from agentos_controller import bulk, ids, redaction, secrets, settings, tables
from agentos_controller import clock as clocks
from agentos_controller.database import Database
from agentos_controller.secrets.store import SecretMissing
from agentos_engine import fields
from agentos_engine.errors import Problem
from agentos_engine.runtime import scrub

TENANT = "0199a1b2-0000-7000-8000-000000000001"
OTHER = "0199a1b2-0000-7000-8000-000000000002"
CANARY = "canary-7f3a9c-value"
HOSTS = ("api.example.com",)

Make = Callable[..., secrets.Secrets]


@pytest.fixture
def make(database: Database, clock: clocks.ManualClock, tmp_path: Path) -> Make:
    def make(mount: Path | None = None, key_file: Path | None = None) -> secrets.Secrets:
        ring = secrets.KeyRing.open(key_file or tmp_path / "keys" / "secrets.key")
        mounted = secrets.Mounted(mount) if mount else None
        return secrets.Secrets(database, ring, clock, mount=mounted, redactor=redaction.Redactor())

    return make


async def put(database: Database, store: secrets.Secrets, name: str, value: str, tenant: str = TENANT) -> int:
    async with database.write() as conn:
        return await store.put(conn, tenant, name, secrets.SecretValue(value), "key:1")


async def everything(database: Database) -> bytes:
    """All bytes of the table of secrets."""
    async with database.read() as conn:
        rows = (await conn.execute(sa.select(tables.secret))).all()
    return b"|".join(value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row)


async def test_a_value_comes_back_and_is_not_stored_as_it_is(database: Database, make: Make) -> None:
    store = make()
    assert await put(database, store, "openai-key", CANARY) == 1
    assert await store.resolve(TENANT, "openai-key", HOSTS) == CANARY
    stored = await everything(database)
    for pattern in scrub.forms(CANARY):
        assert pattern.encode() not in stored


async def test_names_belong_to_tenants(database: Database, make: Make) -> None:
    store = make()
    await put(database, store, "key", "value-of-one")
    await put(database, store, "key", "value-of-two", OTHER)
    assert await store.resolve(TENANT, "key", HOSTS) == "value-of-one"
    assert await store.resolve(OTHER, "key", HOSTS) == "value-of-two"
    with pytest.raises(SecretMissing, match="secret 'other' is not set"):
        await store.resolve(TENANT, "other", HOSTS)
    assert await store.find(TENANT, "other") is None


async def test_a_new_version_replaces_the_old(database: Database, make: Make, clock: clocks.ManualClock) -> None:
    store = make()
    await put(database, store, "key", "value-one")
    assert await put(database, store, "key", "value-two") == 2
    assert await store.resolve(TENANT, "key", HOSTS) == "value-two"
    async with database.read() as conn:
        assert await store.listed(conn, TENANT) == [secrets.Listed("key", "stored", 2, "key:1", clock.now_us(), HOSTS)]


async def test_removing_leaves_nothing(database: Database, make: Make) -> None:
    store = make()
    await put(database, store, "key", "value-one")
    await put(database, store, "key", "value-two")
    async with database.write() as conn:
        assert await store.remove(conn, OTHER, "key") is False
        assert await store.remove(conn, TENANT, "key") is True
        assert await store.listed(conn, TENANT) == []
    assert await everything(database) == b""


async def test_rotation_keeps_every_secret_readable(database: Database, make: Make, tmp_path: Path) -> None:
    store, elsewhere = make(), make()
    await put(database, store, "old", "value-old")
    async with database.write() as conn:
        assert await store.rotate(conn) == 1
        assert await store.rotate(conn) == 1
    await put(database, store, "new", "value-new")
    for each in (store, elsewhere, make()):  # elsewhere: a process that had read the key file before
        assert await each.resolve(TENANT, "old", HOSTS) == "value-old"
        assert await each.resolve(TENANT, "new", HOSTS) == "value-new"
        await each.check()
    async with database.read() as conn:
        assert len(set(await conn.scalars(sa.select(tables.secret.c.kek_id)))) == 1
    assert (tmp_path / "keys" / "secrets.key").stat().st_mode & 0o777 == 0o600


async def test_a_row_moved_to_another_place_does_not_open(database: Database, make: Make) -> None:
    store = make()
    await put(database, store, "key", CANARY)
    async with database.write() as conn:
        await conn.execute(tables.secret.update().values(tenant_id=OTHER))
    with pytest.raises(secrets.Undecipherable, match="altered or moved"):
        await store.resolve(OTHER, "key", HOSTS)


@pytest.mark.parametrize("column", ["ciphertext", "wrapped_key"])
async def test_an_altered_value_does_not_open(database: Database, make: Make, column: str) -> None:
    store = make()
    await put(database, store, "key", CANARY)
    async with database.write() as conn:
        value = bytearray(await conn.scalar(sa.select(tables.secret.c[column])) or b"")
        value[20] ^= 1
        await conn.execute(tables.secret.update().values({column: bytes(value)}))
    with pytest.raises(secrets.Undecipherable):
        await store.resolve(TENANT, "key", HOSTS)


async def test_a_foreign_key_file_is_noticed_at_the_start(database: Database, make: Make, tmp_path: Path) -> None:
    await put(database, make(), "key", CANARY)
    stranger = make(key_file=tmp_path / "other" / "secrets.key")
    with pytest.raises(secrets.KeyFileError, match="restore the file"):
        await stranger.check()
    with pytest.raises(secrets.Undecipherable, match="is not in"):
        await stranger.resolve(TENANT, "key", HOSTS)


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [("Upper", CANARY, "name"), ("../x", CANARY, "name"), ("..", CANARY, "name"), (".a", CANARY, "name"),
     ("a_", CANARY, "name"), ("a/b", CANARY, "name"), ("a\n", CANARY, "name"), ("a" * 64, CANARY, "name"),
     ("a", "abc", "value"), ("a", "x" * 65_537, "value"), ("a", "with\0nul", "value"), ("a", "lone\ud800", "value")],
)  # fmt: skip
async def test_what_cannot_be_kept_is_refused(database: Database, make: Make, name: str, value: str, path: str) -> None:
    with pytest.raises(Problem) as raised:
        await put(database, make(), name, value)
    assert raised.value.extra["errors"][0]["path"] == path
    assert value not in str(raised.value) or value == "abc"


@pytest.mark.parametrize("name", ["7", "api.example.com_v2", "a" * 63])
async def test_every_name_that_a_manifest_may_write_can_be_set(database: Database, make: Make, name: str) -> None:
    assert TypeAdapter(fields.SecretName).validate_python(name) == name
    await put(database, make(), name, CANARY)
    assert await make().resolve(TENANT, name, HOSTS) == CANARY


async def test_a_mounted_value_wins(database: Database, make: Make, tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    data = mount / "acme" / "..data"
    data.mkdir(parents=True)
    (data / "key").write_text("mounted-value\n")
    (mount / "acme" / "key").symlink_to(data / "key")
    (mount / "acme" / "api..key_v1.2").write_text("dotted-value")
    (tmp_path / "outside").write_text("not for them")
    (mount / "acme" / "stolen").symlink_to(tmp_path / "outside")
    (mount / "acme" / "large").write_bytes(b"x" * 70_000)
    (mount / "acme" / "binary").write_bytes(b"\xff\xfe\xfd\xfc")
    async with database.write() as conn:
        row = {"id": TENANT, "name": "acme", "created_at": 1}
        await bulk.insert_many(conn, tables.tenant, [row, row | {"id": OTHER, "name": "other"}])
    store = make(mount)
    await put(database, store, "key", "stored-value")
    await put(database, store, "only-stored", "stored-value")
    assert await store.resolve(TENANT, "key", HOSTS) == "mounted-value"
    assert await store.resolve(TENANT, "only-stored", HOSTS) == "stored-value"
    for name in ("stolen", "large", "binary", "..data", "..", ".", "../acme/key", "a/../key"):
        assert await store.find(TENANT, name) is None
    assert await store.find(OTHER, "key") is None
    async with database.read() as conn:
        found = {each.name: each.provider for each in await store.listed(conn, TENANT)}
    assert (found["key"], found["only-stored"]) == ("mounted", "stored")
    assert found["api..key_v1.2"] == "mounted"
    assert await store.resolve(TENANT, "api..key_v1.2", HOSTS) == "dotted-value"
    with pytest.raises(settings.ConfigurationError, match="no directory"):
        make(tmp_path / "nowhere")


async def test_resolving_makes_it_known_to_the_redactor(
    database: Database, clock: clocks.ManualClock, tmp_path: Path, make: Make
) -> None:
    await put(database, make(), "key", CANARY)
    redactor = redaction.Redactor()
    ring = secrets.KeyRing.open(tmp_path / "keys" / "secrets.key")
    store = secrets.Secrets(database, ring, clock, redactor=redactor)
    assert redactor.text(CANARY) == CANARY
    await store.resolve(TENANT, "key", HOSTS)
    assert redactor.text(CANARY, TENANT) == redaction.MASK
    assert redactor.text(base64.b64encode(CANARY.encode()).decode()) != base64.b64encode(CANARY.encode()).decode()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o400, 0o700])
def test_a_key_file_of_another_mode_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secrets.key"
    secrets.KeyRing.open(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(mode)
    with pytest.raises(secrets.KeyFileError, match=r"it must be 0600: chmod 600"):
        secrets.KeyRing.open(path)


def test_a_broken_key_file_is_refused_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    secrets.KeyRing.open(path)
    hush = "x canary-in-a-key-file"
    for content, message in (
        ("", "is empty"),
        (hush, r"secrets\.key:1: not"),
        (f"x {base64.b64encode(b'a').decode()}", ":1:"),
    ):
        path.write_text(content)
        with pytest.raises(secrets.KeyFileError, match=message) as raised:
            secrets.KeyRing.open(path)
        assert hush not in str(raised.value)
        assert path.read_text() == content
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").touch(0o600)
    with pytest.raises(secrets.KeyFileError, match="cannot be read"):
        secrets.KeyRing.open(path)


def test_two_who_make_the_key_file_agree(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    first, second = secrets.KeyRing(path), secrets.KeyRing(path)
    first._create()
    second._create()
    first.reload()
    second.reload()
    assert first.active == second.active
    assert [entry.name for entry in tmp_path.iterdir()] == ["secrets.key"]


def test_a_value_shows_only_when_asked() -> None:
    value = secrets.SecretValue(CANARY)
    shown = f"{value} {value!r} {value!s} {value:>30} {[value]} {{'a': {value}}} {value}"
    assert CANARY not in shown
    assert redaction.MASK in shown
    assert value.reveal() == CANARY
    assert value == secrets.SecretValue(CANARY)
    assert value != secrets.SecretValue(ids.new())
    with pytest.raises(TypeError):
        pickle.dumps(value)
