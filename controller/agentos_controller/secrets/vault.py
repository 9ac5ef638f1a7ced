"""Encryption at rest: AES-256-GCM under a data key per value, each data key wrapped by a key from a file.

The file lives outside the database, so that a copy of the database alone reveals nothing. It is readable by its owner
only; any other mode is refused. The newest key wraps, all of them unwrap: a rotation never makes a value unreadable.
Associated data binds a ciphertext to its tenant, name and version: a row moved elsewhere does not decrypt.
"""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agentos_controller import ids, settings

_NONCE = 12
_KEY = 32


class KeyFileError(settings.ConfigurationError):
    """The key file is missing, unreadable, open to others, or not in its form."""


class Undecipherable(Exception):
    """A stored value does not decrypt: it was altered or moved, or its key is not in the key file."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A value at rest. `kek_id` names the key that wraps `wrapped_key`."""

    ciphertext: bytes
    wrapped_key: bytes
    kek_id: str


class KeyRing:
    """The keys in the key file, newest first. A line is ``<id> <base64 of 32 bytes>``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, bytes] = {}

    @classmethod
    def open(cls, path: Path) -> KeyRing:
        """Read the key file, or make it with a new key where there is none.

        Raises:
            KeyFileError: it cannot be used; the message says what to do.
        """
        ring = cls(path)
        if not path.exists():
            ring._create()
        ring.reload()
        return ring

    @property
    def active(self) -> str:
        """Id of the key that wraps."""
        return next(iter(self._keys))

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(self._keys)

    def reload(self) -> None:
        """Read the file again: another process may have rotated.

        Raises:
            KeyFileError: it cannot be used.
        """
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise KeyFileError(f"the key file {self._path} cannot be read: {error.strerror}") from error
        with open(descriptor, encoding="ascii", errors="replace") as file:
            mode = os.fstat(descriptor)
            if not stat.S_ISREG(mode.st_mode) or mode.st_uid not in (os.geteuid(), 0):
                raise KeyFileError(f"the key file {self._path} must be a plain file of the user who runs the server")
            if stat.S_IMODE(mode.st_mode) != 0o600:
                raise KeyFileError(
                    f"the key file {self._path} has mode {stat.S_IMODE(mode.st_mode):04o}, it must be 0600: "
                    f"chmod 600 {self._path}; if others could read it, rotate"
                )
            keys = dict(self._parse(number, line) for number, line in enumerate(file, 1) if line.strip())
        if not keys:
            raise KeyFileError(f"the key file {self._path} is empty: restore it from a backup")
        self._keys = keys

    def add(self) -> str:
        """Put a new key first in the file, durably; its id."""
        self.reload()
        new = _line()
        lines = [new, *(f"{key_id} {base64.b64encode(key).decode()}\n" for key_id, key in self._keys.items())]
        temporary = self._write("".join(lines))
        temporary.replace(self._path)
        self._sync_directory()
        self.reload()
        return self.active

    def seal(self, value: str, bound_to: str) -> Sealed:
        """Encrypt `value` so that it opens only for the same `bound_to`."""
        data_key = AESGCM.generate_key(256)
        return Sealed(_encrypt(data_key, value.encode(), bound_to), self._wrap(data_key, bound_to), self.active)

    def open_sealed(self, sealed: Sealed, bound_to: str) -> str:
        """Decrypt.

        Raises:
            Undecipherable: it was altered or moved, or its key is not in the file.
        """
        return _decrypt(self._unwrap(sealed, bound_to), sealed.ciphertext, bound_to).decode()

    def rewrap(self, sealed: Sealed, bound_to: str) -> Sealed:
        """The same value under the newest key; only the data key is encrypted anew."""
        data_key = self._unwrap(sealed, bound_to)
        return Sealed(sealed.ciphertext, self._wrap(data_key, bound_to), self.active)

    def _wrap(self, data_key: bytes, bound_to: str) -> bytes:
        return _encrypt(self._keys[self.active], data_key, f"key|{bound_to}")

    def _unwrap(self, sealed: Sealed, bound_to: str) -> bytes:
        if sealed.kek_id not in self._keys:
            self.reload()
        if (key := self._keys.get(sealed.kek_id)) is None:
            raise Undecipherable(f"key {sealed.kek_id} is not in {self._path}: restore the key file it was in")
        return _decrypt(key, sealed.wrapped_key, f"key|{bound_to}")

    def _parse(self, number: int, line: str) -> tuple[str, bytes]:
        key_id, _, encoded = line.strip().partition(" ")
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError:
            key = b""
        if len(key) != _KEY:
            # The line is not repeated: it may hold a key.
            raise KeyFileError(f"{self._path}:{number}: not `<id> <base64 of {_KEY} bytes>`; restore it from a backup")
        return key_id, key

    def _create(self) -> None:
        settings.prepare_state_directory(self._path.parent)
        temporary = self._write(_line())
        try:
            os.link(temporary, self._path)
        except FileExistsError:
            pass  # another process was first; its key is the one
        finally:
            temporary.unlink()
        self._sync_directory()

    def _write(self, content: str) -> Path:
        temporary = self._path.with_name(f".{self._path.name}.{ids.new()}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KeyFileError(f"the key file {self._path} cannot be written: {error.strerror}") from error
        with open(descriptor, "w", encoding="ascii") as file:
            os.fchmod(descriptor, 0o600)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        return temporary

    def _sync_directory(self) -> None:
        descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _line() -> str:
    return f"{ids.new()} {base64.b64encode(os.urandom(_KEY)).decode()}\n"


def _encrypt(key: bytes, plain: bytes, bound_to: str) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to.encode())


def _decrypt(key: bytes, sealed: bytes, bound_to: str) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to.encode())
    except (InvalidTag, ValueError) as error:
        raise Undecipherable("a stored secret was altered or moved: set it again") from error
