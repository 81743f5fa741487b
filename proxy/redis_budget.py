"""What replicas share of a rate budget, in a Redis or a Valkey.

    PREFIX:{USER}:rates:replicas      who has looked lately: a sorted set, by when each is forgotten
    PREFIX:{USER}:rates:NAME:slots    the slots that are taken: a sorted set, by when each comes back
    PREFIX:{USER}:rates:NAME:line     processes in which an interactive request waits, by when that is forgotten
    PREFIX:{USER}:rates:NAME:state    a hash: the pause after a 429 and what it has taught, when batch requests are due

The braces keep all of a user's in one slot of a cluster. Time is Redis's own, in milliseconds, so clocks need not
agree; where that steps back, what lies further ahead than it ever may is pulled back. USER is a hash, never the key
that it is made of. EVAL and not EVALSHA, as for the record (redis_engine).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from typing import Any, Final

from proxy.budget.ledger import FORGOTTEN, Ask, LedgerUnreachable, Look, Reply, Seen, User
from proxy.budget.pace import SLACK
from proxy.budget.rates import Rate
from proxy.budget.window import ALONE, GROWTH, REPEATED
from proxy.credential.redis_client import Way
from proxy.credential.redis_link import RedisLink
from proxy.credential.store import StoreError
from proxy.secrets import Secret
from proxy.throttled import LONGEST

LIMIT: Final = 1.0
"""Seconds for one call: so long a request waits at most before its process goes on by itself."""

QUIET: Final = 3000
"""Milliseconds without a slot after all data was lost, until all have told what they sent (shared.LOOK_EVERY)."""

WAITS: Final = 1500
"""Milliseconds for which a process is believed to have somebody waiting (shared_bucket.ASK_AGAIN)."""

PAUSE: Final = round(LONGEST * 1000)
"""Milliseconds that no pause is longer than."""

KEPT: Final = 3_600_000
"""Milliseconds for which a rate is remembered that nobody asks for, nor looks at."""

NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

LIMITS: Final = f"""
local function until_of(state, field, known, most)
  local moment = tonumber(known) or 0
  if moment > now + most then
    moment = now + most
    redis.call('HSET', state, field, string.format('%.3f', moment))
  end
  return moment
end
local function limit_of(state, most, window)
  local known = redis.call('HMGET', state, 'learned', 'grows')
  local learned = tonumber(known[1])
  if not learned then return most end
  local grows = until_of(state, 'grows', known[2], math.max({PAUSE}, window))
  if now < grows then return math.min(learned, most) end
  while now >= grows and learned < most do
    learned, grows = math.floor(learned * {GROWTH}) + 1, grows + window
  end
  if learned >= most then
    redis.call('HDEL', state, 'learned', 'grows')
    return most
  end
  redis.call('HSET', state, 'learned', learned, 'grows', string.format('%.3f', grows))
  return learned
end
local function taken_of(slots, most)
  redis.call('ZREMRANGEBYSCORE', slots, '-inf', now)
  local last = most and redis.call('ZRANGE', slots, -1, -1, 'WITHSCORES') or {{}}
  while last[1] and tonumber(last[2]) > now + most do
    redis.call('ZADD', slots, now + most, last[1])
    last = redis.call('ZRANGE', slots, -1, -1, 'WITHSCORES')
  end
  return redis.call('ZCARD', slots)
end
local function opens_in(slots, taken, limit, window)
  if taken == 0 or limit == 0 then return window end
  local place = math.max(0, taken - limit)
  return math.min(window, redis.call('ZRANGE', slots, place, place, 'WITHSCORES')[2] - now)
end
"""

TAKE: Final = f"""
{NOW}
{LIMITS}
local slots, state, line = KEYS[1], KEYS[2], KEYS[3]
local most, window, answer = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local batch, bounded, wanted = ARGV[5] == '1', ARGV[6] == '1', #ARGV - 7
local known = redis.call('HMGET', state, 'born', 'quiet', 'paused', 'due')
local born, quiet = known[1], until_of(state, 'quiet', known[2], {QUIET})
local paused, due = until_of(state, 'paused', known[3], {PAUSE}), until_of(state, 'due', known[4], window)
if not born then
  born = time[1] .. '.' .. time[2]
  if ARGV[7] ~= '' then quiet = now + {QUIET} end
  redis.call('HSET', state, 'born', born, 'quiet', quiet)
