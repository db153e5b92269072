"""The one clock of all rules: the database's `market_now()`.

`market_now()` is `now()` (the transaction's start) plus an offset in the session setting
`market.offset`, which only tests set. Python asks it through `now()`, SQL through `MarketNow()`.
"""

from datetime import datetime

from django.db import connection
from django.db.models import DateTimeField, Func


class MarketNow(Func):
    """SQL expression `market_now()`."""

    function = "market_now"
    template = "%(function)s()"
    arity = 0
    output_field = DateTimeField()

    def __init__(self) -> None:
        super().__init__()


def now() -> datetime:
    """The market's time, aware, in UTC."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT market_now()")
        (moment,) = cursor.fetchone()
    return moment  # type: ignore[no-any-return]
