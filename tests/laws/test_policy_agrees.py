"""The policy and the upstream never read a path in two ways to the policy's loss (laws 10 and 19): a property.

Random paths, mutilated in every way that servers disagree on, go through a whole proxy to a server that keeps the
bytes it hears. Those bytes are then read as honest servers read them, and each reading is judged by a matcher of
this file's own. What was forwarded must be allowed as read by each; what was refused must be denied as read by one;
and a path without any doubt is decided as it is written.

The same examples each time. EXAMPLES=20000 asks for others, and as many.
"""

import os
import posixpath
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import pytest
import pytest_asyncio
from aiohttp import web
from conftest import api_key_houses
from hypothesis import example, given, note, settings
from hypothesis import strategies as st
from rig import House
from wire import Message, ScriptedUpstream, answering, caller, converse, upstream

MANY_READINGS: Final = 40
"""A path with fewer is not refused for having too many."""

EXAMPLES: Final = int(os.environ.get("EXAMPLES") or 0)
MANY: Final = settings(deadline=None, derandomize=not EXAMPLES, max_examples=EXAMPLES or 200)

# The rules, in the words of a configuration: what is closed for all, then each client's own.

FOR_ALL: Final = (
    (["deny /oauth2/**"], "allow"),
    (
        [
            "deny /public/*/members/*/token",
            "deny /public/*/webhook-subscriptions/*/shared-key",
            "deny /public/*/workspaces/*/api-keys",
        ],
        "allow",
    ),
)
CLIENTS: Final = {
    "no-send": (["deny POST /public/v1/documents/*/send", "deny GET /secret/**"], "allow"),
    "reader": (["allow GET /public/v1/documents/**"], "deny"),
    "both": (
        [
            "allow GET /public/v1/documents/public",
            "deny /public/v1/documents/*/send",
            "allow GET,POST /public/v1/documents/**",
            "allow /public/v1/templates/*",
        ],
        "deny",
    ),
}
KEYS: Final = {name: f"the key of client {name}".replace(" ", "-") for name in CLIENTS}


def words(path: str) -> list[str]:
    """Return a path's segments; empty ones say nothing."""
    return [word for word in path.split("/") if word]


def fits(rule: str, method: str, path: str) -> bool:
    """Tell whether a rule means a request: segment by segment, * for any one, ** for all that follow."""
    *methods, pattern = rule.split(" ")[1:]
    if methods and {"HEAD": "GET"}.get(method, method) not in methods[0].split(","):
        return False
    wanted, found = words(pattern), words(path)
    if wanted[-1] == "**":
        wanted = wanted[:-1]
        found = found[: len(wanted)]
    return len(wanted) == len(found) and all(one in {"*", two} for one, two in zip(wanted, found, strict=True))


def allowed(client: str, method: str, path: str) -> bool:
    """Judge a request: in each set of rules the first that fits decides, and all sets must agree."""
    return all(
        next((rule for rule in rules if fits(rule, method, path)), otherwise).startswith("allow")
        for rules, otherwise in (*FOR_ALL, CLIENTS[client])
    )


# What servers make of a path. Each takes a text and returns another.

OVERLONG: Final = re.compile(
    "[\xc0\xc1][\x80-\xbf]|\xe0[\x80\x81][\x80-\xbf]|\xf0\x80[\x80\x81][\x80-\xbf]"
    "|\xf8\x80{2}[\x80\x81][\x80-\xbf]|\xfc\x80{3}[\x80\x81][\x80-\xbf]"
)


CONTROLS: Final = "".join(map(chr, range(0x21)))
"""What the URL standard calls C0 control or space."""

SPACES: Final = [mark for mark in map(chr, range(0x10000)) if mark.isspace() or mark == "\ufeff"]
IN_UTF_8: Final = [mark.encode().decode("latin-1") for mark in (*SPACES, *map(chr, range(0x7F, 0xA0)))]
BLANKS: Final = "|".join(map(re.escape, sorted({*CONTROLS, *SPACES, *IN_UTF_8}, key=len, reverse=True)))
"""Matches what somebody takes for blank, the longest first."""

AROUND: Final = re.compile(f"(?<![^/])(?:{BLANKS})+|(?:{BLANKS})+(?![^/])")


def decoded(path: str) -> str:
    return unquote(path, encoding="latin-1")


def decoded_but_slashes(path: str) -> str:
    """Leave an encoded slash, as part of a name."""
    return "%2f".join(decoded(part) for part in re.split("%2[fF]", path))


