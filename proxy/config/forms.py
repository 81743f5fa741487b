"""How each type of `sections` is written in YAML, as JSON Schema sees it, in words, and as a default. Pure.

A shape lets everything pass that the type's own reader accepts, so that no editor marks what would load; of what
that refuses it sees the spelling, not the sense (an hour of 400 days, a user that this machine lacks). Patterns keep
to what Python and ECMA-262 read alike. Never here: sections, and what a key means.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from proxy.config import sections
from proxy.config.sections import MemoryStore
from proxy.config.units import LARGEST, duration_text, rate_text, size_text
from proxy.policy.pattern import METHODS
from proxy.policy.policy import Rule
from proxy.secrets import SecretReference

Shape = Mapping[str, Any]

_ANY_SCALAR: Final = ["string", "number", "boolean"]
"""Of what is a name in the end: a host may be called `on`, a user `007`, whatever YAML takes that for."""

_VARIABLE: Final = "[A-Za-z_][A-Za-z0-9_]*"
_USER: Final = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
_METHOD: Final = f"(?:{'|'.join(sorted(METHODS))})"
_DURATION: Final = r"\d{1,12}(?:\.\d{1,6})?(?:ms|s|m|h|d)"
_LONGER_THAN_ZERO: Final = f"^(?=.*[1-9]){_DURATION}$"
_UNIT: Final = "(?:(?:[KkMmGg][Ii]?)?[Bb])?"
_HTTP: Final = "[Hh][Tt][Tt][Pp][Ss]?://"

_ORIGIN: Final = rf"{_HTTP}@?(?:[A-Za-z0-9_.-]+|\[[^\s/?#\]]+\])(?::\d{{0,5}})?"
_API_URL: Final = {"type": "string", "pattern": rf"^{_ORIGIN}(?:/[^\s?#]*)?$"}

_TEXT: Final = {"type": "string", "pattern": r"\S"}
_PLAIN: Final = {"type": "string", "pattern": r"^(?![\s\S]*\$\{)[\s\S]*\S"}
_PATH: Final = {"type": "string", "pattern": r"^(?=.*\S)(?![~$])(?!.*\$\{)[^\u0000-\u001f\u007f]+$"}
_PATTERN: Final = {
    "type": "string",
    "pattern": rf"^[\s,]*(?:\*|{_METHOD}(?:\s*,[\s,]*{_METHOD})*)?[\s,]*/(?!.*\*\*/+[^/\s])[^?#;%\\\s]*\s*$",
}


class Form(msgspec.Struct, frozen=True):
    """One way of writing values. `name` is its definition in the schema, and its line in the reference page."""

    name: str
    says: str
    shape: Shape
    examples: tuple[Any, ...] = ()
    written: Callable[[Any], Any] = str  # a default as it would stand in the file

    @property
    def key(self) -> str:
        return self.name.replace(" ", "-").lower()


def one_of(**ways: Shape) -> Shape:
    """Shape a mapping that has exactly one of some keys."""
    return {
        "type": "object",
        "properties": ways,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _itself(value: Any) -> Any:
    return value


def _auto(value: float | None) -> str:
    return "auto" if value is None else duration_text(value)


FORMS: Final[Mapping[Any, Form]] = {
    str: Form("text", "a text; what YAML takes for a number, a date or a truth value needs quotes", _PLAIN, ("acme",)),
    bool: Form(
        "truth",
        "true or false",
        {
            "anyOf": [
                {"type": "boolean"},
                {"type": "string", "pattern": "^(?:[Yy]es|YES|[Nn]o|NO|[Oo]ff|OFF|[Oo]n|ON)$"},
            ]
        },
        (True, False),
        _itself,
    ),
    Path: Form("path", "a file; a relative one starts at the configuration's folder", _PATH, ("/run/tls/ca.pem",)),
    SecretReference: Form(
        "secret",
        "a variable, a file (with a slash in its path: ./key), or ${NAME}; written out it is taken with a warning, and"
        " needs {value: …} if it has a $",
        {
            "anyOf": [
                {"type": "string", "pattern": rf"^(?:\$\{{{_VARIABLE}\}}|(?!\$)(?!.*\$\{{)[!-~](?:[ -~]*[!-~])?)\s*$"},
                one_of(
                    env={"type": "string", "pattern": f"^{_VARIABLE}$"},
                    file={"type": "string", "pattern": r"^(?![~$])(?!.*\$\{).*/"},
                    value=_TEXT,
                ),
            ]
        },
        ({"env": "PANDADOC_API_KEY"}, {"file": "/run/secrets/key"}, "${PANDADOC_API_KEY}"),
    ),
    MemoryStore: Form(
        "yes",
        "true, or not there",
        {"anyOf": [{"const": True}, {"type": "string", "pattern": "^(?:[Yy]es|YES|[Oo]n|ON)$"}]},
        (True,),
    ),
    sections.KeyPrefix: Form(
        "key prefix",
        "letters, digits, dots, colons, - and _, 64 at most",
        {"type": _ANY_SCALAR, "pattern": "^[A-Za-z0-9._:-]{1,64}$"},
        ("pandadoc-proxy",),
    ),
    sections.KubernetesName: Form(
        "Kubernetes name",
        "small letters, digits, - and dots, as objects of Kubernetes are named",
        {"type": _ANY_SCALAR, "pattern": "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"},
        ("pandadoc-grant",),
    ),
    Rule: Form(
        "rule",
        "lets pass, or refuses, the requests that a pattern means",
        one_of(allow=_PATTERN, deny=_PATTERN),
        ({"allow": "GET /public/v1/documents/**"}, {"deny": "/**"}),
    ),
    sections.Bind: Form(
        "bind",
        "host:port, [address]:port in quotes for IPv6, or unix:/path.sock; port 0 takes any free one",
        {
            "type": "string",
            "pattern": r"^(?:unix:/.*|\[[^\[\]]*:[^\[\]]*\]:\d{1,5}|[^:*\[\]/]+:\d{1,5})$",
        },
        ("127.0.0.1:8080", "[::1]:8080", "unix:/run/pandadoc-proxy.sock"),
    ),
    sections.HostName: Form(
        "host",
        'a name or an address without scheme, port or path; "*" is any',
        {
            "type": _ANY_SCALAR,
            "pattern": r"^(?!(?:0\.0\.0\.0|\[?::\]?)$)(?:\*|[A-Za-z0-9_.-]+|\[?[0-9A-Fa-f.]*:[^\s/\[\]%]*\]?)$",
        },
        ("pandadoc-proxy", "*"),
    ),
    sections.UrlPath: Form(
        "url path",
        'begins with "/"; printable ASCII without spaces',
        {"type": "string", "pattern": "^/[!-~]*$"},
        ("/healthz",),
    ),
    sections.ApiUrl: Form(
        "URL",
        "https, or http to this machine alone; no user, query or fragment; a path prefix without %, ; and //",
        {"type": "string", "pattern": rf"^{_ORIGIN}(?:/[^\s?#%;/]+)*/*$"},
        ("https://api.pandadoc.com", "https://api.pandadoc.eu"),
    ),
    sections.TokenUrl: Form(
        "endpoint",
        "a URL like upstream.url; null: PandaDoc's own",
        {"anyOf": [_API_URL, {"type": "null"}]},
        ("https://api.pandadoc.com/oauth2/access_token",),
        lambda _: None,  # what a relative one rests on is completion's to say
    ),
    sections.HttpProxy: Form(
        "proxy",
        "host:port of a proxy that knows CONNECT, with or without http:// before it",
        {"type": _ANY_SCALAR, "pattern": rf"^(?:{_HTTP})?[^\s/?#]+/*$"},
        ("http://proxy.corp:3128",),
    ),
    sections.RedirectUri: Form(
        "redirect URI",
        "to the letter as it is registered with PandaDoc",
        {"type": "string", "pattern": rf"^{_HTTP}[^\s#]+$"},
        ("http://127.0.0.1:8089/callback",),
    ),
    sections.Seconds: Form(
        "duration",
        "a number with its unit (ms, s, m, h, d), longer than zero, 366d at most",
        {"type": "string", "pattern": _LONGER_THAN_ZERO},
        ("250ms", "5s", "2m", "1h", "7d"),
        duration_text,
    ),
    sections.SecondsOrZero: Form(
        "duration or 0",
        "a duration, or zero, which needs no unit",
        {"anyOf": [{"type": "string", "pattern": f"^(?:0|{_DURATION})$"}, {"const": 0}]},
        ("20s", "0s"),
        duration_text,
    ),
    sections.SecondsOrAuto: Form(
        "duration or auto",
        "a duration, or the word auto",
        {"anyOf": [{"const": "auto"}, {"type": "string", "pattern": _LONGER_THAN_ZERO}, {"type": "null"}]},
        ("auto", "1d"),
        _auto,
    ),
    sections.MaxAge: Form(
        "age",
        "a duration of 1m at least",
        {"type": "string", "pattern": _LONGER_THAN_ZERO},
        ("30d",),
        duration_text,
    ),
    sections.Moment: Form(
        "moment",
        "RFC 3339 with its offset, or seconds since 1970",
        {
            "anyOf": [
                {"type": "string", "pattern": r"^(?:\d{9,11}(?:\.\d{1,6})?|\d{4}.{5,}(?:[Zz]|[+-]\d{2}[\d:.]*))$"},
                {"type": "number", "minimum": 1e8, "exclusiveMaximum": 1e11},
            ]
        },
        ("2027-11-25T15:02:00Z", 1827241320),
    ),
    sections.SocketMode: Form(
        "mode",
        "three octal digits, in quotes if a 0 stands before them",
        {"type": ["string", "integer"], "pattern": "^0?[0-7]{3}$", "minimum": 0, "maximum": 777},
        ("0600", "0660"),
    ),
    sections.SocketOwner: Form(
        "owner",
        "user, user:group or :group, by name or number",
        {
            "type": _ANY_SCALAR,
            "pattern": f"^(?:{_USER}(?::{_USER})?|:{_USER})$",
            "minimum": 0,
        },
        ("app", ":app", "1000:1000"),
    ),
    sections.Bytes: Form(
        "size",
        "a number of bytes, or with a unit (B, KB, MB, GB, KiB, MiB, GiB), larger than zero, 1024GiB at most",
        {"type": ["string", "integer"], "pattern": rf"^0*[1-9]\d*{_UNIT}$", "minimum": 1, "maximum": LARGEST},
        ("64KiB", "8MiB", "500KB", 4096),
        size_text,
    ),
    sections.BytesOrZero: Form(
        "size or 0",
        "a size, or zero",
        {"type": ["string", "integer"], "pattern": rf"^\d{{1,15}}{_UNIT}$", "minimum": 0, "maximum": LARGEST},
        ("8MiB", 0),
        size_text,
    ),
    sections.Count: Form(
        "count",
        "a whole number from 1 to 1000000",
        {"type": ["string", "integer"], "pattern": r"^\d+$", "minimum": 1, "maximum": 1_000_000},
        (100,),
        _itself,
    ),
    sections.PerTime: Form(
        "rate",
        "so many in any such time: a number from 1 to 1000000, a slash, a duration",
        {"type": "string", "pattern": rf"^0*[1-9]\d{{0,6}}/(?=.*[1-9][\d.]*[mshd]){_DURATION}$"},
        ("600/1m", "10/2s"),
        rate_text,
    ),
    sections.Share: Form(
        "share",
        "a part of the whole, as two numbers up to 1000",
        {"type": "string", "pattern": r"^0*[1-9]\d{0,3}/0*[1-9]\d{0,3}$"},
        ("1/8", "1/1"),
        lambda value: f"{value.numerator}/{value.denominator}",
    ),
    sections.RequestPattern: Form(
        "pattern",
        "METHODS /path, or a path alone for every method; * is one segment, ** at the end all that follows",
        _PATTERN,
        ("GET,POST /public/v1/documents/**", "/public/*/logs/*"),
    ),
}
"""Every type that a section's field has, but sections, words (Literal) and what is made of these."""
