"""Secrets: values that manifests name and never hold.

A value comes from the encrypted table or from a directory the operator mounts; it is resolved only for the call that
needs it, for the hosts it is bound to, and is known to the redactor from then on. Neither the environment nor any other
file of the controller can be reached by a name.
"""

from __future__ import annotations

from agentos_controller.secrets.binding import SecretBound
from agentos_controller.secrets.mounted import Mounted
from agentos_controller.secrets.store import Listed, SecretMissing, Secrets
from agentos_controller.secrets.value import SecretValue
from agentos_controller.secrets.vault import KeyFileError, KeyRing, Undecipherable

__all__ = [
    "KeyFileError",
    "KeyRing",
    "Listed",
    "Mounted",
    "SecretBound",
    "SecretMissing",
    "SecretValue",
    "Secrets",
    "Undecipherable",
]