def decoded_where_needless(path: str) -> str:
    """Decode what needs no code (RFC 3986 §6.2.2.2)."""
    return re.sub("%[2-7][0-9A-Fa-f]", lambda code: re.sub("[^A-Za-z0-9._~-]", code[0], decoded(code[0])), path)


def shortened(path: str) -> str:
    """Read overlong UTF-8, as decoders did that only add bits up."""
    return OVERLONG.sub(lambda found: chr((ord(found[0][-2]) << 6 | ord(found[0][-1]) & 63) & 127), path)


def with_slashes(path: str) -> str:
    return path.replace("\\", "/")


def merged(path: str) -> str:
    return re.sub("/+", "/", path)


def resolved(path: str) -> str:
    """Follow dot segments (RFC 3986 §5.2.4), each empty segment being one."""
    kept: list[str] = []
    for word in path.removeprefix("/").split("/"):
        if word == "..":
            kept = kept[:-1]
        elif word != ".":
            kept.append(word)
    return "/" + "/".join(kept)


def without_parameters(path: str) -> str:
    return re.sub(";[^/]*", "", path)


def trimmed(path: str) -> str:
    return AROUND.sub("", path)


def trimmed_at_its_end(path: str) -> str:
    """Trim as WHATWG's URL parser does, and Java."""
    return path.rstrip(CONTROLS)


def without_last_dots(path: str) -> str:
    """End each name as Windows does."""
    return "/".join(word.rstrip(".") or word for word in path.split("/"))


