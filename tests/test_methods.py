"""What `check` says of a method or a target is what a listener does with it."""

from conftest import HouseMaker
from wire import caller

from proxy.methods import is_parsed

METHODS = ("GET", "QUERY", "M-SEARCH", "TRACE", "CONNECT", "FOO", "get", "GETX", "DESCRIBE", "PRI", "G,T", "Ü")


async def test_a_method_that_is_not_parsed_is_a_400_to_everybody(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    answered = set()
    for method in METHODS:
        async with caller(house.port) as line:
            await line.send(f"{method} /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            if (await line.answer(bodiless=True)).start == b"HTTP/1.1 400 Bad Request":
                answered.add(method)
    assert answered == {method for method in METHODS if not is_parsed(method)}
    assert is_parsed("GET")
    assert not is_parsed("FOO")


TARGETS = (
    *("/x", "public/v1", "*", "http://localhost/x", "localhost/x", "/a b", "/é", "/a\\b", "/a#b", "?x", "//x"),
    *("http://[::1]@", "http://localhost:99999/x", "https://[::1/x", "http:///x", f"/?{'x' * 20_000}"),
)


async def test_a_target_that_is_not_parsed_is_no_http_to_anybody(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    answered = set()
    for target in TARGETS:
        async with caller(house.port) as line:
            await line.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            if b"is not valid HTTP/1.1" in (await line.answer()).body:
                answered.add(target)
    assert answered == {target for target in TARGETS if not is_parsed("GET", target)}
    assert "public/v1" in answered
    assert "/x" not in answered
