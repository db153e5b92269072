"""Who teaches somewhere may open the admin, which shows them their own workshops only; who stops may not."""

from typing import Any

from django.db.models.signals import post_delete, post_save

from accounts.access import TEACHING_ROLES
from accounts.models import Enrolment, User


def connect() -> None:
    """Called once, when the app is ready."""
    for signal in (post_save, post_delete):
        signal.connect(_open_or_close_admin, sender=Enrolment, dispatch_uid="accounts_admin_door")


def _open_or_close_admin(instance: Enrolment, raw: bool = False, **kwargs: Any) -> None:
    if raw:
        return
    teaches = Enrolment.objects.filter(user=instance.user_id, role__in=TEACHING_ROLES).exists()
    user = instance.user
    if not user.is_superuser:  # a superuser's right is nobody's to take
        User.objects.filter(pk=user.pk).exclude(is_staff=teaches).update(is_staff=teaches)
        user.is_staff = teaches  # or a later save of this object would undo it
