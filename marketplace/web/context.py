"""What every page needs: the site's name, the person's workshop and balance; read when a template asks."""

from collections.abc import Container
from typing import Any

from django.conf import settings
from django.db.models import F
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts import access, sessions
from accounts.ledger import balances, posting
from accounts.models import User, Workshop
from marketplace.live import topics
from marketplace.market import class_clock

CHOSEN = "workshop"  # session key: slug of the workshop the person looks at


def site(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `SITE_NAME`, and lazily the rest."""
    return {
        "SITE_NAME": settings.SITE_NAME,
        "workshop": SimpleLazyObject(lambda: workshop_of(request)),
        "balance": SimpleLazyObject(lambda: balance_of(request)),
        "live_topic": SimpleLazyObject(lambda: _live_topic(request)),
        "teaches": SimpleLazyObject(lambda: teaches(request)),
        "looks_after": SimpleLazyObject(lambda: looks_after(request)),
        "class_words": SimpleLazyObject(lambda: class_words(request)),
    }


def workshop_of(request: HttpRequest) -> Workshop | None:
    """The workshop chosen in this session, else the newest open one of the person's; asked once a request."""
    if not hasattr(request, "_workshop"):
        request._workshop = _find_workshop(request)  # type: ignore[attr-defined]
    return request._workshop  # type: ignore[attr-defined, no-any-return]


def balance_of(request: HttpRequest) -> dict[str, int] | None:
    """`available_milli`, `held_milli` and their sum in the current workshop; None outside one."""
    workshop = workshop_of(request)
    if workshop is None or not isinstance(request.user, User):
        return None
    if not hasattr(request, "_balance"):
        account_id = _account_of(request.user, workshop)
        found = balances.balance(account_id) if account_id is not None else balances.Balance(0, 0)
        request._balance = {  # type: ignore[attr-defined]
            "available_milli": found.available_milli,
            "held_milli": found.held_milli,
            "total_milli": found.available_milli + found.held_milli,
        }
    return request._balance  # type: ignore[attr-defined, no-any-return]


def teaches(request: HttpRequest) -> bool:
    """Whether the person looks after the current workshop's credits and rules."""
    return _role_within(request, access.TEACHING_ROLES)


def looks_after(request: HttpRequest) -> bool:
    """Whether the person is staff of the current workshop."""
    return _role_within(request, access.STAFF_ROLES)


def class_words(request: HttpRequest) -> str:
    """What the class's clock has to say on top of every page; "" for nothing."""
    workshop = workshop_of(request)
    return "" if workshop is None else class_clock.banner(sessions.current(workshop.pk))


def _role_within(request: HttpRequest, roles: Container[str]) -> bool:
    """As `access` decides, with one question for all that a page asks."""
    workshop = workshop_of(request)
    if workshop is None or not isinstance(request.user, User):
        return False
    if not hasattr(request, "_role"):
        request._role = access.role_in(request.user, workshop.pk)  # type: ignore[attr-defined]
    return request.user.is_superuser or request._role in roles  # type: ignore[attr-defined]


def _account_of(user: User, workshop: Workshop) -> int | None:
    """The person's account; a member's is opened at first sight, guests have none."""
    found = balances.find_account(user.pk, workshop.pk)
    if found is None and access.role_in(user, workshop.pk) is not None:
        return posting.member_account(user, workshop)
    return found


def account_of(request: HttpRequest) -> int | None:
    """The account the person's statement is of."""
    workshop = workshop_of(request)
    if workshop is None or not isinstance(request.user, User):
        return None
    return _account_of(request.user, workshop)


def _find_workshop(request: HttpRequest) -> Workshop | None:
    user = getattr(request, "user", None)
    if not isinstance(user, User):
        return None
    # Ordinary people belong to one or two; the superuser's list is cut where a menu would end.
    mine = list(access.workshops_of(user).order_by(F("closed_at").desc(nulls_first=True), "-created_at")[:50])
    chosen = request.session.get(CHOSEN)
    return next((workshop for workshop in mine if workshop.slug == chosen), mine[0] if mine else None)


def _live_topic(request: HttpRequest) -> str:
    user = getattr(request, "user", None)
    return topics.user_topic(user.pk) if isinstance(user, User) else ""
