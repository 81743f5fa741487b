"""What would become of a request: which client, which credential, which rule. For people, before they try. Pure."""

from collections.abc import Iterator

from msgspec import Struct

from proxy.budget.calls import call
from proxy.budget.rates import ALL
from proxy.compose_policy import gate_of, policy_of_all, policy_of_client
from proxy.config import Config, Listener
from proxy.errors import ProxyError
from proxy.forward import token_request
from proxy.forward.guard import admit, readings_of
from proxy.forward.headers import Head
from proxy.policy.policy import Decision, Policy
from proxy.policy.profiles import named


class Explained(Struct, frozen=True):
    """The explanation, in lines, and whether any of those who were asked about may send the request."""

    lines: tuple[str, ...]
    passes: bool


def explain(config: Config, method: str, target: str, only: str | None = None) -> Explained:
    """Explain what each listener would do with a request, for each client or the one named `only`."""
    head = Head(method, target, (1, 1), ((b"Host", b"localhost"),))
    judged = [(listener, _let_in(head, listener, config)) for listener in config.listeners]
    shown = next((asked.shown for _, asked in judged if isinstance(asked, _Asked)), f"{method} {target}")
    answers = [answer for listener, asked in judged for answer in _answers(listener, config, asked, only)]
    lines = [shown, *(line for answer in answers for line in answer.lines)]
    return Explained(tuple(lines), any(answer.passes for answer in answers))


class _Asked(Struct, frozen=True):
    method: str
    written: str
    target: str  # in origin-form
    readings: frozenset[str]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def shown(self) -> str:
        """Name the operation, where the path leaves no doubt; else every way to read it."""
        line = f"{self.method} {self.written}"
        if len(self.readings) > 1:
            shown = sorted(ascii(each or "/")[1:-1] for each in self.readings)
            return f"{line}, which may be read as {', '.join(shown)}"
        (reading,) = self.readings
        operation = named(self.method, reading, self.query)
        return line if operation is None else f"{line} is PandaDoc's {operation.id}"


def _let_in(head: Head, listener: Listener, config: Config) -> _Asked | ProxyError:
    """Have a listener's guard look at a request; return why it is refused, if it is."""
    gate = gate_of(listener, config)
    try:
        target = admit(head, gate).target
        return _Asked(head.method, head.target, target, readings_of(target, gate))
    except ProxyError as fault:
        return fault


def _answers(listener: Listener, config: Config, asked: _Asked | ProxyError, only: str | None) -> Iterator[Explained]:
    where = f"Listener {listener.bind}"
    if only is not None and only not in listener.clients:
        return
    if isinstance(asked, ProxyError):
        yield Explained((f"{where}: {asked.status}, whoever asks", f"  {asked.detail}"), passes=False)
    elif asked.written == listener.health and asked.method in {"GET", "HEAD"}:
        yield Explained((f"{where}: answered here, it is the health path",), passes=True)
    elif listener.token_endpoint == "placeholder" and token_request.asked(asked.method, asked.target):  # noqa: S105
        yield Explained((f"{where}: answered here, with a token that opens nothing",), passes=True)
    elif listener.clients:
        for name, client in listener.clients.items():
            if only in {None, name}:
                policy = policy_of_all(config) + policy_of_client(client, name)
                yield _judged(f"{where}, client {name}", listener.lends(client), policy, config, asked)
    else:
        yield _judged(f"{where}, whoever reaches it", listener.credential, policy_of_all(config), config, asked)


def _judged(who: str, credential: str, policy: Policy, config: Config, asked: _Asked) -> Explained:
    decisions = policy.decide(asked.method, asked.readings)
    passes = all(each.allowed or not each.enforced for each in decisions)
    end = f"forwarded to {config.upstream.url} with credential {credential}" if passes else "403"
    telling = [each for each in decisions if not (each.allowed and each.by_default)]
    why = [_said(each) for each in telling] or ["no rule speaks of it"]
    why += _counted(credential, config, asked) if passes else ()
    return Explained((f"{who}: {end}", *(f"  {line}" for line in why)), passes)


def _counted(credential: str, config: Config, asked: _Asked) -> Iterator[str]:
    rates = config.rate_budget.of(credential)
    if rates:
        name = call(asked.method, asked.readings, asked.query).rate
        name = name if name in rates else ALL
        yield f"counted by rate_budget as {name}: {rates[name] or 'no number is known, a 429 is heeded'}"


def _said(decision: Decision) -> str:
    doubt = ", in one of its readings," if decision.doubtful else ""
    lenient = "" if decision.allowed or decision.enforced else " (mode: warn, so it passes and is counted)"
    return f"{'allowed' if decision.allowed else 'refused'}{doubt} by {decision.by}{lenient}"
