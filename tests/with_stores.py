"""`python -m tests.with_stores COMMAND …`: run a command with throw-away PostgreSQL and Valkey."""

import os
import subprocess
import sys

from marketplace.quickstart.stores import temporary_stores


def main() -> int:
    environment = {**os.environ, "SECRET_KEY": os.environ.get("SECRET_KEY", "tests-only-" + "x" * 40)}
    if environment.get("DATABASE_URL") and environment.get("REDIS_URL"):
        return subprocess.call(sys.argv[1:], env=environment)
    with temporary_stores() as urls:
        return subprocess.call(sys.argv[1:], env={**environment, **urls})


if __name__ == "__main__":
    sys.exit(main())
