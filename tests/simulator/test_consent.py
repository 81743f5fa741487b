"""The authorization-code grant, from the consent page to a live access token, over HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import parse_qsl, urlencode

import pytest
from aiohttp import ClientSession
from yarl import URL

from proxy.simulator import Fault, Simulator

CALLBACK = "http://127.0.0.1:8400/callback"
PATH = "/oauth2/authorize"
Speak = Callable[[bytes], Awaitable[bytes]]


@pytest.fixture
async def browser(simulator: Simulator) -> AsyncIterator[ClientSession]:
    """Open a session that presents no credential, as a browser would."""
    async with ClientSession(simulator.url) as session:
        yield session


def _url(**changed: str | None) -> URL:
    """Write the authorize URL; a parameter that is None is left out."""
    usual = {
        "client_id": "simulator-client",
        "redirect_uri": CALLBACK,
        "scope": "read write",
        "response_type": "code",
        "state": "s/t=a&te",
    }
    given = {name: value for name, value in (usual | changed).items() if value is not None}
    return URL(f"{PATH}?{urlencode(given)}", encoded=True)


async def _decide(browser: ClientSession, url: URL, decision: str = "allow") -> tuple[int, str]:
    """Press a button; return the status and the Location."""
    async with browser.post(url, data={"decision": decision}, allow_redirects=False) as response:
        return response.status, response.headers.get("Location", "")


async def _code(browser: ClientSession) -> str:
    _, location = await _decide(browser, _url())
    return URL(location).query["code"]


async def _exchange(simulator: Simulator, browser: ClientSession, code: str, **more: str) -> tuple[int, dict[str, str]]:
    form = {"grant_type": "authorization_code", "code": code, **more}
    client = {"client_id": simulator.client_id, "client_secret": simulator.client_secret}
    async with browser.post("/oauth2/access_token", data=client | form) as response:
        return response.status, await response.json()


async def test_a_human_who_allows_ends_in_a_token_that_opens_the_api(
    simulator: Simulator, browser: ClientSession
) -> None:
    async with browser.get(_url()) as response:
        assert (response.status, response.content_type) == (200, "text/html")
        page = await response.text()
    assert all(value in page for value in ("simulator-client", "member@example.com", CALLBACK))
    status, tokens = await _exchange(simulator, browser, await _code(browser), redirect_uri=CALLBACK)
    assert status == 200
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    async with browser.get("/public/v1/members/current", headers=headers) as response:
        assert response.status == 200


async def test_allow_goes_back_with_a_code_and_the_state(simulator: Simulator, browser: ClientSession) -> None:
    status, location = await _decide(browser, _url())
    base, _, query = location.partition("?")
    (name, code), state = parse_qsl(query)
    assert (status, base, name, state) == (302, CALLBACK, "code", ("state", "s/t=a&te"))
    assert code in simulator.minted


async def test_deny_goes_back_with_an_error_and_the_state_and_issues_nothing(
    simulator: Simulator, browser: ClientSession
) -> None:
    status, location = await _decide(browser, _url(), "deny")
    assert (status, dict(URL(location).query)) == (302, {"error": "access_denied", "state": "s/t=a&te"})
    assert simulator.state()["codes"] == 0


async def test_looking_at_the_page_issues_nothing(simulator: Simulator, browser: ClientSession) -> None:
    for look in (browser.get, browser.head):
        async with look(_url(decision="allow")) as response:
            assert response.status == 200
    assert simulator.state()["codes"] == 0


@pytest.mark.parametrize("state", [None, ""])
@pytest.mark.parametrize("decision", ["allow", "deny"])
async def test_no_state_comes_back_where_none_was_given(
    browser: ClientSession, decision: str, state: str | None
) -> None:
    _, location = await _decide(browser, _url(state=state), decision)
    assert "state" not in URL(location).query


@pytest.mark.parametrize("decision", ["allow", "deny"])
async def test_no_state_comes_back_when_it_is_not_echoed(
    simulator: Simulator, browser: ClientSession, decision: str
) -> None:
    simulator.echo_state = False
    _, location = await _decide(browser, _url(), decision)
    assert "state" not in URL(location).query


@pytest.mark.parametrize(
    ("redirect_uri", "location"),
    [
        ("http://a/b", "http://a/b?error=access_denied"),
        ("http://a/b?", "http://a/b?error=access_denied"),
        ("http://a/b?c=d%20e", "http://a/b?c=d%20e&error=access_denied"),
        ("http://a/b?c=d?", "http://a/b?c=d?&error=access_denied"),
        ("https://a", "https://a?error=access_denied"),
        ("HTTP://[::1]:1/", "HTTP://[::1]:1/?error=access_denied"),
    ],
)
async def test_the_redirect_uri_keeps_its_own_bytes_and_its_query(
    browser: ClientSession, redirect_uri: str, location: str
) -> None:
    assert await _decide(browser, _url(redirect_uri=redirect_uri, state=None), "deny") == (302, location)


async def test_a_state_that_is_no_utf_8_comes_back_as_it_was(speak: Speak) -> None:
    target = _url(state=None).raw_path_qs.encode() + b"&state=%FF+%00"
    head = b"Host: a\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 13\r\n"
    answer = await speak(b"POST " + target + b" HTTP/1.1\r\n" + head + b"\r\ndecision=deny")
    assert answer.startswith(b"HTTP/1.1 302 ")
    assert b"\r\nLocation: " + CALLBACK.encode() + b"?error=access_denied&state=%FF+%00\r\n" in answer


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"client_id": None}, "client_id is missing"),
        ({"client_id": ""}, "client_id is missing"),
        ({"client_id": "other"}, "client_id other is unknown"),
        ({"client_id": "other", "response_type": "token"}, "client_id other is unknown"),
        ({"redirect_uri": None}, "redirect_uri is missing"),
        ({"redirect_uri": ""}, "redirect_uri is missing"),
        ({"redirect_uri": "/callback"}, "no http(s) URL"),
        ({"redirect_uri": "//evil/"}, "no http(s) URL"),
        ({"redirect_uri": "http:///callback"}, "no http(s) URL"),
        ({"redirect_uri": "javascript:alert(1)//http://a"}, "no http(s) URL"),
        ({"redirect_uri": CALLBACK + "#fragment"}, "without a fragment"),
        ({"redirect_uri": CALLBACK + "\r\nSet-Cookie: a=b"}, "no http(s) URL"),
        ({"redirect_uri": CALLBACK + "\n"}, "no http(s) URL"),
        ({"redirect_uri": "http://\u00e9/"}, "no http(s) URL"),
        ({"redirect_uri": "javascript:", "response_type": "token"}, "no http(s) URL"),
    ],
)
async def test_who_cannot_be_trusted_gets_a_page_and_no_redirect(
    simulator: Simulator, browser: ClientSession, method: str, changed: dict[str, str | None], told: str
) -> None:
    data = {"decision": "allow"} if method == "POST" else None
    async with browser.request(method, _url(**changed), data=data, allow_redirects=False) as response:
        assert (response.status, response.content_type) == (400, "text/html")
        assert "Location" not in response.headers
        assert told in await response.text()
    assert simulator.state()["codes"] == 0


@pytest.mark.parametrize(
    "other", [CALLBACK + "/", CALLBACK + "?a", CALLBACK.replace("8400", "8401"), CALLBACK.upper(), "http://evil/"]
)
async def test_a_registered_redirect_uri_is_the_only_one(
    simulator: Simulator, browser: ClientSession, other: str
) -> None:
    simulator.redirect_uri = CALLBACK
    assert await _decide(browser, _url(redirect_uri=other)) == (400, "")
    assert (await _decide(browser, _url()))[0] == 302
    simulator.redirect_uri = None
    assert (await _decide(browser, _url(redirect_uri=other)))[0] == 302


@pytest.mark.parametrize("value", ["", "callback", "ftp://a/", "http://", CALLBACK + "#", "http://a/ b", "http://a\n"])
def test_what_could_never_be_redirected_to_cannot_be_registered(value: str) -> None:
    with pytest.raises(ValueError, match="redirect_uri"):
        Simulator(redirect_uri=value)


@pytest.mark.parametrize("response_type", ["token", "CODE", "code token", None])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_response_type_other_than_code_is_told_to_the_client(
    simulator: Simulator, browser: ClientSession, method: str, response_type: str | None
) -> None:
    url = _url(response_type=response_type)
    data = {"decision": "allow"} if method == "POST" else None
    async with browser.request(method, url, data=data, allow_redirects=False) as response:
        query = dict(URL(response.headers["Location"]).query)
        assert (response.status, query) == (302, {"error": "unsupported_response_type", "state": "s/t=a&te"})
    assert simulator.state()["codes"] == 0


@pytest.mark.parametrize("body", [{}, {"decision": ""}, {"decision": "ALLOW"}, "decision=allow"])
async def test_a_post_that_decides_nothing_is_a_400_page(
    simulator: Simulator, browser: ClientSession, body: dict[str, str] | str
) -> None:
    async with browser.post(_url(decision="allow"), data=body, allow_redirects=False) as response:
        assert (response.status, response.content_type) == (400, "text/html")
    assert simulator.state()["codes"] == 0


async def test_another_method_is_405(browser: ClientSession) -> None:
    async with browser.put(_url()) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, POST")


async def test_an_authorization_line_is_not_judged(browser: ClientSession) -> None:
    async with browser.get(_url(), headers={"Authorization": "Bearer dead"}) as response:
        assert response.status == 200


async def test_a_fault_can_take_the_page_over(simulator: Simulator, browser: ClientSession) -> None:
    simulator.faults.add(Fault(path=PATH, status=502, times=1))
    assert (await _decide(browser, _url()))[0] == 502
    assert (await _decide(browser, _url()))[0] == 302


async def test_the_journal_has_views_and_decisions_and_counts_none_as_an_api_call(
    simulator: Simulator, browser: ClientSession
) -> None:
    async with browser.get(_url()) as response:
        assert response.status == 200
    await _exchange(simulator, browser, await _code(browser))
    view, decision = simulator.authorize_calls()
    assert (view.method, view.target, view.form, view.status) == ("GET", _url().raw_path_qs, {}, 200)
    assert (decision.method, decision.form, decision.status) == ("POST", {"decision": "allow"}, 302)
    assert (len(simulator.token_calls()), simulator.api_calls()) == (1, [])


async def test_no_code_is_printed_logged_or_told_by_the_journal(
    simulator: Simulator, browser: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    code = await _code(browser)
    async with browser.get("/_simulator/journal") as response:
        told = await response.text()
    printed = (repr(simulator), repr(simulator.journal), caplog.text, told)
    assert not any(code in text for text in printed)