def decoded_as_javascript_writes(path: str) -> str:
    return re.sub("%u([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), path, flags=re.IGNORECASE)


def without_nuls(path: str) -> str:
    return path.replace("\0", "")


def without_breaks(path: str) -> str:
    """Drop what WHATWG's URL parser drops."""
    return re.sub("[\t\r\n]", "", path)


def without_format(path: str) -> str:
    """Take `.json` from the last name, as frameworks do that answer in several formats; Rails calls anything one."""
    return re.sub(r"([^/.])\.[^/.]+(/*)\Z", r"\1\2", path)


def without_authority(path: str) -> str:
    """Take `//host/path` for a reference with an authority (RFC 3986 §4.2)."""
    if not path.startswith("//"):
        return path
    return "/" + path.lstrip("/").partition("/")[2]


def up_to(mark: str) -> Callable[[str], str]:
    return lambda path: path.split(mark, 1)[0]


QUIRKS: Final = (
    decoded,
    decoded_but_slashes,
    decoded_where_needless,
    shortened,
    with_slashes,
    merged,
    resolved,
    without_parameters,
    trimmed,
    trimmed_at_its_end,
    without_last_dots,
    decoded_as_javascript_writes,
    without_nuls,
    without_breaks,
    without_format,
    without_authority,
    up_to("\0"),
    up_to("?"),
    up_to("#"),
    up_to(" "),
    up_to("\r"),
    up_to("\n"),
)

# Honest servers, each told by the library that it is built on where there is one.


def django(raw: str) -> str:
    """Take the path to the letter, decoded once, as WSGI hands it over."""
    return unquote(raw)


def nginx(raw: str) -> str:
    """Decode once, merge slashes, follow dots."""
    return posixpath.normpath(re.sub("/+", "/", unquote(raw)))


def tomcat(raw: str) -> str:
    """Take parameters away before anything else."""
    return nginx(re.sub(";[^/]*", "", raw))


def nginx_before_tomcat(raw: str) -> str:
    return tomcat(quote(nginx(raw), safe="/;=:@&+$,!*'()"))


def nginx_before_nginx(raw: str) -> str:
    """Decode twice, because the first one passes on what it has decoded."""
    return nginx(nginx(raw))


def envoy(raw: str) -> str:
    """Follow dots, and leave encoded slashes encoded."""
    return posixpath.normpath(re.sub("/+", "/", decoded_but_slashes(raw)))


def iis(raw: str) -> str:
    """Take codes of four digits, overlong forms, backslashes; case says nothing, nor a dot or space at a name's end."""
    path = posixpath.normpath(with_slashes(shortened(decoded(decoded_as_javascript_writes(raw))))).lower()
    return "/".join(word.rstrip(". ") for word in path.split("/"))


def rails(raw: str) -> str:
    """Take what follows the last dot for a format, whatever it is."""
    name, dot, format_ = nginx(raw).rpartition(".")
    return name if dot and format_ and "/" not in format_ else nginx(raw)


def case_says_nothing(raw: str) -> str:
    return django(raw).lower()


def one_in_c(raw: str) -> str:
    return nginx(raw.split("%00", 1)[0])


def one_that_drops_nuls(raw: str) -> str:
    return nginx(raw.replace("%00", ""))


def one_that_writes_another_request(raw: str) -> str:
    """Write what it has decoded into a request line, which is split again."""
    return f"GET {unquote(raw)} HTTP/1.1\r\n".split("\r\n")[0].split(" ")[1]


def one_that_asks_on(raw: str) -> str:
    """Put what it has decoded into another URL, which is parsed again."""
    return urlsplit("http://within.example" + unquote(raw)).path


def one_that_asks_on_in_javascript(raw: str) -> str:
    """Do so by WHATWG's parser: it trims the whole."""
    return one_that_asks_on(trimmed_at_its_end(unquote(raw)).replace("%", "%25"))


def path_of_url(raw: str) -> str:
    """Return a URL's path; all of what is none (`//[`), which is refused."""
    try:
        return urlsplit(raw).path
    except ValueError:
        return raw


def one_that_parses_a_url(raw: str) -> str:
    """Take the target for a URL, as much web code does. What it has no route for does no harm."""
    path = path_of_url(raw)
    return path if words(path)[:1] in (["public"], ["oauth2"], ["secret"]) else raw


def one_that_parses_a_url_and_tidies_its_path(raw: str) -> str:
    """Resolve what is left of it, as nginx and posixpath do: after slashes are merged."""
    path = resolved(merged(path_of_url(raw)))
    return path if words(path)[:1] in (["public"], ["oauth2"], ["secret"]) else raw


SERVERS: Final = (
    one_that_parses_a_url_and_tidies_its_path,
    django,
    nginx,
    tomcat,
    nginx_before_tomcat,
    nginx_before_nginx,
    envoy,
    rails,
    iis,
    case_says_nothing,
    one_in_c,
    one_that_drops_nuls,
    one_that_writes_another_request,
    one_that_asks_on,
    one_that_asks_on_in_javascript,
    one_that_parses_a_url,
)


def every_reading(raw: str) -> Iterator[str]:
    """Yield what any row of servers, each with any quirks, may make of a path; and that without letter case."""
    seen, waiting = {raw}, [raw]
    honest = re.match("//+public/v1(?:/|\\Z)", raw) is not None  # a base URL that ends in a slash
    while waiting:
        path = waiting.pop()
        if not (honest and words(path)[:1] == ["v1"]):  # nobody's
            yield path
            yield path.lower()
        new = {quirk(path) for quirk in QUIRKS} - seen
        seen |= new
        waiting += new


# Requests: what the rules are about, with something of the path written in another way; and anything.

WANTED: Final = (
    ("no-send", "POST", "/public/v1/documents/1/send"),
    ("no-send", "POST", "/public/v1/members/1/token"),
    ("no-send", "POST", "/oauth2/access_token"),
    ("no-send", "HEAD", "/secret/1"),
    ("both", "GET", "/public/v1/documents/1/send"),
    ("both", "POST", "/public/v1/workspaces/1/api-keys"),
    ("both", "DELETE", "/public/v1/templates/1"),
    ("reader", "GET", "/public/v1/documents/1"),
    ("reader", "GET", "/public/v1/documents/../templates"),
    ("reader", "GET", "/public/v1/documents/1/../../templates"),
)
"""Most of them are denied."""

SLASHES: Final = (
    *("/", "//", "/./", "/%2e/", "/.%2e/", "/;x/", "/x/../", "/x/%2e%2e/", "/x//../", "/x/..;y/", "/x/%252e%252e/"),
    *(
        "%2f",
        "%2F",
        "%252f",
        "%5c",
        "%255c",
        "%c0%af",
        "%e0%80%af",
        "%f8%80%80%80%af",
        "%c1%9c",
        "%u002f",
        "%25u005C",
        "/x%2f../",
        "/x%5c..%5c",
        "/%20/",
    ),
)
ENDS: Final = (
    *("%23", "%20", "%00", "%3f", ";x", "%3bx", ";x%3fy", "%3bx%3fy", ".", "/", "/.", "/x/..", "%0a", "?x"),
    *("%01", "%c2%a0"),
)
ENDS_TWICE: Final = (
    "%2523",
    "%2520",
    "%2500",
    "%253f",
    "%253bx",
    "%252e",
    "%250a",
    "%23/x",
    "%00.json",
    ".json",
    "%20HTTP/1.1",
    ".x-1",
    ".x%00",
)
VISIBLE: Final = "".join(each for each in map(chr, range(0x21, 0x7F)) if each not in "#\\")


def letters(letter: str) -> tuple[str, ...]:
    """Return ways to write a letter or a dot; an overlong one is of two bytes."""
    code = f"{ord(letter):02x}"
    overlong = f"%{0xC0 | ord(letter) >> 6:x}%{0x80 | ord(letter) & 0x3F:x}"
    return (
        f"%{code}",
        f"%25{code.upper()}",
        f"%2525{code}",
        letter.upper(),
        overlong,
        f"{letter}%0a",
        f"{letter}.",
        f"%u{ord(letter):04x}",
        f"{letter}%00",
    )


@st.composite
def disguised(draw: st.DrawFn) -> tuple[str, str, str]:
    """Write up to three places of a wanted request's path in another way."""
    client, method, path = draw(st.sampled_from(WANTED))
    marks = list(path)
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(marks) - 1))
        mark = marks[place]
        if mark == "/":
            marks[place] = draw(st.sampled_from(SLASHES))
        elif len(mark) == 1:
            marks[place] = draw(st.sampled_from(letters(mark)))
    end = draw(st.sampled_from(("", *ENDS, *ENDS_TWICE)))
    target = "".join(marks) + end
    return client, method, target if target.startswith("/") else f"/{target}"


