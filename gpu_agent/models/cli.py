"""`python -m gpu_agent models list|check|pull`: the model files of the workshop's manifest on this host.

Exit codes: 0 all of them are there, 1 some are missing or amiss, 2 misconfigured, 3 refused by the site,
4 the site is away, 5 another pull is at work, 130 stopped.
"""

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from gpu_agent.config import BadConfiguration
from gpu_agent.models import settings as configuration
from gpu_agent.models import sources, stock
from gpu_agent.models.desk import Board, Desk, SiteRefuses, SiteSilent
from gpu_agent.models.pull import Busy, NoRoom, Puller, Stopped, alone
from gpu_agent.models.settings import Settings
from gpu_agent.protocol.manifest import HAVE, Manifest, ManifestFile, ManifestProgress, ModelProgress
from gpu_agent.protocol.messages import MalformedMessage

INCOMPLETE, MISCONFIGURED, REFUSED, AWAY, BUSY, STOPPED = 1, 2, 3, 4, 5, 130


def main(argv: Sequence[str]) -> int:
    """Run the subcommand; its exit code."""
    told = parser().parse_args(argv)
    variables = {name: value for name, value in vars(told).items() if name.isupper() and value}
    try:
        settings = configuration.load(variables)
        with contextlib.ExitStack() as held:
            desk = _desk(settings, told, held)
            files = _chosen(_manifest(told, desk).files, told.only)
            tell = desk.tell if desk and not told.only else _tell_nobody
            return _run(told, settings, files, tell)
    except (BadConfiguration, NoRoom, OSError) as error:
        return _ended(error, MISCONFIGURED)
    except SiteRefuses as error:
        return _ended(error, REFUSED)
    except SiteSilent as error:
        return _ended(error, AWAY)
    except Busy as error:
        return _ended(error, BUSY)
    except Stopped:
        return _ended("stopped; what arrived is kept for the next pull", STOPPED)


def parser() -> argparse.ArgumentParser:
    """The command line. Options named like variables win over the environment."""
    top = argparse.ArgumentParser(
        prog="python -m gpu_agent models", description="The workshop's model files on this host."
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--only", action="append", default=[], metavar="NAME", help="this file (or pattern)")
    common.add_argument("--models-dir", dest="MODELS_DIR", help="ComfyUI's models folder (MODELS_DIR)")
    common.add_argument("--manifest", type=Path, metavar="FILE", help="read it from here, ask no site")
    common.add_argument("--site", dest="SITE_URL", help="address of the site (SITE_URL)")
    common.add_argument("--token", dest="AGENT_TOKEN", help="the agent's token (AGENT_TOKEN)")
    common.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("list", parents=[common], help="what is needed and what lies here, by size")
    check = commands.add_parser("check", parents=[common], help="the same, with every byte read")
    check.add_argument("--fresh", action="store_true", help="read again what was read before")
    pull = commands.add_parser("pull", parents=[common], help="fetch what is missing")
    pull.add_argument("--share", dest="MODELS_SHARE_DIR", help="the network drive (MODELS_SHARE_DIR)")
    pull.add_argument("--store", dest="MODELS_STORE_URL", help="the object store (MODELS_STORE_URL)")
    pull.add_argument("--limit-mbit", dest="MODELS_LIMIT_MBIT", help="bandwidth (MODELS_LIMIT_MBIT)")
    pull.add_argument("--replace", action="store_true", help="fetch wrong and truncated files anew, too")
    return top


def _run(
    told: argparse.Namespace,
    settings: Settings,
    files: tuple[ManifestFile, ...],
    tell: Callable[[ManifestProgress], None],
) -> int:
    # A quick look proves nothing, so the site keeps what it was told before.
    board = Board(_tell_nobody if told.command == "list" else tell)
    print_line = _quiet if told.json else _Lines()

    def put(now: ModelProgress) -> None:
        board.put(now)
        print_line(now)

    try:
        with board, _stoppable() as stop:
            if told.command == "pull":
                _pull(settings, files, stop, put, told.replace)
            else:
                _look(settings, files, stop, put, told)
    finally:
        if told.json:
            print(board.words(ended=True).to_json())
    return 0 if all(one.state in HAVE for one in board.files) else INCOMPLETE


def _pull(
    settings: Settings,
    files: tuple[ManifestFile, ...],
    stop: threading.Event,
    put: Callable[[ModelProgress], None],
    replace_wrong: bool,
) -> None:
    with alone(settings.models_dir), sources.client() as http:
        Puller(settings, http, put, stop=stop, replace_wrong=replace_wrong).pull(files)


def _look(
    settings: Settings,
    files: tuple[ManifestFile, ...],
    stop: threading.Event,
    put: Callable[[ModelProgress], None],
    told: argparse.Namespace,
) -> None:
    cache = stock.HashCache(settings.models_dir)
    if getattr(told, "fresh", False):
        cache.forget()
    prove = told.command == "check"
    for file in files:
        put(stock.look(settings.models_dir, file, cache, prove=prove, seen=_heeding(stop)))


def _desk(settings: Settings, told: argparse.Namespace, held: contextlib.ExitStack) -> Desk | None:
    if told.manifest is not None:
        return None
    for name, value in (("SITE_URL", settings.site_url), ("AGENT_TOKEN", settings.agent_token)):
        if not value:
            raise BadConfiguration(f"{name} is not set (or give --manifest FILE)")
    return held.enter_context(Desk(settings.site_url, settings.agent_token))


def _manifest(told: argparse.Namespace, desk: Desk | None) -> Manifest:
    if desk is not None:
        return desk.manifest()
    try:
        return Manifest.from_json(told.manifest.read_text())
    except (MalformedMessage, UnicodeDecodeError) as error:
        raise BadConfiguration(f"--manifest: {error}") from error


def _chosen(files: tuple[ManifestFile, ...], only: list[str]) -> tuple[ManifestFile, ...]:
    if not only:
        return files
    chosen = tuple(
        file for file in files if any(fnmatch(file.path, one) or fnmatch(file.name, one) for one in only)
    )
    if not chosen:
        raise BadConfiguration(f"--only: the manifest has no file like {', '.join(only)}")
    return chosen


@contextlib.contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event, so that what arrived is left in order."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heeding(stop: threading.Event) -> Callable[[int], None]:
    def heed(_bytes: int) -> None:
        if stop.is_set():
            raise Stopped

    return heed


class _Lines:
    """One line for each state a file comes to; on a terminal the bytes in between, too."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._percent = -1

    def __call__(self, one: ModelProgress) -> None:
        path, state = f"{one.folder}/{one.name}", one.state.value
        if self._last.get(path) == state:
            self._show_bytes(path, one)
            return
        self._last[path] = state
        size = "    ?    " if one.size_bytes is None else f"{one.size_bytes / 1e9:6.2f} GB"
        print(f"{state:<10} {size}  {path}{': ' + one.message if one.message else ''}", flush=True)

    def _show_bytes(self, path: str, one: ModelProgress) -> None:
        percent = 100 * one.received_bytes // (one.size_bytes or max(1, one.received_bytes))
        if percent != self._percent and sys.stderr.isatty():
            self._percent = percent
            print(f"\r  {percent:3d} %  {path}", end="\r", file=sys.stderr, flush=True)


def _quiet(one: ModelProgress) -> None:
    """With --json the lines stay away."""


def _tell_nobody(words: ManifestProgress) -> None:
    """No site was asked, or only some files were looked at: what it knows of the rest must not be lost."""


def _ended(why: object, code: int) -> int:
    print(f"gpu_agent models: {why}", file=sys.stderr)
    return code
