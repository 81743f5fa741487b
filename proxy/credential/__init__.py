"""The token's way: from a store or a secret to one correct `Authorization` value.

    store ─► RefreshingCredential ─ current() ─► Credential ─► "Bearer …"
                ▲ save   │
                └── token endpoint (one detached task per credential, never a caller's)

    credential.py      what is lent, and how fresh it is
    source.py          what the request's way may ask for: the protocol CredentialSource
    api_key.py         the source that never changes
    oauth2.py          the source that refreshes itself (laws 2, 3, 5, 12)
    refresh.py         the one refresh (laws 1, 5, 6, 7, 8)
    grant_keeper.py    the ledger, in memory and in the store (law 4)
    ledger.py          what is written down of a grant, and how that may change
    policy.py          what the operator decides about refreshing
    latch.py           what PandaDoc has refused for good (law 6)
    expiry_alarm.py    the end that comes near, announced louder
    grant_secrets.py   where a grant's secrets and its seed are found
    advice.py          what people are told, and which command heals it
    status.py          how a credential is, told from its store
    refusals.py        what a 401 proves, and what it permits (law 3)
    backoff.py         when to try again
    token_endpoint.py  one call to POST /oauth2/access_token
    token_reply.py     what its answer means (laws 4, 6, 7, 8)
    probe.py           does PandaDoc still accept this token?
    store.py           where the ledger is kept; the memory store
    file_store.py      the store that outlives the process: slots.py, record.py its JSON, file_lock.py its locks
    shared_store.py    the store of a fleet; engine.py: the seam to what keeps it
    redis_engine.py    behind the seam: Redis, by redis_link.py, redis_client.py, redis_address.py, redis_faults.py
    kubernetes_engine.py  behind the seam: a Secret and a Lease

Never here: a request of the app's. This package does not know `forward`.
"""
