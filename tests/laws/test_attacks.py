"""Attacks on what lends a credential to whoever asks, byte for byte (laws 9, 10, 14 and 19).

What is refused is refused before anything goes up. What may pass goes up with nothing of the attack left in it.
The names of the rows begin with the kind of attack, as docs/security.md numbers them.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio
from conftest import HouseMaker, api_key_houses
from rig import House, until
from wire import Message, ScriptedUpstream, Stage, answering, caller, converse, upstream

NOTHING: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
"""An answer that fits every method."""

THEIRS: Final = b"theirs-and-not-for-logs"
"""What a caller brings along as a credential; it goes nowhere."""

NO_SEND, READER, OTHER = (word * 8 for word in (b"sendless", b"readonly", b"someelse"))
"""The keys of clients: one with a rule that denies, one with a rule that allows, one of another listener."""

OPEN, RULED, ELSEWHERE = 0, 1, 2
"""Listeners: for whoever comes, for the two clients with rules, for the other one."""

DOCUMENTS: Final = b"/public/v1/documents"
SETTINGS: Final[Mapping[str, Any]] = {
    "listeners": [
        {"bind": "127.0.0.1:0"},
        {
            "bind": "127.0.0.1:0",
            "clients": {
                "no-send": {
                    "key": {"value": NO_SEND.decode()},
                    "policy": {"rules": [{"deny": "POST /public/v1/documents/*/send"}, {"deny": "GET /secret/**"}]},
                },
                "reader": {
                    "key": {"value": READER.decode()},
                    "policy": {"rules": [{"allow": "GET /public/v1/documents/**"}], "otherwise": "deny"},
                },
            },
        },
        {"bind": "127.0.0.1:0", "clients": {"other": {"key": {"value": OTHER.decode()}}}},
    ]
}


def get(
    *lines: bytes,
    method: bytes = b"GET",
    target: bytes = b"/x",
    version: bytes = b"HTTP/1.1",
    host: bytes | None = b"localhost",
    body: bytes = b"",
) -> bytes:
    """Write a request as a caller sends it."""
    start = method + b" " + target + b" " + version
    hosts = [] if host is None else [b"Host: " + host]
    return b"\r\n".join([start, *hosts, *lines, b"", body])


def post(*lines: bytes, **more: Any) -> bytes:
    return get(*lines, method=b"POST", **more)


def chunked(body: bytes, *lines: bytes) -> bytes:
    return post(*lines, b"Transfer-Encoding: chunked", body=body)


SMUGGLED: Final = get(target=b"/smuggled")
UPGRADE: Final = (b"Connection: Upgrade", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")


@dataclass(frozen=True)
class Attack:
    """What is sent to which listener. `<OURS>` stands for the credential that is lent."""

    sent: bytes
    status: int
    listener: int = OPEN


def refused(kind: str, status: int, rows: Mapping[str, bytes], listener: int = OPEN) -> dict[str, Attack]:
    return {f"{kind} {name}": Attack(sent, status, listener) for name, sent in rows.items()}


def shown(*texts: bytes) -> dict[str, bytes]:
    """Name rows after what is special in them."""
    return {ascii(text)[2:-1][:70]: text for text in texts}


def each(texts: bytes) -> dict[str, bytes]:
    """Name rows after themselves; white space parts them."""
    return shown(*texts.split())


FOREIGN_HOSTS = each(
    b"""
    evil.example evil.example:8080 localhost.evil.example 127.0.0.1.nip.io x.localhost .localhost 0.0.0.0
    0.0.0.0:8080 0 [::] [::]:8080 [0:0:0:0:0:0:0:0] [::ffff:0.0.0.0] [::ffff:127.0.0.1] 127.1 2130706433 0x7f.1
    0x7f000001 0177.0.0.1 127.000.000.001 [fe80::1%25lo] [::1%25lo] [::1 [::1]x ::1 user@localhost
    user:password@127.0.0.1:8080 evil.example@localhost localhost@evil.example localhost/x localhost?x localhost#x
    localhost, localhost;x localhost:80:80 localhost:-1 localhost:http localhost%00.evil.example %6cocalhost
    """
) | shown(
    b"",
    b"localhost\\",
    b"localhost, evil.example",
    b"loc\xc3\xa1lhost",
)

REBINDING = refused("A1 Host", 421, {name: get(host=host) for name, host in FOREIGN_HOSTS.items()})
REBINDING |= refused(
    "A1",
    421,
    {
        "a good name beside it": get(b"X-Forwarded-Host: localhost", host=b"evil.example"),
        "an absolute target of another's, a Host of ours": get(target=b"http://evil.example/x"),
        "an absolute target of ours, a Host of another's": get(target=b"http://localhost/x", host=b"evil.example"),
        "HTTP/1.0": get(host=b"evil.example", version=b"HTTP/1.0"),
    },
)
REBINDING |= refused(
    "A1",
    400,
    {
        "no Host": get(host=None),
        "no Host in HTTP/1.0": get(host=None, version=b"HTTP/1.0"),
        "no Host but an absolute target of ours": get(host=None, target=b"http://localhost/x", version=b"HTTP/1.0"),
        "two Hosts": get(b"Host: evil.example"),
        "two Hosts alike": get(b"Host: localhost"),
        "two Hosts in two cases": get(b"hOST: localhost", host=b"evil.example"),
        "a folded Host": get(b" .evil.example"),
        "a NUL in Host": get(host=b"localhost\0.evil.example"),
    },
)

MARKS = shown(
    b"Origin: null",
    b"Origin:",
    b"Origin: https://evil.example",
    b"Origin: http://localhost",
    b"Origin: http://localhost:8080",
    b"Origin: https://app.pandadoc.com",
    b"oRIGIN: x",
    b"Origin: http://localhost\r\nOrigin: http://localhost",
    b"Sec-Fetch-Site: cross-site",
    b"Sec-Fetch-Site: same-site",
    b"Sec-Fetch-Site: same-origin",
    b"sec-fetch-site: CROSS-SITE",
    b"Sec-Fetch-Site: garbage",
    b"Sec-Fetch-Site:",
    b"Sec-Fetch-Site: none, cross-site",
    b"Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site",
    b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image",
    b"Sec-Fetch-Site: none\r\nSec-Purpose: prefetch",
    b"Sec-Fetch-Site: none\r\nService-Worker-Navigation-Preload: true",
)

PAGES = refused("A2", 403, {name: get(mark) for name, mark in MARKS.items()})
PAGES |= refused(
    "A2",
    403,
    {
        "a form": post(
            b"Origin: null",
            b"Sec-Fetch-Site: cross-site",
            b"Content-Type: application/x-www-form-urlencoded",
            b"Content-Length: 3",
            body=b"a=b",
        ),
        "JSON that needs no leave": post(
            b"Origin: https://evil.example", b"Content-Type: text/plain", b"Content-Length: 2", body=b"{}"
        ),
        "a delete": get(b"Origin: null", method=b"DELETE", target=DOCUMENTS + b"/1"),
        "a request in the body": post(b"Origin: null", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
    },
)
PAGES |= refused(
    "A3",
    403,
    {
        "a preflight": get(
            b"Origin: https://evil.example",
            b"Access-Control-Request-Method: DELETE",
            b"Access-Control-Request-Headers: x-proxy-key",
            method=b"OPTIONS",
        ),
        "a preflight to a private network": get(
            b"Origin: https://evil.example",
            b"Access-Control-Request-Method: GET",
            b"Access-Control-Request-Private-Network: true",
            b"Access-Control-Request-Local-Network: true",
            method=b"OPTIONS",
        ),
    },
)

KEYS = refused(
    "A4",
    403,
    {
        "a wrong key": get(b"X-Proxy-Key: 0123456789abcdef0123456789abcdef"),
        "an empty key": get(b"X-Proxy-Key:"),
        "an empty Authorization": get(b"Authorization:"),
        "an empty Bearer": get(b"Authorization: Bearer"),
        "an empty Bearer with its space": get(b"Authorization: Bearer "),
        "Basic": get(b"Authorization: Basic " + NO_SEND),
        "another scheme": get(b"Authorization: Token " + NO_SEND),
        "no scheme": get(b"Authorization: " + NO_SEND),
        "a tab behind the scheme": get(b"Authorization: Bearer\t" + NO_SEND),
        "another listener's key": get(b"X-Proxy-Key: " + OTHER),
        "another listener's key as Bearer": get(b"Authorization: Bearer " + OTHER),
        "PandaDoc's key": get(b"Authorization: API-Key <OURS>"),
        "PandaDoc's key as ours": get(b"X-Proxy-Key: <OURS>"),
        "the placeholder's token": get(b"Authorization: Bearer lent-by-pandadoc-proxy"),
        "a key and more": get(b"X-Proxy-Key: " + NO_SEND + b"x"),
        "more and a key": get(b"X-Proxy-Key: x" + NO_SEND),
        "a key but its end": get(b"X-Proxy-Key: " + NO_SEND[:-1]),
        "a key in capitals": get(b"X-Proxy-Key: " + NO_SEND.upper()),
        "a key in quotes": get(b'X-Proxy-Key: "' + NO_SEND + b'"'),
        "a key with an encoded NUL": get(b"X-Proxy-Key: " + NO_SEND + b"%00"),
        "two keys in a line": get(b"X-Proxy-Key: " + NO_SEND + b", " + READER),
        "two keys in two lines": get(b"X-Proxy-Key: " + NO_SEND, b"X-Proxy-Key: " + READER),
        "a key twice": get(b"X-Proxy-Key: " + NO_SEND, b"X-Proxy-Key: " + NO_SEND),
        "a key twice in two spellings": get(b"X-Proxy-Key: " + NO_SEND, b"x_proxy_key: " + NO_SEND),
        "a key twice in two places": get(b"Authorization: Bearer " + NO_SEND, b"X-Proxy-Key: " + NO_SEND),
        "a key twice in Authorization": get(*[b"Authorization: Bearer " + NO_SEND] * 2),
        "a key beside Basic": get(b"Authorization: Basic eDp5", b"X-Proxy-Key: " + NO_SEND),
        "a key beside another key": get(b"Authorization: API-Key <OURS>", b"X-Proxy-Key: " + NO_SEND),
        "a key in Proxy-Authorization": get(b"Proxy-Authorization: Bearer " + NO_SEND),
        "a key in API-Key": get(b"API-Key: " + NO_SEND),
        "a key in a cookie": get(b"Cookie: X-Proxy-Key=" + NO_SEND),
        "a key in the query": get(target=b"/x?access_token=" + NO_SEND),
    },
    RULED,
)
KEYS |= refused(
    "A5",
    403,
    {
        "a fetcher of URLs has no key": get(),
        "nor does one that posts": post(b"Content-Length: 2", b"Content-Type: application/json", body=b"{}"),
        "nor an HTTP/1.0 one": get(version=b"HTTP/1.0"),
    },
    RULED,
)

FOREIGN_TARGETS = each(
    b"""
    http://evil.example/x HTTPS://EVIL.EXAMPLE/x http://evil.example http://user@localhost/x
    http://localhost@evil.example/x http://localhost:80@evil.example/x http://evil.example@localhost/x
    http://localhost%2f@evil.example/x http://localhost?@evil.example/x http://localhost.evil.example/x
    http://%6cocalhost/x http://0.0.0.0/x http://[::]/x http://127.1/x http://2130706433/x
    http://xn--a/x http://XN--ZZ:80/x https://localhost.xn--a/x
    """
)
NO_TARGETS = each(
    b"""
    http:/evil.example/x http:evil.example/x http:///x http://localhost http://localhost#@evil.example/x
    http://[::1/x http://localhost:99999/x ftp://localhost/x file:///etc/passwd ws://localhost/x javascript:x
    http://[::1]@ evil.example:443 evil.example/x @evil.example/x .evil.example/x * ?x %2fx /x#fragment /x#
    """
) | shown(
    b"http://localhost\\@evil.example/x",
    b"\\\\evil.example\\x",
    b"/\\evil.example/x",
    b"/a\\..\\b",
    b"/caf\xc3\xa9",
    b"/caf\xe9",
    b"/a\x01b",
    b"/a\0b",
    b"/a\tb",
    b"/a\rb",
    b"/a\x0bb",
    b"/a\x7fb",
    b"/a b",
    b"/a /b",
)

FORGERY = refused("A6", 421, {name: get(target=target) for name, target in FOREIGN_TARGETS.items()})
FORGERY |= refused("A6", 400, {name: get(target=target) for name, target in NO_TARGETS.items()})
FORGERY |= refused("A6 OPTIONS", 400, {"*": get(method=b"OPTIONS", target=b"*")})
FORGERY |= refused(
    "A6",
    405,
    {
        "CONNECT": get(method=b"CONNECT", target=b"evil.example:443", host=b"evil.example:443"),
        "CONNECT to PandaDoc": get(method=b"CONNECT", target=b"api.pandadoc.com:443"),
        "CONNECT to us": get(method=b"CONNECT", target=b"localhost:8080"),
        "CONNECT in HTTP/1.0": get(method=b"CONNECT", target=b"evil.example:25", host=None, version=b"HTTP/1.0"),
        "CONNECT and a request in the tunnel": get(method=b"CONNECT", target=b"localhost:80", body=SMUGGLED),
        "CONNECT with a path": get(method=b"CONNECT"),
        "TRACE": get(method=b"TRACE"),
        "TRACE that goes no further": get(b"Max-Forwards: 0", method=b"TRACE"),
    },
)

BAD_FIELDS = shown(
    b"Authorization : Bearer " + THEIRS,
    b"Authorization\t: Bearer " + THEIRS,
    b" Authorization: Bearer " + THEIRS,
    b"X: y\r\n Authorization: Bearer " + THEIRS,
    b"Authorization: Bearer\r\n " + THEIRS,
    b"Authorization: Bearer\0" + THEIRS,
    b"Authorization: Bearer\x0b" + THEIRS,
    b"Authorization\0: Bearer " + THEIRS,
    b"Authorization;: Bearer " + THEIRS,
    b"X: y\rAuthorization: Bearer " + THEIRS,
    b"X: y\nAuthorization: Bearer " + THEIRS,
    b"X: a\x07b",
    b"X: a\x7fb",
    b"X Y: z",
    b"X(Y): z",
    b"X/Y: z",
    b"\xc3\xa9: z",
    b": z",
    b"X",
    b"Expect: 200-ok",
    b"Expect:",
    b"Expect: 100-continue, 100-continue",
)

OVERRIDES = refused("A7", 400, {name: get(line) for name, line in BAD_FIELDS.items()})
OVERRIDES |= refused(
    "A7",
    403,
    {
        "a WebSocket": get(*UPGRADE, b"Upgrade: websocket"),
        "a WebSocket in another case": get(*UPGRADE, b"uPGRADE: WebSocket"),
        "a WebSocket in a second line": get(*UPGRADE, b"Upgrade: h2c", b"Upgrade: websocket"),
        "a WebSocket or another protocol": get(*UPGRADE, b"Upgrade: websocket, h2c"),
        "another protocol or a WebSocket": get(*UPGRADE, b"Upgrade: h2c,WebSocket"),
        "a version of WebSocket": get(*UPGRADE, b"Upgrade: websocket/13"),
        "a WebSocket that no Connection announces": get(b"Upgrade: websocket"),
        "a WebSocket in HTTP/1.0": get(*UPGRADE, b"Upgrade: websocket", version=b"HTTP/1.0"),
    },
)
OVERRIDES |= refused(
    "A7 the method",
    400,
    {name: get(method=method) for name, method in shown(b"get", b"TRACK", b"PRI", b"G@T", b"", b"GET\0").items()},
)

SENDING = each(
    b"""
    /1/send /1/send/ /1/send?x /1//send //1/send /1/./send /1/%2e/send /1/x/../send /1/x/%2e%2e/send
    /1/x/%2E%2e/send /1/x/.%2e/send /x/%252e%252e/1/send /1/x//../send /../documents/1/send /1/send/. /1/send/x/..
    /1%2fsend /1%2Fsend /1%252fsend /1%25252fsend /1%5csend /1%255csend /x%5c..%5c1/send /1/%73end /1/%73%65%6e%64
    /1/%2573end /1/%252573end /1/SEND /1/S%45nd /1/send;x=y /1;x/send /1/;/send /1/;x/send /1/x/..;/send /1/send%3bx
    /1/send%253bx /1/send%00 /1/send%00.json /1/send%2500 /1/send%3f /1/send%3fx /1/send%253f /1/send%23
    /1/send%2523 /1/send%0a /1/send%0d%0a /1/se%0and /1/se%09nd /1/send%250a /1/send%20 /1/%20send /1/send%0b
    /1/send%a0 /1/%c1%b3end /1%c1%9csend /1%f8%80%80%80%afsend /1%20x/send%00 /1/send%0ax /1/send%0dx /1/send.json
    /1/send%20HTTP/1.1%0d%0aX: /1/send. /1/send%2e /1%c0%afsend /1%e0%80%afsend /1%f0%80%80%afsend
    /x/%c0%ae%c0%ae/1/send
    """
)
SENDING_FROM_THE_ROOT = each(
    b"""
    /PUBLIC/v1/documents/1/send //public/v1/documents/1/send /./public/v1/documents/1/send
    /x/../public/v1/documents/1/send /..;/public/v1/documents/1/send /%2e%2e/public/v1/documents/1/send
    /public%2fv1%2fdocuments%2f1%2fsend /%70ublic/v1/documents/1/send /public/v1/documents%3bx%3fy/1/send
    /a/..;x/public/v1/documents/..;/../1/send /a%2fb/%2e%2e/public/v1/documents/1/send
    /a%2fb/%2e%2e%3bx/public/v1/documents/1/send http://localhost/public/v1/documents/1/send
    http://localhost:8080//public/v1/documents/1/%73end //x/public/v1/documents/1/send /%2fx/public/v1/documents/1/send
    ///u:p@x:1/public/v1/documents/1/send //public/public/v1/documents/1/send /x/..//y/public/v1/documents/1/send
    http://localhost//evil.example/public/v1/documents/1/send
    """
)
LEAVING = each(
    b"""
    /../templates /%2e%2e/templates /%2E%2e/templates /.%2e/templates /..%2ftemplates /%2e%2e%2ftemplates
    /..%5ctemplates /..;/templates /..;x=y/templates /%252e%252e/templates /%252e%252e%252ftemplates
    /%25252e%25252e/templates /1/../../templates /1%2f..%2f..%2ftemplates /1//../../templates /1;/../../templates
    /%c0%ae%c0%ae/templates /%e0%80%ae%e0%80%ae/templates /.%0a./templates /..%00/templates /..%20/templates
    /%20../templates /..%3f/templates /..%23/templates /..%c0%aftemplates /..%c1%9ctemplates
    /1%2f2/%2e%2e/%2e%2e/templates /.. /%2e%2e
    """
)
ELSEWHERE_ALTOGETHER = each(
    b"""
    / // /public/v1/templates /public/v1/templates?/public/v1/documents/1 /public/v1/document /public/v1/documentsx
    /public/v1/Documents/1 /public/v1/documents%3f/1/../../../../templates /public%3f/v1/documents/1
    /public/v1;/../templates /x/../public/v1/documents/../templates
    """
)
TO_SEND, TO_READ = b"X-Proxy-Key: " + NO_SEND, b"X-Proxy-Key: " + READER
EMPTY: Final = b"Content-Length: 0"

RULES = refused(
    "A8 deny", 403, {name: post(TO_SEND, EMPTY, target=DOCUMENTS + rest) for name, rest in SENDING.items()}, RULED
)
RULES |= refused(
    "A8 deny",
    403,
    {name: post(TO_SEND, EMPTY, target=target) for name, target in SENDING_FROM_THE_ROOT.items()},
    RULED,
)
RULES |= refused(
    "A8 allow", 403, {name: get(TO_READ, target=DOCUMENTS + rest) for name, rest in LEAVING.items()}, RULED
)
RULES |= refused(
    "A8 allow", 403, {name: get(TO_READ, target=target) for name, target in ELSEWHERE_ALTOGETHER.items()}, RULED
)
RULES |= refused(
    "A8 allow",
    403,
    {
        f"another method: {method.decode()}": get(TO_READ, EMPTY, method=method, target=DOCUMENTS)
        for method in (b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"QUERY", b"M-SEARCH")
    },
    RULED,
)
RULES |= refused(
    "A8 deny",
    403,
    {
        "HEAD for GET": get(TO_SEND, method=b"HEAD", target=b"/secret/x"),
        "HEAD for GET, encoded": get(TO_SEND, method=b"HEAD", target=b"/%73ecret/x"),
        "another method in a field": post(TO_SEND, EMPTY, b"X-HTTP-Method: GET", target=DOCUMENTS + b"/1/send"),
        "another path in a field": post(TO_SEND, EMPTY, b"X-Original-URL: /x", target=DOCUMENTS + b"/1/send"),
        "the other client's key beside its own": post(TO_SEND, TO_READ, EMPTY, target=DOCUMENTS + b"/1/send"),
    },
    RULED,
)
RULES |= refused(
    "A8",
    400,
    {
        "encoded two hundred times": post(TO_SEND, EMPTY, target=DOCUMENTS + b"/1/%" + b"25" * 200 + b"73end"),
        "a fragment": post(TO_SEND, EMPTY, target=DOCUMENTS + b"/1/send#x"),
        "a bare backslash": post(TO_SEND, EMPTY, target=DOCUMENTS + b"/1\\send"),
        "a method in another case": get(TO_SEND, EMPTY, method=b"post", target=DOCUMENTS + b"/1/send"),
    },
    RULED,
)

TOKEN_ENDPOINTS = each(
    b"""
    /oauth2/access_token /oauth2/access_token?grant_type=refresh_token /oauth2/access_token/ /oauth2/access_token/x
    /oauth2/access_token.json /oauth2/authorize /oauth2/revoke /oauth2/ /oauth2 //oauth2/access_token
    /oauth2//access_token /./oauth2/./access_token /x/../oauth2/access_token /x/%2e%2e/oauth2/access_token
    /public/v1/..%2f../oauth2/access_token /a%2fb/%2e%2e/oauth2/access_token /OAuth2/Access_Token
    /%6fauth2/access_token /%256Fauth2/access_token /%25256fauth2/access_token /oauth%32/access_token
    /oauth2%2faccess_token /oauth2%5caccess_token /oauth2;x/access_token /oauth2%3bx/access_token
    /oauth2/access_token;x /oauth2/access_token%00 /oauth2%00/access_token /oauth2/access_token%3f
    /oauth2%23/access_token /oauth2%20/access_token /%20oauth2/access_token /oau%0ath2/access_token
    /%c1%afauth2/access_token http://localhost/oauth2/access_token
    """
)
MINTS = {
    "a member's token": (b"POST", b"/public/v1/members/1/token"),
    "a member's token, encoded": (b"POST", b"/public/v1/members/1%2f%74oken"),
    "a member's token, in another version": (b"POST", b"/public/beta/members/1/token/"),
    "a member's token, with a parameter": (b"POST", b"/public/v1/members/1;x/token;y"),
    "a workspace's API keys": (b"POST", b"/public/v1/workspaces/1/api-keys"),
    "a workspace's API keys, in capitals": (b"POST", b"/public/v1/workspaces/1/API-KEYS"),
    "a workspace's API keys, by a detour": (b"POST", b"/public/v1/workspaces/1/x/../api-keys"),
    "a workspace's API keys, read": (b"GET", b"/public/v1/workspaces/1/api-keys"),
    "a webhook's shared key": (b"PATCH", b"/public/v1/webhook-subscriptions/1/shared-key"),
    "a webhook's shared key, encoded twice": (b"PATCH", b"/public/v1/webhook-subscriptions/1/%2573hared-key"),
}
FORM: Final = (b"Content-Type: application/x-www-form-urlencoded", b"Content-Length: 24")

CREDENTIALS = refused(
    "A9 POST",
    403,
    {name: post(*FORM, target=target, body=b"grant_type=refresh_token") for name, target in TOKEN_ENDPOINTS.items()},
)
CREDENTIALS |= refused(
    "A9 the token endpoint",
    403,
    {
        method.decode(): get(method=method, target=b"/oauth2/access_token")
        for method in (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"PATCH", b"DELETE", b"QUERY")
    },
)
CREDENTIALS |= refused(
    "A9", 403, {name: get(EMPTY, method=method, target=target) for name, (method, target) in MINTS.items()}
)
CREDENTIALS |= refused(
    "A9",
    403,
    {
        "for a client": post(TO_SEND, EMPTY, target=b"/oauth2/access_token"),
        "for a client, who may read": get(TO_READ, target=b"/public/v1/documents/..%2fworkspaces/1/api-keys"),
    },
    RULED,
)

SECRETS = refused(
    "A10",
    400,
    {
        "where the request line should be": b"Authorization: Bearer " + THEIRS + b"\r\n\r\n",
        "in the method": get(method=THEIRS),
        "in the version": get(version=THEIRS),
        "in a field without a colon": get(THEIRS),
        "beside a field without a colon": get(b"Authorization: Bearer " + THEIRS, b"X"),
        "in the query of no target": get(target=b"x?access_token=" + THEIRS),
    },
)
SECRETS |= refused(
    "A10",
    421,
    {
        "in Host": get(host=THEIRS + b"@localhost"),
        "in a target's userinfo": get(target=b"http://user:" + THEIRS + b"@localhost/x"),
        "beside a Host that is not ours": get(b"Authorization: Bearer " + THEIRS, host=b"evil.example"),
    },
)
SECRETS |= refused("A10", 405, {"in CONNECT's userinfo": get(method=b"CONNECT", target=THEIRS + b"@localhost:80")})
SECRETS |= refused("A10", 403, {"in Origin": get(b"Origin: https://" + THEIRS + b".example")})

EXCESS = refused(
    "A15",
    431,
    {
        "129 fields": get(*[b"X: y"] * 128),
        "a thousand fields": get(*[b"X: y"] * 1000),
        "a target of 70 KB": get(target=b"/" + b"x" * 70_000),
        "a value of 70 KB": get(b"X: " + b"y" * 70_000),
        "a name of 70 KB": get(b"X" * 70_000 + b": y"),
        "two values of 40 KB": get(*[b"X: " + b"y" * 40_000] * 2),
    },
)
EXCESS |= refused("A15", 400, {"a method of 70 KB": get(method=b"G" * 70_000)})

CODINGS = shown(
    b"xchunked",
    b"identity",
    b"gzip",
    b"gzip, chunked",
    b"chunked, identity",
    b"identity, chunked",
    b"chunked, chunked",
    b"chunked,",
    b", chunked",
    b"chunked;x=y",
    b"chunk ed",
    b'"chunked"',
    b"",
    b"\x0bchunked",
    b"chunked\x0b",
    b"chunked\0",
    b"chunked\r\n x",
    b"\r\n chunked",
    b"ch\xc3\xbcnked",
    b"chunked\r\nTransfer-Encoding: chunked",
    b"chunked\r\nTransfer-Encoding: identity",
    b"identity\r\nTransfer-Encoding: chunked",
    b"x\r\ntRANSFER-eNCODING: chunked",
)
LENGTHS = shown(
    b"+5",
    b"-5",
    b"5,5",
    b"5, 5",
    b"5,6",
    b"5 5",
    b"5.0",
    b"5e0",
    b"0x5",
    b"1_0",
    b"five",
    b"5;x",
    b'"5"',
    b"",
    b"\x0b5",
    b"5\0",
    b"\xd9\xa5",
    b"5\r\n 5",
    b"18446744073709551616",
    b"18446744073709551621",
    b"9" * 500,
    b"0" * 5000 + b"5",
    b"5\r\nContent-Length: 5",
    b"5\r\nContent-Length: 6",
    b"5\r\ncONTENT-lENGTH: 0",
)
CHUNKS = {
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a size with a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "a size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size with an underscore": b"1_0\r\nhellohellohello!\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "a space behind the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "a tab behind the size": b"5\t\r\nhello\r\n0\r\n\r\n",
    "two sizes": b"5 5\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "a size that is none": b"g\r\nhello\r\n0\r\n\r\n",
    "a line feed behind the size": b"5\nhello\r\n0\r\n\r\n",
    "a carriage return behind the size": b"5\rhello\r\n0\r\n\r\n",
    "a line feed behind the data": b"5\r\nhello\n0\r\n\r\n",
    "line feeds alone": b"5\nhello\n0\n\n",
    "nothing behind the data": b"5\r\nhello0\r\n\r\n",
    "more data than its size": b"5\r\nhelloXX\r\n0\r\n\r\n",
    "a line feed in an extension": b"5;x\nhello\r\n0\r\n\r\n",
    "a carriage return in an extension": b"5;x\ry\r\nhello\r\n0\r\n\r\n",
    "a NUL in an extension": b"5;x=\0\r\nhello\r\n0\r\n\r\n",
    "a line break in quotes": b'5;x="\r\n"\r\nhello\r\n0\r\n\r\n',
    "a length in the trailer": b"5\r\nhello\r\n0\r\nContent-Length: 40\r\n\r\n",
    "a coding in the trailer": b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a space before the colon in the trailer": b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    "a line feed in the trailer": b"5\r\nhello\r\n0\r\nX: y\n\r\n",
    "a request where the trailer should be": b"0\r\n" + SMUGGLED,
}
VERSIONS = each(
    b"""
    HTTP/0.9 HTTP/1.2 HTTP/1.10 HTTP/2.0 HTTP/3.0 HTTP/11.1 HTTP/01.1 HTTP/-1.1 HTTP/1,1 HTTP/1 HTTP/1.1x http/1.1
    Http/1.1 HTTPS/1.1 ICE/1.0
    """
) | shown(
    b"HTTP /1.1",
    b"HTTP/1.1 ",
    b"HTTP/1.1\r",
)

DESYNC = refused(
    "A17 Transfer-Encoding",
    400,
    {name: post(b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n" + SMUGGLED) for name, coding in CODINGS.items()},
)
DESYNC |= refused(
    "A17 Content-Length",
    400,
    {name: post(b"Content-Length: " + length, body=b"hello" + SMUGGLED) for name, length in LENGTHS.items()},
)
DESYNC |= refused("A17 chunks:", 400, {name: chunked(body + SMUGGLED) for name, body in CHUNKS.items()})
DESYNC |= refused("A17", 400, {name: get(version=version) for name, version in VERSIONS.items()})
DESYNC |= refused(
    "A17",
    400,
    {
        "CL.TE": chunked(b"0\r\n\r\n" + SMUGGLED, b"Content-Length: %d" % (5 + len(SMUGGLED))),
        "TE.CL": chunked(b"2b\r\n" + SMUGGLED + b"\r\n0\r\n\r\n", b"Content-Length: 4"),
        "CL.TE of nothing": chunked(b"0\r\n\r\n", b"Content-Length: 0"),
        "a coding in HTTP/1.0": post(b"Transfer-Encoding: chunked", version=b"HTTP/1.0", body=b"0\r\n\r\n" + SMUGGLED),
        "a space before a length's colon": post(b"Content-Length : 5", body=b"hello"),
        "a space before a coding's colon": post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
        "a coding behind a bare CR": post(b"X: y\rTransfer-Encoding: chunked", body=b"0\r\n\r\n"),
        "a coding behind a bare LF": post(b"X: y\nTransfer-Encoding: chunked", body=b"0\r\n\r\n"),
        "a coding that is folded into another field": post(b"X: y", b" Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        "a NUL behind a name": post(b"Content-Length\0: 5", body=b"hello"),
        "a folded field": get(b"X: a", b" b"),
        "a folded field with a tab": get(b"X: a", b"\tb"),
        "a first field that is folded": b"GET /x HTTP/1.1\r\n X: y\r\nHost: localhost\r\n\r\n",
        "bare LF everywhere": get().replace(b"\r\n", b"\n"),
        "bare LF behind the request line": get().replace(b"\r\n", b"\n", 1),
        "bare LF at the end": get()[:-2] + b"\n",
        "bare CR everywhere": get().replace(b"\r\n", b"\r") + b"\r\n\r\n",
        "bare CR in a value": get(b"X: a\rb"),
        "bare CR before the end": get()[:-2] + b"\rX: y\r\n\r\n",
        "HTTP/0.9": b"GET /x\r\n\r\n",
        "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        "SOCKS": b"\x05\x01\x00\r\n\r\n",
        "tabs in the request line": b"GET\t/x\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a space before the request line": b" " + get(),
        "a NUL before the request line": b"\0" + get(),
        "two targets": get(target=b"/x /y"),
        "a CR in the target": get(target=b"/x\rHost: evil.example"),
        "a length and what is no request behind it": post(b"Content-Length: 5", body=b"helloGARBAGE\r\n\r\n"),
        "a request behind the last one": get(b"Connection: close") + SMUGGLED,
    },
)
DESYNC |= refused("A17", 421, {"a request behind one that is refused": get(host=b"evil.example") + SMUGGLED})
DESYNC |= refused(
    "A17",
    403,
    {
        "a request in a body that is refused": post(
            b"Origin: null", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED
        ),
        "a request in a chunk that is refused": chunked(
            b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n", b"Origin: null"
        ),
    },
)

REFUSED: Final = {
    **REBINDING,
    **PAGES,
    **KEYS,
    **FORGERY,
    **OVERRIDES,
    **RULES,
    **CREDENTIALS,
    **SECRETS,
    **EXCESS,
    **DESYNC,
}


@asynccontextmanager
async def besieged(folder: Path) -> AsyncIterator[tuple[House, ScriptedUpstream]]:
    """Open a house with the three listeners before an upstream that answers everything."""
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(upstream(answering(NOTHING)))
        house = await api_key_houses(stack, folder)({**SETTINGS, "upstream": {"url": up.url}})
        house.secrets |= {secret.decode() for secret in (THEIRS, NO_SEND, READER, OTHER)}
        yield house, up


def port(house: House, listener: int) -> int:
    return int(house.proxy.urls[listener].rpartition(":")[2])


def ours(house: House, text: bytes) -> bytes:
    """Put the credential that is lent where a row names it."""
    return text.replace(b"<OURS>", house.environ["KEY"].encode())


def assert_ours(answer: Message, status: int) -> None:
    """Check that the proxy says itself what is wrong, and grants nobody anything."""
    assert answer.start.startswith(b"HTTP/1.1 %d " % status)
    assert answer.values(b"content-type") == [b"application/problem+json"]
    assert [value.partition(b"=")[0] for value in answer.values(b"proxy-status")] == [b"pandadoc-proxy; error"]
    assert answer.values(b"server") == [b"pandadoc-proxy"]
    assert answer.values(b"connection") == [b"close"]
    names = {name.lower() for name, _ in answer.fields}
    assert not {name for name in names if name.startswith(b"access-control-")}
    assert not names & {b"www-authenticate", b"location", b"retry-after", b"set-cookie"}


def assert_explained(answer: Message, status: int) -> None:
    document = msgspec.json.decode(answer.body)
    assert document["status"] == status
    assert document["type"] == ("request_error" if status in {400, 413, 431} else "proxy_refused")
    assert document["detail"]
    assert document["title"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shut(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[House, ScriptedUpstream]]:
    """Open a house for all of REFUSED. When it closes, one honest request is all that ever went up."""
    async with besieged(tmp_path_factory.mktemp("shut")) as (house, up):
        yield house, up
        assert (await converse(house.port, get(), bodiless=True)).start == b"HTTP/1.1 204 No Content"
        assert [message.start for message in up.heard] == [b"GET /x HTTP/1.1"]
        assert up.connections == 1
        assert not house.ear.heard("Traceback")
        assert not house.ear.heard("ERROR")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("attack", REFUSED.values(), ids=REFUSED)
async def test_an_attack_is_refused_and_no_byte_goes_up(shut: tuple[House, ScriptedUpstream], attack: Attack) -> None:
    """In our own words, without its secrets, and on a connection that serves nothing more."""
    house, up = shut
    before = up.connections, len(up.heard)
    async with caller(port(house, attack.listener)) as line:
        await line.send(ours(house, attack.sent))
        answer = await line.answer(bodiless=attack.sent.startswith(b"HEAD "))
        assert_ours(answer, attack.status)
        if not attack.sent.startswith(b"HEAD "):
            assert_explained(answer, attack.status)
        assert await line.closed() == b""
    assert (up.connections, len(up.heard)) == before
    for secret in (THEIRS, NO_SEND, READER, OTHER, house.environ["KEY"].encode()):
        assert secret not in answer.head + answer.raw


AWAITED = {
    "A15 a body of 200 GB": Attack(post(b"Content-Length: 200000000000"), 413),
    "A15 a body as long as there are numbers": Attack(post(b"Content-Length: 18446744073709551615"), 413),
    "A2 a page's upload, which is not invited": Attack(
        post(b"Origin: null", b"Content-Length: 5", b"Expect: 100-continue"), 403
    ),
    "A4 an upload without a key, which is not invited": Attack(
        post(b"Content-Length: 5", b"Expect: 100-continue"), 403, RULED
    ),
    "A9 an upload to the token endpoint, which is not invited": Attack(
        post(b"Content-Length: 5", b"Expect: 100-continue", target=b"/oauth2/access_token"), 403
    ),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("attack", AWAITED.values(), ids=AWAITED)
async def test_what_is_refused_by_its_head_is_refused_before_its_body(
    shut: tuple[House, ScriptedUpstream], attack: Attack
) -> None:
    house, up = shut
    before = up.connections
    answer = await converse(port(house, attack.listener), attack.sent)
    assert_ours(answer, attack.status)
    assert_explained(answer, attack.status)
    assert up.connections == before


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS)
async def test_a_body_that_is_framed_wrongly_never_arrives_whole(api_key_house: HouseMaker, body: bytes) -> None:
    """Where its head was good and has gone up already (A17): the caller is told, and the upstream is cut off."""
    rest: list[bytes] = []

    async def script(stage: Stage) -> None:
        await stage.head()
        stage.upstream.cue.set()
        rest.append(await stage.reader.read())

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(chunked(b""))
            await up.cue.wait()
            await line.send(body + SMUGGLED)
            answer = await line.answer()
            assert_ours(answer, 400)
            assert_explained(answer, 400)
            assert await line.closed() == b""
        await until(lambda: len(rest) == 1)
        assert not rest[0].endswith(b"0\r\n\r\n")
        assert [message.start for message in up.heard] == [b"POST /x HTTP/1.1"]
        assert not house.ear.heard("ERROR")


@dataclass(frozen=True)
class Passage:
    """What is sent, and what the upstream hears of it. `<UPSTREAM>` stands for its authority."""

    sent: bytes
    heard: tuple[bytes, ...]
    listener: int = OPEN


def goes_up(
    *kept: bytes,
    method: bytes = b"GET",
    target: bytes = b"/x",
    framing: bytes | None = None,
    body: bytes = b"",
) -> bytes:
    """Write a request as the upstream hears it: the kept fields, then the one Authorization, then our framing."""
    start = method + b" " + target + b" HTTP/1.1"
    ends = [] if framing is None else [framing]
    fields = [b"Host: <UPSTREAM>", *kept, b"Via: <US>", b"Authorization: API-Key <OURS>", *ends]
    return b"\r\n".join([start, *fields, b"", body])


def passing(kind: str, rows: Mapping[str, tuple[bytes, bytes]], listener: int = OPEN) -> dict[str, Passage]:
    return {f"{kind} {name}": Passage(sent, (heard,), listener) for name, (sent, heard) in rows.items()}


HOSTS_OF_OURS = shown(b"LOCALHOST:1", b"localhost.", b"127.8.9.10", b"[::1]:80", b"[0::1]", b"\tlocalhost\t")
TARGETS_OF_OURS = each(
    b"""
    //evil.example/x ///evil.example/x //localhost@evil.example/x /@evil.example/x /.evil.example/x
    /http://evil.example/x /x?url=http://evil.example/@localhost /%5cevil.example/x /%0d%0aHost:%20evil.example/x
    /x%20HTTP/1.1%0d%0aAuthorization:%20x /a/../b/./%2e%2e//c;d%2Fe?
    """
)

HARMLESS = passing("A1 Host", {name: (get(host=host), goes_up()) for name, host in HOSTS_OF_OURS.items()})
HARMLESS |= passing(
    "A2",
    {
        "an address that a person typed": (get(b"Sec-Fetch-Site: none"), goes_up(b"Sec-Fetch-Site: none")),
        "a client that is no browser and marks itself": (
            get(b"sec-fetch-mode: cors"),
            goes_up(b"sec-fetch-mode: cors"),
        ),
    },
)
HARMLESS |= passing(
    "A6", {name: (get(target=target), goes_up(target=target)) for name, target in TARGETS_OF_OURS.items()}
)
HARMLESS |= passing(
    "A6",
    {
        "an absolute target of ours": (get(target=b"http://localhost:1/x?y"), goes_up(target=b"/x?y")),
        "an absolute target with another's behind it": (
            get(target=b"HTTP://127.0.0.1//evil.example/x"),
            goes_up(target=b"//evil.example/x"),
        ),
    },
)

DROPPED = shown(
    b"Authorization: Bearer " + THEIRS,
    b"authorization: Bearer " + THEIRS,
    b"AUTHORIZATION: " + THEIRS + b"\r\naUTHORIZATION: " + THEIRS,
    b"Authorization:",
    b"Connection: authorization",
    b"Connection: Authorization\r\nAuthorization: " + THEIRS,
    b"Authorization: " + THEIRS + b"\r\nConnection: keep-alive, AUTHORIZATION\r\nConnection: authorization",
    b"Connection: x-one, host\r\nX-One: " + THEIRS,
    b"Connection: x_one\r\nX-One: " + THEIRS,
    b"Connection: x-one\r\nX_One: " + THEIRS,
    b"Proxy-Authorization: Basic " + THEIRS,
    b"proxy_authorization: Basic " + THEIRS,
    b"Proxy-Authenticate: " + THEIRS,
    b"Proxy-Connection: keep-alive",
    b"X-Proxy-Key: " + THEIRS,
    b"x-proxy-key: " + THEIRS + b"\r\nX-PROXY-KEY: " + THEIRS,
    b"X_Proxy_Key: " + THEIRS,
    b"x-PROXY_key: " + THEIRS,
    b"Connection: x-proxy-key\r\nX-Proxy-Key: " + THEIRS,
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    b"Connection: Upgrade\r\nUpgrade: TLS/1.3, HTTP/2.0",
    b"Upgrade: h2c",
    b"TE: trailers, gzip",
    b"Trailer: Authorization",
    b"Keep-Alive: timeout=9999",
    b"X-HTTP-Method-Override: DELETE",
    b"x_http_method_override: DELETE",
    b"X-HTTP-Method: DELETE",
    b"X-Method-Override: DELETE",
    b"X-Original-URL: /oauth2/access_token",
    b"X_Rewrite_URL: /oauth2/access_token",
    b"Forwarded: for=127.0.0.1;host=evil.example",
    b"X-Forwarded-Host: evil.example",
    b"X_Forwarded_Host: evil.example",
    b"X-Forwarded-For: 127.0.0.1",
    b"X-Forwarded-Port: 80\r\nX-Forwarded-Proto: http",
    b"X-Forwarded-Uri: /oauth2/access_token\r\nX-Forwarded-Method: POST",
    b"x-forwarded-prefix: /x\r\nX_FORWARDED_SERVER: x",
    b"X-Forwarded: for=127.0.0.1",
    b"X-Real-IP: 127.0.0.1",
    b"Content_Length: 5",
    b"Transfer_Encoding: chunked",
    b"Expect: 100-continue",
)
KEPT = shown(
    b"Connection: cookie\r\nCookie: kept=1",
    b"Connection: content-type\r\nContent-Type: text/plain",
    b"X-One: 1\r\nX-One: 2\r\nX_One: 3",
    b"X-One: 1\r\nx-one: 2\r\nX: y\r\nX-ONE: 3\r\nx-one: 4",
    b"Cookie: a=1\r\ncookie: b=2",
    b"X: caf\xc3\xa9",
    b"X: caf\xe9",
)

HARMLESS |= passing("A7 drops", {name: (get(line), goes_up()) for name, line in DROPPED.items()})
HARMLESS |= passing(
    "A7 keeps",
    {
        name: (get(lines), goes_up(*(line for line in lines.split(b"\r\n") if not line.startswith(b"Connection"))))
        for name, lines in KEPT.items()
    },
)
HARMLESS |= passing(
    "A7",
    {
        "h2c with a body": (
            post(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 5", body=b"hello"),
            goes_up(method=b"POST", framing=b"Content-Length: 5", body=b"hello"),
        ),
        "a length that Connection nominates": (
            post(b"Connection: content-length", b"Content-Length: 5", body=b"hello"),
            goes_up(method=b"POST", framing=b"Content-Length: 5", body=b"hello"),
        ),
    },
)
HARMLESS |= passing(
    "A4",
    {
        "a key where an SDK puts PandaDoc's": (
            get(b"Authorization: API-Key " + READER, target=DOCUMENTS),
            goes_up(target=DOCUMENTS),
        ),
        "a key that Connection nominates": (
            get(TO_READ, b"Connection: x-proxy-key, authorization", target=DOCUMENTS),
            goes_up(target=DOCUMENTS),
        ),
        "a key in underscores": (get(b"x_proxy_key: " + READER, target=DOCUMENTS), goes_up(target=DOCUMENTS)),
        "a key beside an empty token": (
            get(b"Authorization: Bearer ", TO_READ, target=DOCUMENTS),
            goes_up(target=DOCUMENTS),
        ),
    },
    RULED,
)
HARMLESS |= passing(
    "A8",
    {
        "HEAD where GET is allowed": (
            get(TO_READ, method=b"HEAD", target=DOCUMENTS + b"/1"),
            goes_up(method=b"HEAD", target=DOCUMENTS + b"/1"),
        ),
        "a detour that stays inside": (
            get(TO_READ, target=DOCUMENTS + b"/1/..%2f2;x/%2e/"),
            goes_up(target=DOCUMENTS + b"/1/..%2f2;x/%2e/"),
        ),
        "a query that looks like a path": (
            get(TO_READ, target=DOCUMENTS + b"?/../templates"),
            goes_up(target=DOCUMENTS + b"?/../templates"),
        ),
        "a method in a field, where another is denied": (
            get(TO_SEND, b"X-HTTP-Method-Override: POST", target=DOCUMENTS + b"/1/send"),
            goes_up(target=DOCUMENTS + b"/1/send"),
        ),
        "a path in a field, where another is denied": (
            post(TO_SEND, b"X-Original-URL: /public/v1/documents/1/send", EMPTY),
            goes_up(method=b"POST", framing=EMPTY),
        ),
        "a word that only begins like a denied one": (
            post(TO_SEND, EMPTY, target=DOCUMENTS + b"/1/send-reminder"),
            goes_up(method=b"POST", target=DOCUMENTS + b"/1/send-reminder", framing=EMPTY),
        ),
    },
    RULED,
)

BODY: Final = b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n"
FRAMED = {
    "a request in a body": (
        post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
        goes_up(method=b"POST", framing=b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
    ),
    "a request in the body of a GET": (
        get(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
        goes_up(framing=b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
    ),
    "a request in a chunk": (
        chunked(BODY),
        goes_up(method=b"POST", framing=b"Transfer-Encoding: chunked", body=BODY),
    ),
    "zeros before a length": (
        post(b"Content-Length: 0005", body=b"hello"),
        goes_up(method=b"POST", framing=b"Content-Length: 5", body=b"hello"),
    ),
    "white space around a length": (
        post(b"Content-Length:\t 5 \t", body=b"hello"),
        goes_up(method=b"POST", framing=b"Content-Length: 5", body=b"hello"),
    ),
    "a coding in capitals behind a tab": (
        post(b"Transfer-Encoding:\tCHUNKED ", body=b"5\r\nhello\r\n0\r\n\r\n"),
        goes_up(method=b"POST", framing=b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
    ),
    "zeros before a chunk's size": (
        chunked(b"000005\r\nhello\r\n000\r\n\r\n"),
        goes_up(method=b"POST", framing=b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
    ),
    "a chunk's extension": (
        chunked(b"5;GET=smuggled\r\nhello\r\n0;x\r\n\r\n"),
        goes_up(method=b"POST", framing=b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
    ),
    "an Authorization in a trailer": (
        chunked(b"5\r\nhello\r\n0\r\nAuthorization: " + THEIRS + b"\r\nX-Proxy-Key: " + THEIRS + b"\r\n\r\n"),
        goes_up(method=b"POST", framing=b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
    ),
    "spaces in the request line": (b"GET   /x   HTTP/1.1\r\nHost: localhost\r\n\r\n", goes_up()),
    "empty lines before the request line": (b"\r\n\r\n" + get(), goes_up()),
    "HTTP/1.0": (get(version=b"HTTP/1.0"), goes_up()),
}

HARMLESS |= passing("A17", FRAMED)
HARMLESS |= {
    "A17 two requests at once": Passage(get() + SMUGGLED, (goes_up(), goes_up(target=b"/smuggled"))),
    "A17 a request behind a body": Passage(
        post(b"Content-Length: 5", body=b"hello" + SMUGGLED),
        (goes_up(method=b"POST", framing=b"Content-Length: 5", body=b"hello"), goes_up(target=b"/smuggled")),
    ),
    "A17 a request behind chunks": Passage(
        chunked(b"0\r\n\r\n" + SMUGGLED),
        (
            goes_up(method=b"POST", framing=b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
            goes_up(target=b"/smuggled"),
        ),
    ),
    "A17 a request right behind an upgrade": Passage(  # what comes with one might be the other protocol's
        get(b"Connection: Upgrade", b"Upgrade: h2c") + SMUGGLED, (goes_up(),)
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ajar(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[House, ScriptedUpstream]]:
    """Open a house for all of HARMLESS."""
    async with besieged(tmp_path_factory.mktemp("ajar")) as both:
        yield both


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("passage", HARMLESS.values(), ids=HARMLESS)
async def test_what_may_pass_goes_up_with_nothing_of_the_attack_left(
    ajar: tuple[House, ScriptedUpstream], passage: Passage
) -> None:
    """To the byte: the configured upstream, one Authorization, ours, and of the caller only what it may say."""
    house, up = ajar
    up.heard.clear()
    async with caller(port(house, passage.listener)) as line:
        await line.send(passage.sent)
        for _ in passage.heard:
            answer = await line.answer(bodiless=True)
            assert answer.start.endswith(b" 204 No Content")
            assert not answer.values(b"proxy-status")
    authority = up.url.removeprefix("http://").encode()
    via = house.proxy._around.via  # noqa: SLF001 - it is random, and nothing shows it
    expected = [ours(house, heard).replace(b"<UPSTREAM>", authority).replace(b"<US>", via) for heard in passage.heard]
    assert [message.head + message.raw for message in up.heard] == expected


async def test_each_request_of_a_connection_is_judged_by_itself(api_key_house: HouseMaker) -> None:
    """A good one vouches for none behind it (A17)."""
    async with upstream(answering(NOTHING)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(get(target=b"/1") + get(b"Origin: null", target=b"/2") + get(target=b"/3"))
            assert (await line.answer(bodiless=True)).start == b"HTTP/1.1 204 No Content"
            assert_ours(await line.answer(), 403)
            assert await line.closed() == b""
        assert [message.start for message in up.heard] == [b"GET /1 HTTP/1.1"]
