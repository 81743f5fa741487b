"""What people are told of a dead grant: what happened, where to look, and which command heals it."""

import pytest

from proxy.credential.advice import Advice, lost_reply, moment, span
from proxy.credential.ledger import Intent

OURS = Advice("default", "$CLIENT_ID", "file /run/secret", "$REFRESH_TOKEN")
ONE_OF_TWO = Advice("default", "$CLIENT_ID", "file /run/secret", "$REFRESH_TOKEN", several=True)
OTHER = Advice("other", "$CLIENT_ID", "file /run/secret", None)
IN_MEMORY = Advice("default", "$CLIENT_ID", "file /run/secret", "$REFRESH_TOKEN", in_memory=True)
OPTIONS = [(OURS, ""), (ONE_OF_TWO, " --credential default"), (OTHER, " --credential other")]
DOUBT = Intent("0123456789ab", 1_795_618_920.0)
MINUTE = "2026-11-25 15:02 UTC"


def test_every_heal_is_named_with_the_credential_it_is_for() -> None:
    assert OURS.login() == (
        "Run `pandadoc-proxy login`, or set a new refresh token as"
        " credentials.default.oauth2.refresh_token ($REFRESH_TOKEN)."
    )
    assert OTHER.login() == (
        "Run `pandadoc-proxy login --credential other`, or set a new refresh token as"
        " credentials.other.oauth2.refresh_token."
    )
    assert OURS.no_refresh_token().endswith(f"neither stored nor configured. {OURS.login()}")


def test_no_command_is_named_that_a_grant_in_memory_is_out_of_reach_of() -> None:
    heal = (
        "A login can't reach a grant in memory: set a new refresh token as credentials.default.oauth2.refresh_token"
        " ($REFRESH_TOKEN), or give it store: {file: …} and log in."
    )
    for said in (
        IN_MEMORY.no_refresh_token(),
        IN_MEMORY.dead("invalid_grant", None),
        IN_MEMORY.stopped(DOUBT),
        IN_MEMORY.refused(),
    ):
        assert said.endswith(heal)
        assert "pandadoc-proxy" not in said
    assert IN_MEMORY.stopped_seed(DOUBT, goes_on=True).endswith("may have spent it. Set a new one.")


def test_a_refused_grant_says_when_a_reply_was_lost_and_how_to_log_in() -> None:
    said = OURS.dead("invalid_grant", DOUBT)
    assert "credential default (invalid_grant): it was used elsewhere or revoked." in said
    assert f"began at {MINUTE} never had its answer stored" in said
    assert said.endswith(OURS.login())


def test_a_refused_grant_blames_no_lost_reply_where_there_was_none() -> None:
    assert OURS.dead("invalid_grant", None).endswith(f"used elsewhere or revoked. {OURS.login()}")
    assert lost_reply(None) == ""


def test_an_unknown_client_is_told_where_its_id_and_secret_are_configured() -> None:
    said = OURS.dead("invalid_client", DOUBT)
    assert "id ($CLIENT_ID) and secret (file /run/secret)" in said
    assert "login" not in said


def test_a_clients_id_that_has_changed_is_told_with_where_it_is_configured() -> None:
    assert OURS.another_client().startswith("the client's id ($CLIENT_ID) has changed since this proxy began")


def test_any_other_refusal_names_the_configuration() -> None:
    assert "(invalid_scope). Check credentials.other.oauth2, its scope" in OTHER.dead("invalid_scope", None)


@pytest.mark.parametrize(("advice", "option"), OPTIONS)
def test_a_token_that_may_be_spent_waits_for_a_person(advice: Advice, option: str) -> None:
    said = advice.stopped(DOUBT)
    assert "(unknown_outcome: stop)" in said
    assert MINUTE in said
    assert f"`pandadoc-proxy token refresh{option}`, or begin anew. {advice.login()}" in said


@pytest.mark.parametrize(("advice", "option"), OPTIONS)
def test_a_seed_that_may_be_spent_waits_for_a_person_and_hurts_nobody(advice: Advice, option: str) -> None:
    said = advice.stopped_seed(DOUBT, goes_on=True)
    assert f"credentials.{advice.name}.oauth2.refresh_token ({advice.refresh_token}) is not tried again" in said
    assert "(unknown_outcome: stop); the stored grant goes on." in said
    assert MINUTE in said
    assert f"`pandadoc-proxy token refresh{option}`" in said
    assert "; nor is the stored grant." in advice.stopped_seed(DOUBT, goes_on=False)


@pytest.mark.parametrize(("advice", "option"), OPTIONS)
def test_a_seed_that_another_process_has_kept_waiting_is_tried_by_the_same_command(advice: Advice, option: str) -> None:
    said = advice.seed_not_tried()
    assert said.startswith(
        f"credentials.{advice.name}.oauth2.refresh_token ({advice.refresh_token}) is new, and was not"
    )
    assert said.endswith(f"Once more: `pandadoc-proxy token refresh{option}`.")


@pytest.mark.parametrize(("advice", "option"), OPTIONS)
def test_a_grant_whose_tokens_are_refused_asks_for_another_member(advice: Advice, option: str) -> None:
    said = advice.refused()
    assert f"each access token of credential {advice.name} (401)" in said
    assert f"`pandadoc-proxy login{option}`" in said


@pytest.mark.parametrize(("advice", "option"), OPTIONS)
def test_a_dead_grant_beside_a_new_seed_asks_for_no_other_one(advice: Advice, option: str) -> None:
    said = advice.seed_waits()
    assert f"The configured one ({advice.refresh_token}) is new" in said
    assert f"`pandadoc-proxy token refresh{option}`" in said


def test_a_moment_is_written_to_the_minute() -> None:
    assert moment(DOUBT.at + 59) == MINUTE
    assert moment(0) == "1970-01-01 00:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7199, "120 minutes"),
        (7200, "2 hours"),
        (2 * 86400 - 1, "48 hours"),
        (2 * 86400, "2 days"),
        (30 * 86400, "30 days"),
        (-86400, "-24 hours"),
        (-1, "-1 seconds"),
    ],
)
def test_a_length_of_time_is_written_in_its_largest_fitting_unit(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_refusal_that_is_not_believed_yet_says_why() -> None:
    assert "another replica may have spent it" in OURS.may_be_on_its_way()
    assert "the store that would tell can't be reached" in OURS.out_of_sight()
