"""Job types this host can run, by name."""

from collections.abc import Iterable

from gpu_agent.protocol.messages import Fault
from gpu_agent.protocol.phases import Cause
from gpu_agent.runners.base import Failed, Runner


class Registry:
    """The runners of one agent."""

    def __init__(self, runners: Iterable[Runner] = ()) -> None:
        self._runners: dict[str, Runner] = {}
        for runner in runners:
            self.register(runner)

    def register(self, runner: Runner) -> None:
        if runner.name in self._runners:
            raise ValueError(f"two runners are called {runner.name}")
        self._runners[runner.name] = runner

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._runners))

    def find(self, job_type: str) -> Runner:
        """Raises `Failed` for a job type this host does not know."""
        try:
            return self._runners[job_type]
        except KeyError:
            known = ", ".join(self.names)
            message = f"This host cannot run jobs of type {job_type[:40]!r}, only {known}"
            raise Failed(Fault(Cause.INFRASTRUCTURE, message)) from None
