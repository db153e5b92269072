"""TCP ports of this machine: which are free, and who holds one that is not."""

import contextlib
import socket
from pathlib import Path

LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp


def is_free(address: str, port: int) -> bool:
    with socket.socket(_family(address)) as probe:
        # As servers do: connections of an earlier run that still linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket(_family(address)) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def holder(port: int) -> str:
    """Who listens on a port, in words; a general answer where the system doesn't tell."""
    inodes = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*"):
        if inodes & _socket_inodes(process):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            return f"process {process.name} ({command[:120]})"
    return "another program"


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for row in table.read_text().splitlines()[1:]:
            columns = row.split()
            if columns[3] == LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(columns[9])
    return inodes


def _socket_inodes(process: Path) -> set[str]:
    inodes = set()
    try:
        for descriptor in (process / "fd").iterdir():
            # One that was closed while we looked says nothing about the others.
            with contextlib.suppress(FileNotFoundError):
                link = str(descriptor.readlink())
                if link.startswith("socket:["):
                    inodes.add(link[8:-1])
    except OSError:  # ended meanwhile, or somebody else's
        return set()
    return inodes
