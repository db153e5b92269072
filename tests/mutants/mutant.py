"""A fault to plant."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """`text`, found once in `path`, is replaced by `instead`."""

    name: str
    path: str
    text: str
    instead: str