end
local limit, taken = limit_of(state, most, window), taken_of(slots, window + answer)
local shut, slack, waiting = math.max(bounded and 0 or quiet, paused) - now, window / {SLACK}, 0
if batch then waiting = taken_of(line, {WAITS}) end
local granted = 0
while granted < wanted and shut <= 0 and waiting == 0 and taken < limit and not (batch and due - now > slack) do
  granted = granted + 1
  taken = taken + 1
  due = math.min(math.max(due, now) + window / limit, now + window)
  redis.call('ZADD', slots, now + window + answer, ARGV[7 + granted])
end
if granted > 0 then
  redis.call('HSET', state, 'due', string.format('%.3f', due), 'every', string.format('%.3f', window / limit))
  redis.call('PEXPIRE', slots, window + answer)
end
redis.call('PEXPIRE', state, {KEPT})
local wait, opens = 0, opens_in(slots, taken, limit, window)
if granted < wanted then
  wait = math.max(1, shut, taken >= limit and opens or 0)
  if batch then
    wait = math.max(wait, due - slack - now, waiting > 0 and 20 or 0)
  else
    redis.call('ZADD', line, now + {WAITS}, ARGV[1])
    redis.call('PEXPIRE', line, {WAITS})
  end
elseif not batch then
  redis.call('ZREM', line, ARGV[1])
end
return {{granted, math.ceil(wait), math.max(0, limit - taken), limit, math.max(0, paused - now), opens, born}}
"""

TELL: Final = f"""
{NOW}
local slots, state, back = KEYS[1], KEYS[2], 0
for i = 2, #ARGV, 2 do
  local left = tonumber(ARGV[i + 1])
  if left > 0 then
    redis.call('ZADD', slots, now + left, ARGV[i])
  else
    back = back + redis.call('ZREM', slots, ARGV[i])
  end
end
redis.call('PEXPIRE', slots, ARGV[1])
local known = redis.call('HMGET', state, 'due', 'every')
if back > 0 and known[1] then
  redis.call('HSET', state, 'due', string.format('%.3f', known[1] - back * known[2]))
end
return 1
"""

THROTTLED: Final = f"""
{NOW}
{LIMITS}
local slots, state, most, window, wait = KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local known = redis.call('HMGET', state, 'paused', 'floor')
local paused, floor = until_of(state, 'paused', known[1], {PAUSE}), tonumber(known[2]) or 1
redis.call('HSET', state, 'paused', math.max(now + wait, paused))
if most > 0 then
  local limit, taken = limit_of(state, most, window), taken_of(slots)
  local first = redis.call('ZRANGE', slots, 0, 0, 'WITHSCORES')
  if first[1] then redis.call('ZADD', slots, math.min(tonumber(first[2]), now + wait), first[1]) end
  if now >= paused then
    floor = math.max(1, math.floor(limit / (now < paused + window and {REPEATED} or {ALONE})))
  end
  local learned = math.min(limit, math.max(floor, taken))
  redis.call('HSET', state, 'learned', learned, 'floor', floor, 'grows', now + math.max(wait, window))
end
redis.call('PEXPIRE', state, {KEPT})
return 1
"""

LOOK: Final = f"""
{NOW}
{LIMITS}
redis.call('ZADD', KEYS[1], now + {FORGOTTEN * 1000}, ARGV[1])
redis.call('PEXPIRE', KEYS[1], {FORGOTTEN * 1000})
local told = {{taken_of(KEYS[1], {FORGOTTEN * 1000})}}
for i = 2, #ARGV, 2 do
  local slots, state, most = KEYS[i], KEYS[i + 1], tonumber(ARGV[i])
  local paused = until_of(state, 'paused', redis.call('HGET', state, 'paused'), {PAUSE})
  local window = tonumber(ARGV[i + 1])
  local limit, taken = most > 0 and limit_of(state, most, window) or 0, taken_of(slots)
  table.insert(told, math.max(0, limit - taken))
  table.insert(told, limit)
  table.insert(told, math.max(0, paused - now))
  table.insert(told, opens_in(slots, taken, limit, window))
  table.insert(told, redis.call('HGET', state, 'born') or '')
  redis.call('PEXPIRE', state, {KEPT})
