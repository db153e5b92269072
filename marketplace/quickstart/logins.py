"""Who can sign in to the demo class. Pure: the quick start prints it before Django is set up."""

from dataclasses import dataclass

DEMO_PASSWORD = "darkroom-demo"  # nosec B105 - printed for the demo class, which holds nothing of worth
INSTRUCTOR, ORGANIZER = "instructor", "organizer"


@dataclass(frozen=True, slots=True)
class Login:
    """One of the people to show a newcomer."""

    username: str
    password: str
    role: str


LOGINS = (
    Login("student", DEMO_PASSWORD, "student"),
    Login(INSTRUCTOR, DEMO_PASSWORD, "instructor"),
    Login(ORGANIZER, DEMO_PASSWORD, "organizer"),
)
