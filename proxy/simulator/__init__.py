"""A PandaDoc stand-in: for our tests, for `pandadoc-proxy demo`, and for other people's CI.

It answers the operations that docs/simulator.md lists, with the bodies PandaDoc documents, on a real socket, and all
else with PandaDoc's 404 or 405. It must never answer anything PandaDoc has not, except under `/_simulator/` (see
`control`). Nothing here is secure: every credential it hands out opens only itself.

    command    as a process of its own
    server     Simulator: the parts wired, started, stopped; what tests and the demo hold in their hands
    connection one caller's connection: a body that breaks off, a caller who leaves
    exchange   one request from its head to its answer, and onto the wire
    grants     clients, refresh tokens, access tokens, API keys: who lives, who dies
    codes      authorization codes: good once, for ten minutes, for one redirect URI
    consent    the consent page's decisions: who may ask, and where an answer may go
    pages      what a human sees there
    api        which operation a path names
    operations what each operation answers
    bodies     reading a body to its end, tallied
    documents  documents and their life from uploaded to sent
    uploads    what a multipart body holds, found while it streams past
    pdf        deterministic PDF bytes of any size
    answers    an answer as a value; the documented error bodies
    throttle   PandaDoc's rate limits
    faults     switches: errors, delays, hangs and resets on chosen paths
    journal    what was received
    control    the switches over HTTP

Decisions are synchronous and return an answer as a value; only `server`, `connection`, `exchange` and `bodies` do I/O.
"""

from proxy.simulator.faults import Fault, Faults
from proxy.simulator.journal import Received
from proxy.simulator.pdf import pdf_bytes, pdf_sha256
from proxy.simulator.server import Simulator

__all__ = ["Fault", "Faults", "Received", "Simulator", "pdf_bytes", "pdf_sha256"]
