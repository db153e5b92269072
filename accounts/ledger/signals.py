"""Before a rule changes, what is due under the old one is settled.

Lazy settling reads sessions and places as they are now; without this, moving a session would rewrite hours
that nobody had settled yet. Rates and caps need no such care: their history is kept.
"""

from typing import Any

from django.db.models.signals import post_save, pre_delete, pre_save

from accounts.ledger import allowance, posting
from accounts.models import ClassSession, Enrolment, Workshop


def connect() -> None:
    """Called once, when the app is ready."""
    for signal in (pre_save, pre_delete):
        signal.connect(_settle_class, sender=ClassSession, dispatch_uid="ledger_session")
        signal.connect(_settle_class, sender=Enrolment, dispatch_uid="ledger_enrolment")
    pre_save.connect(_settle_workshop, sender=Workshop, dispatch_uid="ledger_workshop")
    post_save.connect(_open_account, sender=Enrolment, dispatch_uid="ledger_account")


def _settle_class(instance: ClassSession | Enrolment, raw: bool = False, **kwargs: Any) -> None:
    if not raw and instance.pk is not None:
        allowance.settle_workshop(instance.workshop_id)


def _settle_workshop(instance: Workshop, raw: bool = False, **kwargs: Any) -> None:
    if not raw and instance.pk is not None:
        allowance.settle_workshop(instance.pk)


def _open_account(instance: Enrolment, created: bool, raw: bool, **kwargs: Any) -> None:
    if created and not raw:
        posting.member_account(instance.user, instance.workshop)
