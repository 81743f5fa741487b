"""What a run has found: a scenario, an engine, a size of the fleet."""

import msgspec


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Times are seconds."""

    size: int
    redeemed: int
    refused: int
    unavailable: int  # redeems that the token endpoint did not take
    minted_after: float  # when the token that all have in the end was minted, from the event on
    adopted_p50: float  # and from then until a replica lends it
    adopted_max: float
    requests: int
    met_401: int  # requests whose first attempt was answered 401
    relayed_401: int
    unavailable_503: int
    idle: float  # calls to the engine in a second
    peak: int  # calls in the busiest second
    each: float  # calls of each replica until all have had the token for some seconds
    conflicts: int
    calls: dict[str, int]
