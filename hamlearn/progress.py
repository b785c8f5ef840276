"""How far a long stage is."""

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
log = logging.getLogger(__name__)


def tracked(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Show progress: a bar on a terminal, else a line in the log at every tenth."""
    if sys.stderr.isatty():
        yield from track(items, what, total, console=Console(stderr=True))
        return
    for number, item in enumerate(items, start=1):
        yield item
        if number * 10 // total > (number - 1) * 10 // total:
            log.info("%s: %d of %d", what, number, total)
