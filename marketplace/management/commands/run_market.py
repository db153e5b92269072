"""The market loop as a process: `manage.py run_market`. Several may run; one leads."""

import os
import signal
import socket
from typing import Any

from django.core.management.base import BaseCommand

from marketplace.loop.market_loop import MarketLoop


class Command(BaseCommand):
    help = "Run the market loop: dispatch, leases, allowances, chores. Stops on SIGINT or SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        loop = MarketLoop(f"{socket.gethostname()[:40]}:{os.getpid()}")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: loop.stop())
        loop.run()
