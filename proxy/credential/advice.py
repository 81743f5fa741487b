"""What people are told of a grant that can't be refreshed: what happened, and which command heals it. Pure."""

from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from proxy.credential.ledger import Intent

SHOWN: Final = 100
"""Characters of what others have written that are shown."""


class Advice(Struct, frozen=True):
    """The words for one credential."""

    name: str
    client_id: str  # where each is configured, for people; never a value
    client_secret: str
    refresh_token: str | None
    in_memory: bool = False  # where no command reaches the grant
    several: bool = False  # grants, so that a command must be told which

    def no_refresh_token(self) -> str:
        return f"Credential {self.name} has no refresh token, neither stored nor configured. {self.login()}"

    def dead(self, error: str, doubt: Intent | None) -> str:
        """Say why PandaDoc refuses the grant for good (an OAuth error of RFC 6749 §5.2)."""
        if error == "invalid_grant":
            return (
                f"PandaDoc refuses the refresh token of credential {self.name} (invalid_grant): it was used elsewhere"
                f" or revoked.{lost_reply(doubt)} {self.login()}"
            )
        if error == "invalid_client":
            return (
                f"Credential {self.name}: PandaDoc does not know this OAuth client (invalid_client). Check its"
                f" id ({self.client_id}) and secret ({self.client_secret})."
            )
        return (
            f"PandaDoc refuses to refresh credential {self.name} ({error}). Check credentials.{self.name}.oauth2,"
            " its scope above all."
        )

    def another_client(self) -> str:
        """Say that a pair would be kept under another client's id than it is redeemed with: no start would find it."""
        return (
            f"the client's id ({self.client_id}) has changed since this proxy began, which keeps the grant under the"
            " earlier one: restart the proxy"
        )

    def may_be_on_its_way(self) -> str:
        """Say that a refusal is not believed yet: another replica may be storing what it has redeemed (law 6)."""
        return "PandaDoc refuses its refresh token; another replica may have spent it, and be storing the new pair"

    def out_of_sight(self) -> str:
        """Say that a refusal can't be judged: who has a newer pair can't be seen."""
        return (
            "PandaDoc refuses its refresh token, which another replica may have spent; the store that would tell can't"
            " be reached"
        )

    def dead_seed(self, doubt: Intent | None) -> str:
        """Say that a newly configured refresh token is worth nothing (invalid_grant), and that nobody is hurt."""
        where = f"credentials.{self.name}.oauth2.refresh_token"
        return (
            f"PandaDoc refuses the configured refresh token of credential {self.name} (invalid_grant); the stored grant"
            f" goes on.{lost_reply(doubt)} Remove {where} ({self.refresh_token}), or set a new one."
        )

    def seed_not_tried(self) -> str:
        """Say that a newly configured refresh token waits: another process has refreshed, and its pair was taken."""
        where = f"credentials.{self.name}.oauth2.refresh_token"
        return (
            f"{where} ({self.refresh_token}) is new, and was not redeemed: another process has refreshed meanwhile."
            f" Once more: `pandadoc-proxy token refresh{self._option()}`."
        )

    def refused(self) -> str:
        """Say that PandaDoc mints tokens and refuses them: the user, or the application, may do nothing any more."""
        heal = f", and run `pandadoc-proxy login{self._option()}` as one who is."
        return (
            f"PandaDoc refuses each access token of credential {self.name} (401), also one that it has just given out,"
            " and in a probe too. No refresh helps: see whether the user who agreed is still a member of the workspace"
            f"{f'. {self.login()}' if self.in_memory else heal}"
        )

    def stopped(self, doubt: Intent) -> str:
        """Say why a refresh token that may be spent is not tried again (`unknown_outcome: stop`)."""
        stopped = f"Credential {self.name} is not refreshed (unknown_outcome: stop).{lost_reply(doubt)}"
        once_more = f"Try it once more with `pandadoc-proxy token refresh{self._option()}`, or begin anew."
        return f"{stopped} {self.login()}" if self.in_memory else f"{stopped} {once_more} {self.login()}"

    def stopped_seed(self, doubt: Intent, *, goes_on: bool) -> str:
        """Say that a newly configured refresh token that may be spent is passed over, and whether that hurts."""
        where = f"credentials.{self.name}.oauth2.refresh_token"
        stored = "the stored grant goes on" if goes_on else "nor is the stored grant"
        once_more = f"Try it once more with `pandadoc-proxy token refresh{self._option()}`, or set a new one."
        return (
            f"{where} ({self.refresh_token}) is not tried again (unknown_outcome: stop); {stored}."
            f"{lost_reply(doubt)} {'Set a new one.' if self.in_memory else once_more}"
        )

    def seed_waits(self) -> str:
        """Say that the stored grant is dead (invalid_grant), and that another refresh token is configured by now."""
        return (
            f"PandaDoc refuses the stored refresh token of credential {self.name} (invalid_grant). The configured one"
            f" ({self.refresh_token}) is new: not redeemed yet, or refused too. A running proxy redeems it within"
            f" seconds; `pandadoc-proxy token refresh{self._option()}` does it now, and tells."
        )

    def unfinished(self, doubt: Intent) -> str:
        """Say that a redeem's end is not known, and that nobody need act yet."""
        return f"{lost_reply(doubt).strip()} A running proxy tries it again when a token is needed."

    def failing(self, result: str, *, refused: bool) -> str:
        """Say that the last refresh failed for a reason that may pass, or that is not the grant's.

        `refused`: the access token is worth nothing any more, though it has not expired.
        """
        what = "PandaDoc refused the access token (401), and the refresh" if refused else "The last refresh"
        return (
            f"{what} failed ({result}). A running proxy tries again where that may help; to see why it fails,"
            f" run `pandadoc-proxy token refresh --dry-run{self._option()}`."
        )

    def expired(self) -> str:
        command = f"`pandadoc-proxy token refresh{self._option()}`"
        return f"The access token has expired. A running proxy refreshes it; so does {command}."

    def login(self) -> str:
        """Name the command that begins a new lineage, if it can, and the other way to do so."""
        configured = f" ({self.refresh_token})" if self.refresh_token else ""
        anew = f"set a new refresh token as credentials.{self.name}.oauth2.refresh_token{configured}"
        if self.in_memory:
            return f"A login can't reach a grant in memory: {anew}, or give it store: {{file: …}} and log in."
        return f"Run `pandadoc-proxy login{self._option()}`, or {anew}."

    def _option(self) -> str:
        return "" if self.name == "default" and not self.several else f" --credential {self.name}"


def lost_reply(doubt: Intent | None) -> str:
    """Name the minute in which a reply was lost, the likeliest cause of a spent token (law 6)."""
    if doubt is None:
        return ""
    return f" A redeem that began at {moment(doubt.at)} never had its answer stored, and may have spent it."


def moment(seconds: float) -> str:
    """Write a wall-clock time for people, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def span(seconds: float) -> str:
    """Write a length of time for people, in its largest fitting unit."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def shown(text: str, most: int = SHOWN) -> str:
    """Write what others have written, without what could move a terminal's cursor: `most` characters of it."""
    return "".join(character for character in text if character.isprintable())[:most]
