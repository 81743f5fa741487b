"""The request's way: from a listener to the upstream and back, one straight line.

    listener ─► guard ─► credential ─► headers ─► upstream ─► 401? replay once ─► relay, chunk by chunk
                        └─ within a rate budget, if there is one (metered) ─┘

    server.py            aiohttp's low-level server
    connection.py        one caller's connection: limits for heads, and calm ends
    incoming.py          one request of it
    tls.py               what stands between TCP and it where TLS is spoken
    door.py crowd.py     who finds a place when there are many, and who gives way
    handler.py           the line itself
    guard.py             may this request borrow the credential? (law 19)
    clients.py           who asks, and what they may; places.py: how many at once; tally.py: what was refused them
    token_request.py     what is for the token endpoint; token_placeholder.py answers it
    headers.py           what crosses, both ways (laws 9, 10, 15)
    errand.py            what one request wants from the upstream
    metered.py           when it is sent, where a rate budget says so; preference.py: Prefer: wait
    watch.py             whether its caller is still there meanwhile
    body.py              the caller's body, kept for a replay within bounds (laws 11, 12)
    upstream.py          the seam: what is sent, what comes back
    http_upstream.py     behind the seam: HTTP/1.1 on connections of our own
    resend.py            whether a send that broke is tried again (law 11)
    upstream_pool.py     the connections there are; dialler.py: how a new one is made
    upstream_connection.py  one of them; answer_reader.py and framing.py: what comes on it; upstream_tls.py: or below it
    relay.py             the answer on its way to the caller (law 13)
    burst.py             what leaves in one turn of the loop, both ways, leaves together
    problem.py           an answer of our own (law 14)
    exchange.py          what the access log tells of one request

Of `credential` this package knows Credential and CredentialSource, nothing else; of `budget` the seam, not what is
behind it.
"""
