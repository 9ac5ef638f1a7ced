"""The address of a repository, taken apart and refused early.

Everything that could smuggle an option, a command or a credential into git is refused here, before anything is opened:
only a local path, an https or an ssh URL (http for a loopback test server, when the platform allows it), and only plain
names of refs. `--` and the protocol allow-list of `fetch` are the second wall.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from agentos_engine import errors

_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]{0,200}")
_OID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_HEADS, _TAGS = "refs/heads/", "refs/tags/"
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_SCP = re.compile(r"([^/@:]+@)?([^/:@]+):(?!//)(.+)")
_URL_PATH = re.compile(r"/[A-Za-z0-9._~%!$&'()*+,;=:@/-]*")


@dataclass(frozen=True, slots=True)
class Access:
    """Names of secrets (`auth`: token or deploy key), and whom to trust: text, or a `secret/<name>` that has it."""

    auth: str | None = None
    known_hosts: str | None = None
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """A repository and what is followed in it. `ref` None follows HEAD; `local` tells a path from a URL.

    `semver` follows the newest tag in a range instead. `branch` is another branch that is asked about. `access` is how
    the remote is reached: two sources share one mirror only where url and access are the same.
    """

    url: str
    ref: str | None
    local: bool
    semver: str | None = None
    branch: str | None = None
    access: Access | None = None

    @property
    def is_commit(self) -> bool:
        """Whether `ref` names one commit by its full id, which never moves."""
        return self.ref is not None and _OID.fullmatch(self.ref) is not None

    @property
    def host(self) -> str:
        """Where a remote repository is, with its port unless that is the usual one."""
        parts = urlsplit(self.url)
        name = parts.netloc.rpartition("@")[2].lower()
        return name.removesuffix({"https": ":443", "http": ":80", "ssh": ":22"}.get(parts.scheme, ":"))

    def working_copy(self, dev: bool) -> Path | None:
        """The folder whose uncommitted files are followed too, in development.

        Raises:
            errors.Stall: ``SourceInvalid``, the address also names a `ref`.
        """
        if not dev or not self.local:
            return None
        if self.ref is not None:
            raise errors.Stall("SourceInvalid", "--dev reads a working copy, which has no `#ref`")
        return Path(self.url)

    @property
    def what(self) -> str:
        """What is followed, in words."""
        if self.semver is not None:
            return f"a tag in the range {self.semver!r}"
        return f"a branch, tag or commit {self.ref!r}" if self.ref is not None else "HEAD"

    def __str__(self) -> str:
        return f"{self.url}#{self.ref}" if self.ref else self.url


def candidates(ref: str) -> tuple[str, ...]:
    """The full names of refs that `ref` may be short for, the first that exists is meant: a branch before a tag."""
    return (ref,) if ref.startswith((_HEADS, _TAGS)) else (_HEADS + ref, _TAGS + ref)


def parse(text: str, ref: str | None = None, *, base: Path | None = None, allow_loopback_http: bool = False) -> Address:
    """The address in `text`, which is ``<path or https URL>[#ref]``; `ref` is used where `text` has none.

    A relative path is taken from `base` (default: the current directory).

    Raises:
        errors.Stall: ``SourceInvalid``, saying what is wrong with it.
    """
    location, _, fragment = text.strip().partition("#")
    wanted = fragment or ref or None
    if wanted is not None:
        check_ref(wanted)
    if not location or location.startswith("-") or "\0" in location or "\n" in location:
        raise errors.Stall("SourceInvalid", f"{text!r} is no repository: give a path or a URL, then `#ref`")
    if "://" in location:
        return Address(_check_url(location, allow_loopback_http), wanted, local=False)
    if re.match(r"[a-z0-9+.-]+::", location):
        raise errors.Stall("SourceInvalid", f"{location!r} uses a transport that is not allowed: use https or ssh")
    if scp := _SCP.fullmatch(location):
        hint = f"ssh://{scp[1] or 'git@'}{scp[2]}/{scp[3].lstrip('/')}"
        raise errors.Stall("SourceInvalid", f"{location!r} is not written as a URL: write {hint}")
    path = Path(location).expanduser()
    return Address(str((path if path.is_absolute() else (base or Path.cwd()) / path).resolve()), wanted, local=True)


def check_ref(ref: str) -> None:
    """Refuse everything but the plain name of a branch or tag, or a full commit id (no ``HEAD~1``, no ranges)."""
    parts = ref.split("/")
    bad = parts[0] == "refs" and (len(parts) < 3 or parts[1] not in ("heads", "tags"))
    bad = bad or any(not part or part.startswith(".") or part.endswith((".lock", ".")) for part in parts)
    if bad or not _REF.fullmatch(ref) or ".." in ref or "@{" in ref or ref == "@":
        raise errors.Stall("SourceInvalid", f"{ref!r} is no branch, tag or full commit id")


def _check_url(url: str, allow_loopback_http: bool) -> str:
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError as error:
        raise errors.Stall("SourceInvalid", f"{url!r} is no URL: {error}") from None
    if parts.password is not None or (parts.username is not None and parts.scheme != "ssh"):
        raise errors.Stall("SourceInvalid", "the repository's URL holds credentials: store them as a secret instead")
    if parts.scheme == "http" and not (allow_loopback_http and _is_loopback(host)):
        raise errors.Stall("SourceInvalid", f"{url!r} is not encrypted: use https")
    if parts.scheme not in ("http", "https", "ssh"):
        raise errors.Stall("SourceInvalid", f"the scheme {parts.scheme!r} is not allowed: use a path, https or ssh")
    if host.startswith("-") or (parts.username is not None and not _USER.fullmatch(parts.username)):
        raise errors.Stall("SourceInvalid", f"{url!r} names no plain host and user")
    if not host or parts.query or not _URL_PATH.fullmatch(parts.path or "/"):
        raise errors.Stall("SourceInvalid", f"{url!r} is no plain repository URL")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
