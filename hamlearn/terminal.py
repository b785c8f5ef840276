"""Posts are data: what they bring to a terminal or a log is shown, and never acted on."""

import logging
import re

# Control characters but for TAB and newline, and marks that turn the direction of writing.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Return a text whose control characters are spelled out, as `\x1b`."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class OneLine(logging.Formatter):
    """Formats a record as one line that cannot be taken for two, or for a command."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return printable(super().formatMessage(record)).replace("\n", "\\n")