end
return told
"""


class RedisLedger:
    """Keeps who has taken what of one user's rates.

    What changes: `_user`, by `belong`, and `_base`, what the keys begin with, by that and `look`, for a key that is
    replaced is another user's, as far as can be known.
    """

    def __init__(
        self,
        url: Callable[[], Awaitable[Secret]],
        user: User,
        *,
        prefix: str,
        way: Way,
        process: str,
        answer: float,
    ) -> None:
        """`url` and `user` may raise SecretUnavailable. `answer`: seconds within which requests are answered."""
        self._link = RedisLink(url, way)
        self._user = user
        self._prefix = prefix
        self._process = process
        self._answer = answer
        self._base = ""

    def __repr__(self) -> str:
        return f"<RedisLedger {self.name} prefix {self._prefix}>"

    @property
    def name(self) -> str:
        return self._link.name

    async def take(self, name: str, rate: Rate, ask: Ask) -> Reply:
        numbers = (rate.most, _ms(rate.seconds), _ms(self._answer), int(ask.batch), int(ask.bounded))
        granted, wait, left, limit, paused, opens, born = await self._run(
            TAKE, (name,), ("slots", "state", "line"), self._process, *numbers, ask.born, *ask.ids
        )
        return Reply(granted, wait / 1000, Seen(left, limit, paused / 1000, opens / 1000), born.decode())

    async def tell(self, name: str, rate: Rate, slots: Mapping[str, float | None]) -> None:
        told = [word for slot, left in slots.items() for word in (slot, 0 if left is None else _ms(left))]
        await self._run(TELL, (name,), ("slots", "state"), _ms(rate.seconds + self._answer), *told)

    async def throttled(self, name: str, rate: Rate | None, wait: float) -> None:
        await self._run(THROTTLED, (name,), ("slots", "state"), *_numbers(rate), _ms(wait))

    async def look(self, rates: Mapping[str, Rate | None]) -> Look:
        self._base = ""
        numbers = [number for rate in rates.values() for number in _numbers(rate)]
        replicas, *told = await self._run(
            LOOK, tuple(rates), ("slots", "state"), self._process, *numbers, replicas=True
        )
        each = list(zip(rates, *(told[place::5] for place in range(5)), strict=True))
        seen = {name: Seen(left, limit, paused / 1000, opens / 1000) for name, left, limit, paused, opens, _ in each}
        return Look(replicas, seen, {name: born.decode() for name, *_, born in each})

    def belong(self, user: User) -> None:
        self._user, self._base = user, ""

    async def close(self) -> None:
        await self._link.close()

    async def _run(
        self, script: str, names: tuple[str, ...], of: tuple[str, ...], *args: str | int, replicas: bool = False
    ) -> Any:
        """Run a script on these keys of each name. Raises LedgerUnreachable."""
        try:
            with self._link.faults(LIMIT):
                async with asyncio.timeout(LIMIT):
                    self._base = self._base or f"{self._prefix}:{{{await self._user()}}}:rates"
                    keys = [f"{self._base}:replicas"] if replicas else []
                    keys += [f"{self._base}:{name}:{each}" for name in names for each in of]
                    return await self._link.ask(lambda redis: redis.eval(script, len(keys), *keys, *args), LIMIT)
        except StoreError as fault:
            raise LedgerUnreachable(str(fault)) from fault


def _ms(seconds: float) -> int:
    return max(1, ceil(seconds * 1000))


def _numbers(rate: Rate | None) -> tuple[int, int]:
    return (0, 0) if rate is None else (rate.most, _ms(rate.seconds))
