"""What students see of each other: friendly names, given once to whoever has none."""

from itertools import chain

from django.db import transaction

from accounts.models import Enrolment, Workshop

BIRDS = (
    "Avocet", "Bittern", "Bunting", "Chough", "Coot", "Crane", "Curlew", "Dipper", "Dunlin", "Eider",
    "Finch", "Gannet", "Godwit", "Grebe", "Heron", "Hoopoe", "Ibis", "Jay", "Kestrel", "Kite", "Knot",
    "Lapwing", "Lark", "Linnet", "Martin", "Merlin", "Nightjar", "Oriole", "Osprey", "Petrel", "Pipit",
    "Plover", "Puffin", "Quail", "Rail", "Raven", "Robin", "Rook", "Ruff", "Shrike", "Siskin", "Skua",
    "Snipe", "Starling", "Stork", "Swift", "Tern", "Thrush", "Turnstone", "Wagtail", "Warbler",
    "Whimbrel", "Wigeon", "Wren",
)  # fmt: skip
SHADES = ("Amber", "Azure", "Coral", "Indigo", "Ivory", "Ochre", "Olive", "Rose", "Silver", "Umber")


def aliases_of(workshop_id: int) -> dict[int, str]:
    """User → alias, for everyone enrolled; those without one are given one now."""
    known = _read(workshop_id)
    if all(known.values()):
        return known
    with transaction.atomic():
        # One at a time, or two could be given the same name.
        Workshop.objects.select_for_update(no_key=True).get(pk=workshop_id)
        known = _read(workshop_id)
        free = (name for name in _names(len(known)) if name not in set(known.values()))
        for user_id in [user_id for user_id, alias in known.items() if not alias]:
            known[user_id] = next(free)
            Enrolment.objects.filter(workshop_id=workshop_id, user_id=user_id).update(alias=known[user_id])
    return known


def _read(workshop_id: int) -> dict[int, str]:
    rows = Enrolment.objects.filter(workshop_id=workshop_id).order_by("pk")
    return dict(rows.values_list("user_id", "alias"))


def _names(at_least: int) -> "chain[str]":
    shaded = (f"{shade} {bird}" for shade in SHADES for bird in BIRDS)
    numbered = (f"Bird {number}" for number in range(1, 2 * at_least + 2))
    return chain(BIRDS, shaded, numbered)
