"""Deliveries as forges sign them, written from their documentation and not from our code."""

from __future__ import annotations

import base64
import hashlib
import hmac

FORGES = ("github", "gitlab", "gitlab-signed", "gitea", "forgejo", "bitbucket", "standard", "generic")


def signed(forge: str, body: bytes, secret: str, now: float, event: str | None = None) -> dict[str, str]:
    """The headers of a push that `forge` delivers."""
    mac = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    identity, stamp = "0198c5b2-push", str(int(now))
    whole = f"{identity}.{stamp}.".encode() + body
    stamped = {
        "webhook-id": identity,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1,"
        + base64.b64encode(hmac.new(secret.encode(), whole, hashlib.sha256).digest()).decode(),
    }
    return {
        "github": {"X-GitHub-Event": event or "push", "X-Hub-Signature-256": f"sha256={mac}"},
        "gitlab": {"X-Gitlab-Event": event or "Push Hook", "X-Gitlab-Token": secret},
        "gitlab-signed": {"X-Gitlab-Event": event or "Push Hook", **stamped},
        "gitea": {
            "X-Gitea-Event": event or "push", "X-Gitea-Signature": mac,
            "X-GitHub-Event": event or "push", "X-Hub-Signature-256": f"sha256={mac}",
        },
        "forgejo": {"X-Forgejo-Event": event or "push", "X-Forgejo-Signature": mac},
        "bitbucket": {"X-Event-Key": event or "repo:push", "X-Hub-Signature": f"sha256={mac}"},
        "standard": stamped,
        "generic": {"X-Signature-256": f"sha256={mac}"},
    }[forge]  # fmt: skip
