"""Topics of live views, and who may listen to them.

As text: `job:<uuid>` its owner and staff, `user:<id>` that person, `workshop:<id>` its members,
`staff:<workshop id>` its staff.
"""

import re
import uuid

from accounts import access
from accounts.models import User
from jobs import queries

_TOPIC = re.compile(r"(job:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?:user|workshop|staff):[0-9]{1,18})")


def job_topic(job_id: uuid.UUID | str) -> str:
    """Everything about one job."""
    return f"job:{job_id}"


def user_topic(user_id: int) -> str:
    """One person's jobs and balance."""
    return f"user:{user_id}"


def workshop_topic(workshop_id: int) -> str:
    """The queue and the fleet of a workshop, without names or contents."""
    return f"workshop:{workshop_id}"


def staff_topic(workshop_id: int) -> str:
    """All jobs of a workshop."""
    return f"staff:{workshop_id}"


def is_topic(text: str) -> bool:
    """Whether this is the text of a topic."""
    return _TOPIC.fullmatch(text) is not None


def group_of(topic: str) -> str:
    """The channel layer's name for the topic's listeners; layers take no colon."""
    return f"live.{topic.replace(':', '.')}"


def agent_group(agent_id: str) -> str:
    """The group of one agent's socket."""
    return f"agent.{agent_id}"


def may_listen(user: User, topic: str) -> bool:
    """Whether the user may listen to the topic now."""
    if not user.is_active or not is_topic(topic):
        return False
    kind, _, subject = topic.partition(":")
    if kind == "job":
        return queries.visible_jobs(user).filter(pk=uuid.UUID(subject)).exists()
    if kind == "user":
        return int(subject) == user.pk
    if kind == "workshop":
        return access.workshops_of(user).filter(pk=int(subject)).exists()
    return access.is_staff_of(user, int(subject))
