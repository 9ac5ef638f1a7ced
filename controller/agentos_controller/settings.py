"""What the operator may set, and where it comes from: flags, then `AGENTOS_*`, then a TOML file, then the default.

No manifest can reach any of it. The names of the file's keys are the fields' names in kebab-case, of the environment
in upper case after `AGENTOS_`: `allow_egress` is `--allow-egress`, `AGENTOS_ALLOW_EGRESS` and `allow-egress = […]`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_LISTEN = "127.0.0.1:8700"
DEFAULT_SERVER = f"http://{DEFAULT_LISTEN}"
ADMIN_KEY_FILE = "admin.key"
"""In the state directory: the first admin key, mode 0600, which the command line of the same user finds by itself."""


class ConfigurationError(Exception):
    """The operator's settings or the environment do not allow a start; the text says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the operator decides. Durations are seconds.

    Paths derive from `state_dir` unless given; `database_url` is a SQLite file in it unless given.
    """

    state_dir: Path
    database_url: str
    key_file: Path
    listen: str = DEFAULT_LISTEN
    server: str = DEFAULT_SERVER
    api_key: str | None = dataclasses.field(default=None, repr=False)
    bootstrap_key: str | None = dataclasses.field(default=None, repr=False)
    source: str | None = None
    dev: bool = False
    poll_interval: float = 60.0
    drift_interval: float = 600.0
    allow_egress: tuple[Network, ...] = ()
    secrets_dir: Path | None = None
    record: Path | None = None
    """Directory cassettes are recorded into."""
    replay: Path | None = None
    """Directory cassettes are answered from."""
    durable: bool = False
    """SQLite: survive a loss of power, not only a crash of the process, with the last commit."""
    workers: int = 2
    """Processes that parse and compile when there is much of it."""
    log_level: str = "info"
    log_format: str = "text"

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])


def state_directory(environ: Mapping[str, str]) -> Path:
    """`$AGENTOS_STATE_DIR`, else `$XDG_STATE_HOME/agentos`, else `~/.local/state/agentos`."""
    if given := environ.get("AGENTOS_STATE_DIR"):
        return Path(given).expanduser()
    if (xdg := environ.get("XDG_STATE_HOME")) and Path(xdg).is_absolute():
        return Path(xdg) / "agentos"
    return Path.home() / ".local" / "state" / "agentos"


def load(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """The settings in force.

    `flags` maps field names to values; None means not given. `file` is `$AGENTOS_CONFIG`, else `config.toml` in the
    state directory, where it exists.

    Raises:
        ConfigurationError: a value is not valid or a key is not known; the message names where it came from.
    """
    environ = os.environ if environ is None else environ
    given: dict[str, tuple[Any, str]] = {}
    flag_state = (flags or {}).get("state_dir")
    state_dir = Path(flag_state).expanduser() if flag_state else state_directory(environ)
    for name, value in _from_file(file, state_dir, environ).items():
        given[name] = value
    for name in _FIELDS:
        variable = f"AGENTOS_{name.upper()}"
        if environ.get(variable):
            given[name] = (environ[variable], variable)
    for name, value in (flags or {}).items():
        if value is not None:
            given[name] = (value, f"--{name.replace('_', '-')}")
    if not flag_state and "AGENTOS_STATE_DIR" not in environ and "state_dir" in given:
        state_dir = _path(given["state_dir"][0])
    values = {name: _convert(name, value, origin) for name, (value, origin) in given.items()}
    values["state_dir"] = state_dir
    values.setdefault("database_url", f"sqlite:///{state_dir / 'agentos.db'}")
    values.setdefault("key_file", state_dir / "secrets.key")
    if values.get("record") and values.get("replay"):
        raise ConfigurationError("--record and --replay exclude each other: choose one")
    return Settings(**values)


def prepare_state_directory(path: Path) -> None:
    """Make the state directory, readable by its owner only.

    Raises:
        ConfigurationError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the state directory {path} cannot be made: {error.strerror}; choose another with --state-dir"
        ) from error


def _from_file(file: Path | None, state_dir: Path, environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    named = file or (Path(environ["AGENTOS_CONFIG"]) if environ.get("AGENTOS_CONFIG") else None)
    path = named or state_dir / "config.toml"
    if named is None and not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"the settings file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the settings file {path} is not valid TOML: {error}") from error
    out: dict[str, tuple[Any, str]] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in _FIELDS:
            raise ConfigurationError(f"{path}: unknown setting {key!r}; known are {', '.join(sorted(_FIELDS))}")
        out[name] = (value, f"{path}: {key}")
    return out


def _convert(name: str, value: Any, origin: str) -> Any:
    try:
        return _FIELDS[name](value)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{origin}: {error}") from error


def _path(value: Any) -> Path:
    return Path(value).expanduser()


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not text")
    return value


def _secret(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("the value is not text")
    return value


def _flag(value: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if (known := words.get(str(value).lower())) is None:
        raise ValueError(f"{value!r} is neither true nor false")
    return known


def _listen(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):\d{1,5}", value):
        raise ValueError(f"{value!r} is not host:port, such as {DEFAULT_LISTEN} or [::1]:8700")
    if int(value.rpartition(":")[2]) > 65_535:
        raise ValueError(f"{value!r}: a port is at most 65535")
    return value


def _networks(value: Any) -> tuple[Network, ...]:
    items: Sequence[Any] = value.replace(",", " ").split() if isinstance(value, str) else value
    return tuple(ipaddress.ip_network(item) for item in items)


def _seconds(value: Any) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0}
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", str(value))
    if not found or float(found[1]) <= 0:
        raise ValueError(f"{value!r} is not a duration above zero, such as 30s or 5m")
    return float(found[1]) * units[found[2] or "s"]


def _count(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"[1-9]\d{0,3}", str(value)):
        raise ValueError(f"{value!r} is not a whole number from 1 to 9999")
    return int(value)


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if str(value).lower() not in allowed:
            raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
        return str(value).lower()

    return convert


def _database(value: Any) -> str:
    if not re.match(r"(sqlite|postgres|postgresql)(\+\w+)?://", str(value)):
        # The value may hold a password, so it is not repeated.
        raise ValueError("a database URL begins with sqlite:/// or postgresql://")
    return str(value)


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "state_dir": _path,
    "database_url": _database,
    "key_file": _path,
    "listen": _listen,
    "server": _text,
    "api_key": _secret,
    "bootstrap_key": _secret,
    "source": _text,
    "dev": _flag,
    "poll_interval": _seconds,
    "drift_interval": _seconds,
    "allow_egress": _networks,
    "secrets_dir": _path,
    "record": _path,
    "replay": _path,
    "durable": _flag,
    "workers": _count,
    "log_level": _one_of("debug", "info", "warning", "error"),
    "log_format": _one_of("text", "json"),
}
