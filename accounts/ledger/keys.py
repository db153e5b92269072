"""Idempotency keys."""

import uuid


def key_for(namespace: uuid.UUID, *parts: object) -> uuid.UUID:
    """A key derived from another: the same parts always give the same, as in key_for(job.id, "capture")."""
    return uuid.uuid5(namespace, "\x1f".join(map(str, parts)))
