"""The rate budget: what PandaDoc lets one user ask in a minute, spent so that its 429 is never met.

    rates      so many in so long; PandaDoc's own numbers
    calls      which rate a request is counted by, and whether its answer may be "not ready yet"
    window     how much of a rate is left: a slot comes back a window after the answer
    pace       when batch requests leave: spread over the window, around the others
    bucket     one rate with its waiting line: by priority, then first come
    budget     the seam: what the request's way asks of a budget, wherever it is kept
    local      behind the seam: this process's own, or its share of it
    shared     behind the seam: that of all replicas, each with its line (shared_bucket); its share while there is none
    ledger     the seam to what replicas share: who has taken which slot; redis_budget.py has it in Redis

Whoever sends knows more than whoever counts: a slot is taken before a request leaves and comes back a window after
its answer, so the upstream, which counts somewhere between, never finds more in its window than there are slots.
Never here: HTTP messages, and what becomes of a request that must wait (forward/metered).
"""
