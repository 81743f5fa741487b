"""What of a request's target may be shown: its path, and no secret that a caller has put there."""

from typing import Final

import pytest

from proxy.forward.exchange import PATH_SHOWN, told

AS_THEY_ARE: Final = [
    "/public/v1/documents/msFYActMfJHqNTKH8YSvF1/details",
    "/public/v1/contacts/jane@example.com",
    "/public/v1/a%20b%2Fc+d:e",
    "//public/v1/%3F%3D%25",
    "/x/%ff%00",
    "/x/api-key/a:b",
    "/x/bearer:",
    "/x/bearer%20%22",
]

HIDDEN: Final = {
    "/public/v1/documents%3Faccess_token%3Dhush-hush": "/public/v1/documents?access_token=***",
    "/x/access%5Ftoken=hush-hush": "/x/access_token=***",
    "/x/client_secret:hush-hush": "/x/client_secret:***",
    "/x/Bearer%20hush-hush": "/x/Bearer ***",
    "/x/API-Key+hush-hush": "/x/API-Key ***",
    "/Bearer%20%22hush-hush%22": '/Bearer ***"',
    "/Bearer%20,hush-hush": "/Bearer ***",
    "/x/bearer:hush-hush": "/x/bearer ***",
    "/x/bearer%20:%20%27hush-hush": "/x/bearer ***",
    "/x/{%22API-Key%22:%22hush-hush%22}": '/x/{"API-Key ***"}',
    "/x;access_token=hush-hush": "/x;access_token=***",
    "//user:hush-hush@host/x": "//host/x",
    "/%2Fuser%3Ahush-hush%40host/x": "//host/x",
    "/proxy/https://user:hush-hush@api/x": "/proxy/https://api/x",
    "/proxy/https://user:hush%2Fhush@api/x": "/proxy/https://api/x",
    "/proxy/https:/user:hush-hush@api/x": "/proxy/https:/api/x",
    "git+https://user:hush-hush@host/x": "git+https://host/x",
    "http://user:hush-hush@host/x?y": "http://host/x",
    "user:hush-hush@host:443": "host:443",
}


@pytest.mark.parametrize("path", AS_THEY_ARE)
def test_a_path_is_told_as_it_came_without_its_query(path: str) -> None:
    assert told(path) == told(f"{path}?access_token=hush-hush") == path


@pytest.mark.parametrize(("target", "path"), HIDDEN.items())
def test_a_credential_in_a_path_is_not_told_percent_encoded_either(target: str, path: str) -> None:
    assert told(target) == path


def test_a_path_is_told_in_ascii_and_not_at_any_length() -> None:
    assert told("/é\n\udcff") == r"/\xe9\n\udcff"
    assert told("/x" * PATH_SHOWN) == "/x" * (PATH_SHOWN // 2)
    assert told("/é" * PATH_SHOWN * 10) == r"/\xe9" * (PATH_SHOWN // 5) + r"/\xe9"[: PATH_SHOWN % 5]
