"""The few calls to a Kubernetes API that a shared store needs: get, list, patch and watch of named objects.

    discovery.py    which API is meant
    cluster.py      where the API is and how it is trusted: as a pod sees it
    kubeconfig.py   the same, as `kubectl` on a laptop sees it
    tokens.py       what a caller shows of itself, re-read as it rotates
    exec_plugin.py  a token from the program that a kubeconfig names
    connection.py   one call: what is sent, what comes back
    api.py          the calls, and what each answer means; faults.py: what else they may end in
    objects.py      the fields of Secrets, Leases and events that are looked at
    lease_lock.py   one holder at a time, without comparing clocks

Written against the API reference (Secret v1 core, Lease v1 coordination.k8s.io) and the page "Kubernetes API
Concepts". The published client for asyncio would take 38 MB in each pod, and the whole sidecar takes 48.

Never here: what a Secret holds. Nothing of these modules knows of grants.
"""
