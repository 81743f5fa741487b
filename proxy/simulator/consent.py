"""The consent page's decisions, RFC 6749 sections 4.1.1 and 4.1.2: who may ask, and where an answer may go.

There is no login: whoever opens the page is the one member. Nothing is ever sent to a redirect URI that
was not judged first.
"""

import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, urlencode

from proxy.simulator.answers import Answer
from proxy.simulator.operations import MEMBER
from proxy.simulator.pages import consent_page, refusal_page

_MEMBER = f"{MEMBER['first_name']} {MEMBER['last_name']} ({MEMBER['email']}), workspace {MEMBER['workspace_name']}"
# Absolute and without a fragment (RFC 6749 section 3.1.2); what a header line cannot carry is no part of a URI.
_REDIRECT_URI = re.compile(r"https?://(?![/?])[!\"$-~]+", re.IGNORECASE)
_ODD_BYTES = "surrogateescape"  # a state that is no UTF-8 comes back as it was


class Consent:
    """Judges authorize requests, and hands out a code where a human allows.

    The mutable state is the two switches, `redirect_uri` and `echo_state`; whoever holds the simulator sets them.
    """

    def __init__(
        self, *, client_id: str, issue_code: Callable[[str], str], redirect_uri: str | None, echo_state: bool
    ) -> None:
        self._client_id = client_id
        self._issue_code = issue_code
        self.redirect_uri = redirect_uri
        self.echo_state = echo_state

    @property
    def redirect_uri(self) -> str | None:
        """The registered one, compared byte for byte; None: any that is http or https."""
        return self._redirect_uri

    @redirect_uri.setter
    def redirect_uri(self, value: str | None) -> None:
        if value is not None and not _REDIRECT_URI.fullmatch(value):
            raise ValueError(f"redirect_uri must be an http(s) URL without a fragment, not {value!r}")
        self._redirect_uri = value

    def answer(self, method: str, target: str, form: Mapping[str, str]) -> Answer:
        """Answer with the page, or to a decision in the form with the way back."""
        if method not in {"GET", "HEAD", "POST"}:
            return refusal_page(405, f"The method {method} means nothing here.", ("Allow", "GET, POST"))
        # A parameter without a value counts as omitted (RFC 6749 section 3.1); the last of two counts, as in Django.
        asked = dict(parse_qsl(target.partition("?")[2], errors=_ODD_BYTES))
        problem = self._problem(asked)
        if problem is not None:
            return refusal_page(400, problem)
        if asked.get("response_type") != "code":
            return self._send_back(asked, error="unsupported_response_type")
        return self._decided(asked, form.get("decision")) if method == "POST" else self._page(asked)

    def _problem(self, asked: Mapping[str, str]) -> str | None:
        """Tell why nothing may be sent to the redirect URI (RFC 6749 section 4.1.2.1), if so."""
        client_id, redirect_uri = asked.get("client_id"), asked.get("redirect_uri")
        if client_id != self._client_id:
            return "client_id is missing." if client_id is None else f"client_id {client_id} is unknown."
        if redirect_uri is None:
            return "redirect_uri is missing."
        if not _REDIRECT_URI.fullmatch(redirect_uri):
            return f"redirect_uri {redirect_uri} is no http(s) URL without a fragment."
        if self.redirect_uri not in {None, redirect_uri}:
            return f"redirect_uri {redirect_uri} is not the one that is registered."
        return None

    def _page(self, asked: Mapping[str, str]) -> Answer:
        return consent_page(
            client_id=self._client_id,
            member=_MEMBER,
            scope=asked.get("scope", ""),
            redirect_uri=asked["redirect_uri"],
        )

    def _decided(self, asked: Mapping[str, str], decision: str | None) -> Answer:
        match decision:
            case "allow":
                return self._send_back(asked, code=self._issue_code(asked["redirect_uri"]))
            case "deny":
                return self._send_back(asked, error="access_denied")
            case _:
                return refusal_page(400, "decision is neither allow nor deny.")

    def _send_back(self, asked: Mapping[str, str], **result: str) -> Answer:
        """Redirect with a code or an error, and with the state if one came and it is echoed."""
        if self.echo_state and "state" in asked:
            result["state"] = asked["state"]
        base, _, query = asked["redirect_uri"].partition("?")
        added = urlencode(result, errors=_ODD_BYTES)
        location = f"{base}?{query}&{added}" if query else f"{base}?{added}"
        return Answer(302, (("Location", location), ("Cache-Control", "no-store")))

    def __repr__(self) -> str:
        return f"<Consent redirect_uri={self.redirect_uri!r}, echo_state={self.echo_state}>"
