"""Reading pages in tests."""

import re

from django.http import HttpResponse

_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="[^"]+"')


def without_token(answer: HttpResponse) -> str:
    """The page without what changes with every rendering."""
    return _TOKEN.sub("", answer.content.decode())


def receipt(page: str) -> dict[str, int]:
    """The receipt's amounts in milli-credits, read from the page as a person would."""
    cells = re.findall(r'data-receipt="(\w+)">([+−]?)([\d,.]+)<', page)
    return {name: round(float(number.replace(",", "")) * 1000) for name, _sign, number in cells}
