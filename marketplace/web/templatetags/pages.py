"""Template words of the pages: numbers, icons and the badge of a state."""

from datetime import datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from marketplace.web import numbers, words

register = template.Library()

register.filter("credits", numbers.credits_exact)
register.filter("credits_signed", numbers.credits_signed)
register.filter("credits_headline", numbers.credits_headline)
register.filter("credits_ceiling", numbers.credits_ceiling)
register.filter("credits_rate", numbers.credits_rate)
register.filter("duration", numbers.duration)
register.filter("starts_in", numbers.starts_in)
register.filter("gib", numbers.memory)
register.filter("filesize", numbers.file_size)
register.filter("jobs_counted", numbers.jobs_counted)


@register.filter
def seconds_range(low_s: float, high_s: float) -> str:
    """`{{ p50|seconds_range:p90 }}`."""
    return numbers.seconds_range(low_s, high_s)


@register.filter
def moment(at: datetime | None) -> SafeString | str:
    """A `<time>` in the workshop's zone; empty without a time."""
    if at is None:
        return ""
    return format_html('<time datetime="{}">{}</time>', at.isoformat(), numbers.moment(at))


@register.filter
def action_words(action: str) -> str:
    """What an audit row's action was, in words."""
    return str(words.ACTIONS.get(action, action))


@register.filter
def share(part: float, whole: float) -> str:
    """`{{ part|share:whole }}`: a width in percent for an SVG attribute, always with a point."""
    return f"{max(0.0, min(100.0, 100 * part / whole)) if whole else 0:.2f}%"


@register.simple_tag
def icon(name: str) -> SafeString:
    """An icon of the page's sprite; decorative, so a word always stands beside it."""
    return format_html('<svg class="icon" aria-hidden="true"><use href="#i-{}"/></svg>', name)