PIECES: Final = (*SLASHES, *ENDS, *ENDS_TWICE, "%", "%zz", "%u002f", "public", "v1", "x", "documents", "send", "oauth2")
MIXED: Final = st.lists(st.sampled_from(PIECES), max_size=10).map("".join)
PATHS: Final = st.one_of(
    st.sampled_from([path for _, _, path in WANTED]),
    MIXED.map("/public/v1/documents/".__add__),
    MIXED.map("/".__add__),
    st.text(VISIBLE, max_size=20).map("/".__add__),
)
METHODS: Final = st.sampled_from(("GET", "POST", "HEAD", "DELETE", "PUT"))
REQUESTS: Final = st.one_of(
    disguised(), disguised(), disguised(), st.tuples(st.sampled_from(sorted(CLIENTS)), METHODS, PATHS)
)


@dataclass
class Street:
    """A proxy, the server behind it, and an application that is shown what the server heard."""

    house: House
    up: ScriptedUpstream
    application: int  # its port

    async def ask(self, client: str, method: str, target: str) -> tuple[Message, list[Message]]:
        """Send a request through the proxy; return its answer and what went up."""
        self.up.heard.clear()
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nX-Proxy-Key: {KEYS[client]}\r\n"
        body = "" if method in {"GET", "HEAD"} else "Content-Length: 0\r\n"
        async with caller(self.house.port) as line:
            await line.send(f"{head}{body}\r\n".encode())
            answer = await line.answer(bodiless=True)
        return answer, list(self.up.heard)

    async def as_an_application_reads(self, heard: Message) -> str | None:
        """Return the path as aiohttp's own server tells it to an application; None if it takes no such request."""
        answer = await converse(self.application, heard.head.replace(b"HEAD ", b"GET ", 1))
        return answer.body.decode() if answer.start.endswith(b" 200 OK") else None


