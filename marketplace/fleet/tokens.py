"""Tokens of agents: 256 random bits, shown once, stored as SHA-256."""

import hashlib
import secrets

TOKEN_START = "agt_"
PREFIX_CHARACTERS = 8


def new_token() -> str:
    """A new token; its first PREFIX_CHARACTERS may be shown to recognise it."""
    return TOKEN_START + secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is stored of a token, and what Redis compares the agent's password with."""
    return hashlib.sha256(token.encode()).hexdigest()
