"""The job types this installation offers. Filled once at start by jobs/apps.py; knows no Django."""

from collections.abc import Iterable
from importlib import import_module

from jobs.job_types.base import JobType

PARTS = (
    "name",
    "parse",
    "check",
    "demand",
    "bind",
    "cheaper",
    "changed",
    "requirements",
    "form",
    "fits",
    "fill",
    "editable",
    "place",
)

_types: dict[str, JobType] = {}


class UnknownJobType(LookupError):
    """No job type of that name is registered."""


class BadJobType(TypeError):
    """A dotted name of settings.JOB_TYPES leads to nothing that can serve as a job type."""


def register(dotted_names: Iterable[str]) -> None:
    """Import and keep an instance of each named class. Raises `BadJobType` for a name that leads nowhere or
    to a class without a job type's methods, or when two share a name. Registering the same class again is
    fine."""
    for dotted in dotted_names:
        module_name, _, class_name = dotted.rpartition(".")
        try:
            made = getattr(import_module(module_name), class_name)()
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise BadJobType(f"{dotted} is no job type: {error}") from error
        _keep(dotted, made)


def get(name: str) -> JobType:
    """The job type called `name`. Raises `UnknownJobType`."""
    try:
        return _types[name]
    except KeyError:
        raise UnknownJobType(f"There is no job type {name!r}; there are: {', '.join(names())}.") from None


def names() -> tuple[str, ...]:
    """All registered names, sorted."""
    return tuple(sorted(_types))


def _keep(dotted: str, made: JobType) -> None:
    missing = [part for part in PARTS if not hasattr(made, part)]
    if missing:
        raise BadJobType(f"{dotted} is no job type: it lacks {', '.join(missing)}")
    held = _types.get(made.name)
    if held is not None and type(held) is not type(made):
        raise BadJobType(f"{dotted} and {type(held).__qualname__} both call themselves {made.name!r}")
    _types[made.name] = made
