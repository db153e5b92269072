"""Permission questions, one condition a line. Views ask here and nowhere else."""

from django.db.models import QuerySet

from accounts.models import Enrolment, User, Workshop

STAFF_ROLES = (Enrolment.Role.ASSISTANT, Enrolment.Role.INSTRUCTOR, Enrolment.Role.ORGANIZER)
TEACHING_ROLES = (Enrolment.Role.INSTRUCTOR, Enrolment.Role.ORGANIZER)


def role_in(user: User, workshop_id: int) -> str | None:
    """The user's role in the workshop; None if not enrolled."""
    place = Enrolment.objects.filter(user=user, workshop_id=workshop_id).order_by("pk")  # one at most
    return place.values_list("role", flat=True).first()


def workshops_of(user: User) -> QuerySet[Workshop]:
    """Workshops the user may see."""
    if user.is_superuser:
        return Workshop.objects.all()
    return Workshop.objects.filter(enrolments__user=user)


def staffed_workshops(user: User) -> QuerySet[Workshop]:
    """Workshops whose jobs and people the user may see as staff."""
    if user.is_superuser:
        return Workshop.objects.all()
    return Workshop.objects.filter(enrolments__user=user, enrolments__role__in=STAFF_ROLES)


def taught_workshops(user: User) -> QuerySet[Workshop]:
    """Workshops whose rules, rosters and credits the user looks after in the admin."""
    if user.is_superuser:
        return Workshop.objects.all()
    return Workshop.objects.filter(enrolments__user=user, enrolments__role__in=TEACHING_ROLES)


def is_staff_of(user: User, workshop_id: int) -> bool:
    """May see every job of the workshop."""
    return staffed_workshops(user).filter(pk=workshop_id).exists()


def may_grant(user: User, workshop_id: int) -> bool:
    """May grant credits, refund, and change the workshop's rules."""
    return user.is_superuser or role_in(user, workshop_id) in TEACHING_ROLES


def may_issue(user: User, workshop_id: int) -> bool:
    """May bring credits into being, where others only hand out what a pool has."""
    return user.is_superuser or role_in(user, workshop_id) == Enrolment.Role.ORGANIZER


def roles_to_give(user: User, workshop_id: int) -> tuple[str, ...]:
    """Roles the user may enrol others as: nobody makes somebody their equal, but organizers."""
    if may_issue(user, workshop_id):
        return tuple(Enrolment.Role.values)
    if role_in(user, workshop_id) == Enrolment.Role.INSTRUCTOR:
        return (Enrolment.Role.STUDENT, Enrolment.Role.ASSISTANT)
    return ()


def may_submit(user: User, workshop: Workshop) -> bool:
    """May quote and order jobs: enrolled, and the workshop is not closed."""
    return workshop.closed_at is None and role_in(user, workshop.pk) is not None
