"""Chores of the tests' own."""

DONE: list[str] = []


def note(subject: str) -> None:
    """Done by remembering its subject."""
    DONE.append(subject)


def refuse(subject: str) -> None:
    """Never done."""
    raise OSError(f"no room for {subject}")
