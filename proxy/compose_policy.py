"""The composition of gates and policies: the server asks them, the command `check` explains them. Pure."""

from typing import Final

from proxy.config import Client, Config, Listener, Policy, TcpBind
from proxy.forward.guard import Gate
from proxy.hosts import is_wildcard
from proxy.policy import policy as rules
from proxy.policy.pattern import Pattern
from proxy.policy.profiles import profiles

TOKEN_ENDPOINT: Final = rules.RuleSet(
    "the token endpoint",
    (rules.Rule(allows=False, pattern=Pattern.parse("/oauth2/**")),),
    otherwise=True,
    cure="No rule opens it: for an app that insists on fetching a token, `token_endpoint: placeholder` answers POST"
    " /oauth2/access_token with one that opens nothing.",
)
"""What is behind it would hand out our tokens, or rotate them away: no configuration opens it."""


def gate_of(listener: Listener, config: Config) -> Gate:
    """Say who may come in through a listener."""
    bind = listener.bind
    return Gate(
        allowed_hosts=listener.allowed_hosts,
        bound_to=bind.host if isinstance(bind, TcpBind) and not is_wildcard(bind.host) else None,
        prefix=config.upstream.url.raw_path.rstrip("/"),
        max_head=config.limits.max_head,
        max_headers=config.limits.max_headers,
    )


def policy_of_all(config: Config) -> rules.Policy:
    """Make the policy that every request is asked for."""
    operations = (rules.Rule(allows=False, pattern=pattern) for pattern in config.policy.credential_operations)
    credentials = rules.RuleSet("policy.credential_operations", operations, otherwise=True)
    return rules.Policy((TOKEN_ENDPOINT, credentials)) + policy_of(config.policy, "policy")


def policy_of_client(client: Client, name: str) -> rules.Policy:
    """Make the policy that a client's requests are asked for besides."""
    return policy_of(client.policy, f"policy of client {name}")


def policy_of(policy: Policy, name: str) -> rules.Policy:
    """Make one section's rule sets: its profiles, then its own rules. A section that says nothing has none."""
    enforced = policy.mode == "enforce"
    sets = [_profile(profile, name, enforced=enforced) for profile in policy.profiles]
    if policy.rules or policy.otherwise == "deny":
        own = rules.RuleSet(name, policy.rules, otherwise=policy.otherwise == "allow", enforced=enforced)
        sets.append(own)
    return rules.Policy(tuple(sets))


def _profile(name: str, of: str, *, enforced: bool) -> rules.RuleSet:
    profile = profiles()[name]
    lines = (line.partition(" ") for line in profile.rules)
    return rules.RuleSet(
        f"{of}, profile {name}",
        [rules.Rule(verdict == "allow", Pattern.parse(pattern)) for verdict, _, pattern in lines],
        otherwise=profile.otherwise == "allow",
        enforced=enforced,
    )
