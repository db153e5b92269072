"""Which market loop leads: one row, renewed each second, expired after four.

A row rather than an advisory lock, which connection pools and restarts drop. Each new leader gets a higher
epoch; dispatch checks it inside its transactions, so one that was merely stopped assigns nothing afterwards.
"""

from dataclasses import dataclass
from datetime import timedelta

from django.db import connection
from django.db.models import QuerySet

from accounts.clock import MarketNow
from gpu_agent.protocol.messages import LEASE_SECONDS
from marketplace.market.models import Leadership

TERM_SECONDS = 4
TERM = timedelta(seconds=TERM_SECONDS)
RENEW_SECONDS = 1.0
GRACE = timedelta(seconds=LEASE_SECONDS)

_TAKE = """
INSERT INTO market_leadership (id, leader, epoch, expires_at, started_at, renewed_at)
VALUES (1, %(name)s, 1, market_now() + %(term)s * interval '1 second',
        market_now(), market_now())
ON CONFLICT (id) DO UPDATE SET leader = %(name)s, epoch = market_leadership.epoch + 1,
  expires_at = market_now() + %(term)s * interval '1 second',
  started_at = market_now(), renewed_at = market_now()
WHERE market_leadership.expires_at <= market_now()
RETURNING epoch
"""


@dataclass(frozen=True, slots=True)
class Term:
    """One leader's time in office."""

    name: str
    epoch: int


def take(name: str) -> Term | None:
    """Become leader if nobody is; None while another's term runs."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, {"name": name, "term": TERM_SECONDS})
        row = cursor.fetchone()
    return Term(name, row[0]) if row else None


def renew(term: Term, *, after_gap: bool = False) -> bool:
    """Lead on; False when the term ran out. `after_gap`: the database was away, so heartbeats could not be
    written and leases get a new grace."""
    mine = _mine(term).filter(expires_at__gt=MarketNow())
    renewed = mine.update(expires_at=MarketNow() + TERM, renewed_at=MarketNow()) == 1
    if renewed and after_gap:
        _mine(term).update(started_at=MarketNow())
    return renewed


def resign(term: Term) -> None:
    """Let another lead at once."""
    _mine(term).update(expires_at=MarketNow())


def grace_is_over(term: Term) -> bool:
    """Whether this leader has seen a whole lease's length, so that an expired lease means a silent agent."""
    return _mine(term).filter(started_at__lt=MarketNow() - GRACE).exists()


def _mine(term: Term) -> QuerySet[Leadership]:
    return Leadership.objects.filter(pk=1, epoch=term.epoch, leader=term.name)
