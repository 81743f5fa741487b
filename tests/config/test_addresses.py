from pathlib import Path

import pytest
from yarl import URL

from proxy.config import TcpBind, UnixBind, addresses


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:8080", TcpBind("127.0.0.1", 8080)),
        ("[::1]:8080", TcpBind("::1", 8080)),
        ("[0:0:0:0:0:0:0:1]:1", TcpBind("::1", 1)),
        ("[fe80::1%eth0]:1", TcpBind("fe80::1%eth0", 1)),
        ("LocalHost:0", TcpBind("localhost", 0)),
        ("my_app.svc:65535", TcpBind("my_app.svc", 65535)),
        ("unix:/run/x.sock", UnixBind(Path("/run/x.sock"))),
    ],
)
def test_a_bind_is_read(text: str, bind: TcpBind | UnixBind) -> None:
    assert addresses.bind(text) == bind


@pytest.mark.parametrize("text", ["[::ffff:127.0.0.1]:80", "[0:0:0:0:0:FFFF:7f00:1]:80"])
def test_an_ipv4_address_in_the_form_of_ipv6_is_never_bound(text: str) -> None:
    """The kernel refuses it to a socket that leaves IPv4 alone."""
    with pytest.raises(ValueError, match=r"^is an IPv4 address: write 127\.0\.0\.1:PORT$"):
        addresses.bind(text)


@pytest.mark.parametrize("text", ["127.0.0.1:8080", "[::1]:8080", "localhost:1", "unix:/run/x.sock"])
def test_a_bind_is_written_as_it_was_read(text: str) -> None:
    assert str(addresses.bind(text)) == text


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("0.0.0.0", False),  # noqa: S104 - bound nowhere
        ("::", False),
        ("::ffff:127.0.0.1", False),  # as a Host it would let pages in unseen
        ("10.0.0.1", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.nip.io", False),
        ("127.1", False),
        ("", False),
    ],
)
def test_loopback_is_what_can_only_be_this_machine(host: str, loopback: bool) -> None:  # noqa: FBT001 - a column
    assert TcpBind(host, 80).is_loopback is loopback


@pytest.mark.parametrize("text", ["http://p", "https://p:3128", "p:1", "user:word@p:1", "http://user@p:1"])
def test_a_proxys_user_and_password_are_masked_for_people(text: str) -> None:
    shown = str(addresses.http_proxy(text))
    assert "user" not in shown
    assert "word" not in shown
    assert ("***@" in shown) == ("@" in text)


def test_a_prefix_keeps_its_escapes_and_loses_its_last_slash() -> None:
    assert addresses.api_url("https://a.example/a%2Fb%20c//") == URL("https://a.example/a%2Fb%20c", encoded=True)


@pytest.mark.parametrize("prefix", ["", "/", "/gateway/pandadoc/", "/Gate~way_1/v2.1", "/a@b:1/public/v1"])
def test_a_prefix_of_the_upstream_may_be_whatever_everybody_reads_alike(prefix: str) -> None:
    assert addresses.upstream_url(f"https://a.example{prefix}").raw_path.rstrip("/") == prefix.rstrip("/")


@pytest.mark.parametrize("prefix", ["/a%20b", "/%61", "//a", "/a//b", "/a;v=1", "/a.", "/a./b", "/a;b." * 3000])
def test_a_prefix_that_no_request_would_get_through_is_refused(prefix: str) -> None:
    """Its requests have more readings than one, and some lead out of it."""
    with pytest.raises(ValueError, match="can be read in several ways"):
        addresses.upstream_url(f"https://a.example{prefix}")


def test_a_name_in_unicode_is_refused_in_text_but_not_in_punycode() -> None:
    assert addresses.api_url("https://xn--tda.de").raw_host == "xn--tda.de"
    with pytest.raises(ValueError, match="expected a URL"):
        addresses.api_url("https://ü.de")


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8089/callback",
        "https://App.Example/a%2Fb/",
        "https://app.example/cb?x=%20y",
        "https://app.example",
        "http://app.example/cb",
        "http://[::1]:8089/callback",
        "http://127.0.0.1:80/callback",
        "https://app.example:443/cb?",
        "HTTPS://app.example/cb",
    ],
)
def test_a_redirect_uri_stays_as_it_is_registered_to_the_letter(text: str) -> None:
    """PandaDoc compares it as text (RFC 6749 §3.1.2.3)."""
    assert str(addresses.redirect_uri(text)) == text


def test_a_redirect_uri_is_listened_at_as_any_url() -> None:
    url = addresses.redirect_uri("http://127.0.0.1:80/call%2Fback").url
    assert (url.host, url.port, url.raw_path) == ("127.0.0.1", 80, "/call%2Fback")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("127.0.0.1:8089/callback", "expected a URL such as http://127"),
        ("ftp://app.example/cb", "expected a URL"),
        ("https:///cb", "expected a URL"),
        ("https://app.example:0/cb", "expected a URL"),
        ("https://app.example/c b", "expected a URL"),
        ("https://app.example/cb#part", "must not hold a fragment"),
        ("https://app.example/cb#", "must not hold a fragment"),
        ("https://hush@app.example/cb", "user or password"),
        ("https://u:hush@app.example/cb", "user or password"),
    ],
)
def test_anything_else_is_no_redirect_uri(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        addresses.redirect_uri(text)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "x." + "a" * 64, "a..b", ".a", "-a.example"])
def test_a_name_that_no_resolver_takes_is_refused(host: str) -> None:
    """It would fail at every call, and not as a connection does."""
    with pytest.raises(ValueError, match="expected a URL"):
        addresses.api_url(f"https://{host}")


def test_the_longest_label_and_a_final_dot_pass() -> None:
    assert addresses.api_url(f"https://{'a' * 63}.example.").host == f"{'a' * 63}.example."
