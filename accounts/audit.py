"""Write door of the audit trail."""

from typing import Any

from accounts.models import AuditRow, User


def record(
    action: str,
    subject: str,
    *,
    actor: User | None,
    workshop_id: int | None = None,
    before: Any = None,
    after: Any = None,
    reason: str = "",
) -> AuditRow:
    """Write one audit row in the caller's transaction. `subject` is "kind:id"."""
    return AuditRow.objects.create(
        actor=actor,
        workshop_id=workshop_id,
        action=action,
        subject=subject,
        before=before,
        after=after,
        reason=reason,
    )
