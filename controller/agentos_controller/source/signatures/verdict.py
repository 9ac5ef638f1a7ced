"""What looking at one commit's signature comes to. Values only; who decides what follows is `source.gate`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verified:
    """A listed signer made the signature over exactly this commit. `signer` is the name the Tenant gives it."""

    signer: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No listed signer vouches for it. `code` is a registered reason, `message` a clause such as `it is not signed`."""

    code: str
    message: str


Verdict = Verified | Refused


class Bad(Exception):
    """Inside this package: the signature is refused for the reason given, a clause; becomes a `Refused`."""

    def __init__(self, message: str, code: str = "SignatureInvalid") -> None:
        super().__init__(message)
        self.refused = Refused(code, message)


def unknown(message: str) -> Bad:
    """The signature may be good, but nobody listed made it."""
    return Bad(message, "SignerUnknown")
