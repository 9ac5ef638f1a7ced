"""Where settings come from, and how a wrong one is answered."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest

from agentos_controller import settings


def test_defaults_live_in_the_state_directory(tmp_path: Path) -> None:
    found = settings.load({}, {"AGENTOS_STATE_DIR": str(tmp_path)})
    assert found.state_dir == tmp_path
    assert found.database_url == f"sqlite:///{tmp_path}/agentos.db"
    assert found.key_file == tmp_path / "secrets.key"
    assert (found.host, found.port, found.allow_egress, found.dev) == ("127.0.0.1", 8700, (), False)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"AGENTOS_STATE_DIR": "/a", "XDG_STATE_HOME": "/b"}, "/a"),
        ({"XDG_STATE_HOME": "/b"}, "/b/agentos"),
        ({"XDG_STATE_HOME": "relative"}, f"{Path.home()}/.local/state/agentos"),
        ({}, f"{Path.home()}/.local/state/agentos"),
    ],
)
def test_the_state_directory_is_found(environ: dict[str, str], expected: str) -> None:
    assert settings.load({}, environ).state_dir == Path(expected)


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        'listen = "127.0.0.1:1"\nlog-level = "debug"\npoll-interval = "5m"\nallow-egress = ["10.0.0.0/8"]\n'
    )
    environ = {"AGENTOS_STATE_DIR": str(tmp_path), "AGENTOS_LISTEN": "127.0.0.1:2", "AGENTOS_LOG_LEVEL": "warning"}
    found = settings.load({"listen": "127.0.0.1:3", "dev": None}, environ)
    assert (found.port, found.log_level, found.poll_interval) == (3, "warning", 300.0)
    assert found.allow_egress == (ipaddress.ip_network("10.0.0.0/8"),)


def test_a_file_can_be_named_and_then_must_exist(tmp_path: Path) -> None:
    file = tmp_path / "agentos.toml"
    with pytest.raises(settings.ConfigurationError, match=r"agentos\.toml cannot be read"):
        settings.load({}, {"AGENTOS_CONFIG": str(file)})
    file.write_text(f'state_dir = "{tmp_path}"\nlisten = "[::1]:9"\n')
    found = settings.load({}, {}, file)
    assert (found.state_dir, found.host, found.port) == (tmp_path, "::1", 9)


@pytest.mark.parametrize(
    ("flags", "environ", "message"),
    [
        ({"listen": "nowhere"}, {}, "--listen: 'nowhere' is not host:port"),
        ({"listen": "h:70000"}, {}, "--listen: .* at most 65535"),
        ({}, {"AGENTOS_ALLOW_EGRESS": "10.0.0.0/8, 10.0.0.1/8"}, "AGENTOS_ALLOW_EGRESS: 10.0.0.1/8 has host bits"),
        ({"poll_interval": "0s"}, {}, "--poll-interval: '0s' is not a duration"),
        ({"dev": "perhaps"}, {}, "--dev: 'perhaps' is neither true nor false"),
        ({"workers": "0"}, {}, "--workers: '0' is not a whole number"),
        ({}, {"AGENTOS_LOG_FORMAT": "xml"}, "AGENTOS_LOG_FORMAT: 'xml' is none of text, json"),
        ({"database_url": "mysql://hush"}, {}, "--database-url: a database URL begins with"),
        ({"record": "a", "replay": "b"}, {}, "exclude each other"),
    ],
)
def test_a_wrong_value_names_where_it_came_from(flags: dict[str, str], environ: dict[str, str], message: str) -> None:
    with pytest.raises(settings.ConfigurationError, match=message) as raised:
        settings.load(flags, environ | {"AGENTOS_STATE_DIR": "/nowhere"})
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"), [("listn = 1", "unknown setting 'listn'"), ("listen = [", "is not valid TOML")]
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.toml").write_text(content)
    with pytest.raises(settings.ConfigurationError, match=message):
        settings.load({}, {"AGENTOS_STATE_DIR": str(tmp_path)})


def test_keys_do_not_show(tmp_path: Path) -> None:
    environ = {"AGENTOS_STATE_DIR": str(tmp_path), "AGENTOS_API_KEY": "hush", "AGENTOS_BOOTSTRAP_KEY": "hush"}
    assert "hush" not in repr(settings.load({}, environ))


def test_the_state_directory_is_private(tmp_path: Path) -> None:
    settings.prepare_state_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0
    (tmp_path / "file").touch()
    with pytest.raises(settings.ConfigurationError, match="--state-dir"):
        settings.prepare_state_directory(tmp_path / "file" / "b")


@pytest.mark.parametrize("name", settings._FIELDS)
def test_every_setting_is_documented_and_used(name: str) -> None:
    root = Path(__file__).parents[2]
    assert f"AGENTOS_{name.upper()}" in (root / "docs" / "operations.md").read_text()
    sources = (root / "controller" / "agentos_controller").rglob("*.py")
    used = rf"\.(?:{'host|port' if name == 'listen' else name})\b|AGENTOS_{name.upper()}\b"
    assert any(re.search(used, file.read_text()) for file in sources if file.name != "settings.py")
