"""Numbers as pages say them: one place for rounding, units and the spaces that never break.

Credits are integer milli-credits, durations seconds, sizes bytes. Headlines show one decimal (two below 1),
tables and buttons always two. Ceilings round up, balances down, prices to the nearest.
"""

import math
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.ledger.credits import MILLI, format_credits

NBSP = "\u00a0"
MINUTES_FROM_S = 120  # below two minutes people read seconds
GIB = 1024**3


def credits_exact(milli: int) -> str:
    """Two decimals, as tables that add up and the run button show it."""
    return format_credits(milli, places=2)


def credits_signed(milli: int) -> str:
    """A change: always with its sign."""
    return ("+" if milli > 0 else "") + credits_exact(milli)


def credits_headline(milli: int) -> str:
    """A price: to the nearest tenth, two decimals below one credit."""
    return format_credits(milli, places=1 if abs(milli) >= MILLI else 2)


def credits_ceiling(milli: int) -> str:
    """A ceiling: rounded up, so the number shown is never exceeded."""
    return format_credits(milli, places=1 if abs(milli) >= MILLI else 2, rounding="up")


def credits_rate(milli: int) -> str:
    """A price per second: all three decimals it may have, none it hasn't."""
    return format_credits(milli, places=2 if milli % 10 == 0 else 3)


def duration(seconds: float) -> str:
    """A span that is over: "0.15 s", "2.1 s", "41 s", "7 min 41 s", "2 h 5 min"."""
    if 0.005 <= seconds < 10:
        return f"{seconds:.{2 if seconds < 1 else 1}f}{NBSP}s"
    whole = max(round(seconds), 0)
    if whole < MINUTES_FROM_S:
        return f"{whole}{NBSP}s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes}{NBSP}min" + (f" {rest}{NBSP}s" if rest else "")
    hours, rest = divmod(whole // 60, 60)
    return f"{hours}{NBSP}h" + (f" {rest}{NBSP}min" if rest else "")


def seconds_range(low_s: float, high_s: float) -> str:
    """A span still to come: "10–40 s", "6–14 min"; one number where both ends read the same."""
    unit, divisor = ("s", 1) if high_s < MINUTES_FROM_S else ("min", 60)
    step = 5 if 20 <= high_s < MINUTES_FROM_S else 1  # a guess to the second would be a lie
    low = max(int(low_s / divisor // step) * step, 0)
    high = max(math.ceil(high_s / divisor / step) * step, 1)
    return f"{high}{NBSP}{unit}" if low >= high else f"{low}–{high}{NBSP}{unit}"


def starts_in(interval_s: tuple[float, float] | None) -> str:
    """When something starts, as a range; None: nobody can say."""
    if interval_s is None:
        return _("when GPUs are free")
    low_s, high_s = interval_s
    if high_s <= 60:
        return _("under %(time)s") % {"time": f"1{NBSP}min"}
    return seconds_range(low_s, high_s)


def memory(size_bytes: int) -> str:
    """GPU memory: counted in 1024³ bytes and called GB, as makers of GPUs do."""
    return f"{size_bytes / GIB:.1f}{NBSP}GB"


def file_size(size_bytes: int) -> str:
    """A file's size in decimal units: "830 kB", "6.1 MB"."""
    if size_bytes < 1000:
        return f"{size_bytes}{NBSP}B"
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1000:.0f}{NBSP}kB"
    if size_bytes < 1_000_000_000:
        return f"{size_bytes / 1_000_000:.1f}{NBSP}MB"
    return f"{size_bytes / 1_000_000_000:.2f}{NBSP}GB"


def moment(at: datetime, today: datetime | None = None) -> str:
    """A clock time of today, or day and time; in the workshop's time zone."""
    local = timezone.localtime(at)
    now = timezone.localtime(today) if today else timezone.localtime()
    if local.date() == now.date():
        return f"{local:%H:%M}"
    if local.date() == now.date() - timedelta(days=1):
        return _("yesterday %(time)s") % {"time": f"{local:%H:%M}"}
    return date_format(local, "j M H:i" if local.year == now.year else "j M Y H:i")


def ordinal_of(position: int, total: int) -> str:
    """A place in the line: "5 of 11"."""
    return _("%(n)d of %(m)d") % {"n": position, "m": total}


def jobs_counted(count: int) -> str:
    """How many jobs: "1 job", "3 jobs"."""
    return ngettext("%(n)d job", "%(n)d jobs", count).replace(" ", NBSP) % {"n": count}
