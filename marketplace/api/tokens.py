"""Tokens of the student API: made, found and revoked here. Only their SHA-256 is stored."""

import hashlib
import secrets
from datetime import timedelta

from django.db.models import BooleanField, ExpressionWrapper, Q

from accounts.clock import MarketNow
from accounts.models import ApiToken, User

TOKEN_START = "api_"
PREFIX_CHARACTERS = 8
MAX_LIVE_TOKENS = 20
LAST_USED_STEP = timedelta(minutes=1)


def make(user: User, name: str) -> str:
    """A new token, shown this once. Beyond MAX_LIVE_TOKENS the longest unused ones are revoked."""
    token = TOKEN_START + secrets.token_urlsafe(32)
    ApiToken.objects.create(
        user=user, name=name[:60], prefix=token[:PREFIX_CHARACTERS], sha256=_digest(token)
    )
    live = ApiToken.objects.filter(user=user, revoked_at=None)
    kept = live.order_by("-created_at", "-id").values("pk")[:MAX_LIVE_TOKENS]
    live.exclude(pk__in=list(kept.values_list("pk", flat=True))).update(revoked_at=MarketNow())
    return token


def find(token: str) -> ApiToken | None:
    """The token's row with its user; None when unknown, revoked, or its user may not sign in."""
    if not token.startswith(TOKEN_START):
        return None
    stale = Q(last_used_at=None) | Q(last_used_at__lt=MarketNow() - LAST_USED_STEP)
    found = ApiToken.objects.filter(sha256=_digest(token), revoked_at=None, user__is_active=True)
    row = found.select_related("user").annotate(stale=ExpressionWrapper(stale, BooleanField())).first()
    if row is not None and row.stale:
        # A minute's grain is enough for people, and spares a write with every request.
        ApiToken.objects.filter(pk=row.pk).update(last_used_at=MarketNow())
    return row


def revoke(row: ApiToken) -> None:
    """The token stops working."""
    ApiToken.objects.filter(pk=row.pk, revoked_at=None).update(revoked_at=MarketNow())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
