"""Which methods and targets the server's parser takes. Whatever the configuration says, any other is a 400."""

import asyncio
from contextlib import closing
from typing import Final

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.http_parser import HttpRequestParser

LIMIT: Final = 2**16


def is_parsed(method: str, target: str = "/") -> bool:
    """Ask the parser: its list is in its machine code, and grows with aiohttp."""
    line = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with closing(asyncio.new_event_loop()) as loop:
        parser = HttpRequestParser(BaseProtocol(loop), loop, LIMIT, max_line_size=len(line))
        try:
            parser.feed_data(line.encode("utf-8", "surrogateescape"))
        except (BadHttpMessage, IndexError):  # the latter is yarl's, at http://[::1]@
            return False
    return True