async def echo(request: web.Request) -> web.Response:
    return web.Response(text=request.path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def street(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Street]:
    clients = {
        name: {
            "key": {"value": KEYS[name]},
            "policy": {"rules": [dict([rule.split(" ", 1)]) for rule in rules], "otherwise": otherwise},
        }
        for name, (rules, otherwise) in CLIENTS.items()
    }
    listener = {"bind": "127.0.0.1:0", "clients": clients, "health": None}
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(upstream(answering(b"HTTP/1.1 204 No Content\r\n\r\n")))
        make = api_key_houses(stack, tmp_path_factory.mktemp("street"))
        house = await make({"listeners": [listener], "upstream": {"url": up.url}})
        house.secrets |= set(KEYS.values())
        application = web.Application()
        application.router.add_route("*", "/{any:.*}", echo)
        runner = web.AppRunner(application)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Street(house, up, runner.addresses[0][1])


def denied(client: str, method: str, paths: Iterable[str]) -> list[str]:
    return [path for path in paths if not allowed(client, method, path)]


SURELY: Final = (
    ("no-send", "DELETE", "//["),  # no URL
    ("no-send", "POST", "/public/v1/documents/1%c1%9csend"),  # an overlong backslash
    ("no-send", "POST", "/public/v1/documents%3bx%3fy/1/send"),  # one server decodes, the next drops parameters
    ("no-send", "POST", "/a/..;x/public/v1/documents/..;/../1/send"),  # one follows dots, the next drops parameters
    ("no-send", "POST", "/public/v1/documents/a%20b/send%00"),  # one cuts at a NUL, and not at a space
    ("no-send", "POST", "/a%2fb/%2e%2e/public/v1/documents/1/send"),  # one leaves encoded slashes
    ("no-send", "POST", "/a%2fb/%2e%2e%3bx/public/v1/documents/1/send"),
    ("no-send", "POST", "/public/v1/documents/1/send%20HTTP/1.1%0d%0aX:"),
    ("no-send", "POST", "/public/v1/documents/1/send.json"),
    ("no-send", "POST", "/public/v1/documents/1/send.a-b"),
    ("no-send", "POST", "/public/v1/documents/1/se%0and"),
    ("no-send", "POST", "/public/v1/documents/1/se%00nd"),
    ("no-send", "POST", "/public/v1/documents/%00/se%0and"),  # one drops line breaks, and no NULs
    ("no-send", "POST", "/public/v1/documents/%09/se%00nd"),  # one drops NULs, and no blanks
    ("no-send", "POST", "/public/v1/documents/1/%u0073end"),
    ("no-send", "POST", "/public/v1/documents/1%25u002Fsend"),
    ("no-send", "POST", "/public/v1/documents/1/send%0ax"),
    ("no-send", "POST", "/public/v1/documents/1/send%0dx"),
    ("no-send", "POST", "/public/v1/documents/1/send%0b"),
    ("no-send", "POST", "/public/v1/documents/1/send%01"),
    ("no-send", "POST", "/public/v1/documents/1/send%7f"),
    ("no-send", "POST", "/public/v1/documents/1/send%c2%a0"),
    ("no-send", "POST", "/public/v1/documents/1/%e3%80%80send%2501"),
    ("no-send", "POST", "/public/v1/documents/%20/send%01"),  # one trims the end alone
    ("no-send", "POST", "/public/v1/workspaces/1/api-keys%01"),
    ("no-send", "POST", "/public/v1/documents/1/send%2500"),
    ("no-send", "POST", "/public/v1/documents/1/send%3fx"),
    ("no-send", "POST", "/public/v1/documents/1/send%23x"),
    ("reader", "GET", "/public/v1/documents//../templates"),
    ("no-send", "POST", "//x/public/v1/documents/1/send"),
    ("no-send", "POST", "///x/public/v1/members/1/token"),
    ("no-send", "POST", "/%2f@x/oauth2/access_token"),
    ("no-send", "GET", "//public/secret/1"),
    ("no-send", "POST", "//public/v1//../public/v1/documents/1/send"),
    ("no-send", "POST", "//public//v1/../public/v1/documents/1/send"),
    ("no-send", "POST", "//public/public/v1/documents/1/send"),
    ("reader", "GET", "//public/v1/documents/1"),
)
"""What is asked whatever chance brings. The first five came through once."""

Agrees = Callable[[Street, tuple[str, str, str]], Coroutine[Any, Any, None]]


def surely(test: Agrees) -> Agrees:
    for asked in SURELY:
        test = example(asked)(test)
    return test


@pytest.mark.asyncio(loop_scope="module")
@MANY
@given(asked=REQUESTS)
@surely
async def test_a_path_passes_only_if_it_is_allowed_however_it_is_read(
    street: Street, asked: tuple[str, str, str]
) -> None:
    """It goes up as it came; what is refused is denied as somebody reads it; a plain path is taken at its word."""
    client, method, target = asked
    note(f"{client}: {method} {target}")
    answer, heard = await street.ask(client, method, target)
    status, path = int(answer.start.split(b" ")[1]), target.partition("?")[0]
    assert [message.start for message in heard] == [f"{method} {target} HTTP/1.1".encode()] * (status == 204)
    if heard:
        told = await street.as_an_application_reads(heard[0])
        assert not denied(client, method, [server(path) for server in SERVERS])
        assert not denied(client, method, [] if told is None else [told])
        assert not denied(client, method, every_reading(path))
    elif status == 403:
        assert denied(client, method, every_reading(path))
    else:
        assert status == 400
        assert len(set(every_reading(path))) > MANY_READINGS
    if re.fullmatch("(/[a-z0-9-]+)+", path):
        assert allowed(client, method, path) == (status == 204)
