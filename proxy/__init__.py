"""pandadoc-proxy: a sidecar that lends PandaDoc credentials. This is the map.

    config's way    config/      YAML and environment → one frozen tree, or every fault at once
                    compose.py   the tree → a frozen Snapshot of parts; compose_credentials.py those of credentials,
                                 compose_engine.py what replicas share of them
                    app.py       start, reload, drain, stop; serve.py and reloads.py: as a command, by signals
    token's way     credential/  store ─► RefreshingCredential ─ current() ─► Credential ─► "Bearer …"
    request's way   forward/     listener ─► guard ─► client ─► policy ─► credential ─► headers ─► upstream
                                 ─► 401? replay once ─► relay
                    budget/      how much may be asked in a minute; compose_budget.py makes it from the tree
                                 redis_budget.py: where replicas share it
                    policy/      rules of methods and paths; compose_policy.py makes them from the tree

    kubernetes/                     the few calls to its API that a shared store needs

    cli.py healthcheck.py demo.py   the commands; __main__.py: where each begins
    login/ token_command.py         those by which people look after a grant; terminal.py: what they hear
    secrets.py secret_reader.py     a secret is a reference; read, re-read, never printed
    keyring.py                      which client a key belongs to
    errors.py                       what we say ourselves, by who must act
    throttled.py                    how long a 429 of PandaDoc's says to wait
    outbound.py hosts.py            what leaves the machine; which names mean this one
    trust.py                        how a server's certificate is verified
    logs.py log_lines.py notice.py  what operators are told; utf8.py: paths, so that JSON can hold them
    admin.py metrics.py             what they may ask: gauges.py and condition.py look at vitals.py, the running parts
    tracing.py spans.py             whether OpenTelemetry is to be told of requests and refreshes, and what
    page/                           what people may look at
    pulse.py                        how late the event loop comes
    service_manager.py              what systemd is told
    clock.py tasks.py signals.py    time, passed in; background work, kept in one place; the end
    time_limit.py                   how long something may take, where it may be we who were away
    starting.py                     the end before that; the garbage collector and what is loaded
    event_loop.py                   which one it all runs on
    disk.py names.py                file work and look-ups that stall nothing else, nor the end
    core_dumps.py                   nobody reads our memory
    succession.py                   which credential goes on as which, after a reload
    explain.py methods.py           what would become of a request, for `check`
    binding.py unix_socket.py       what is listened at; listening.py: where that can be; acceptor.py: how they come in
    certificates.py                 what a TLS listener shows, re-read when it changes
    open_files.py                   whether as many connections as configured can be open
    simulator/                      a PandaDoc stand-in for tests, for the demo, for people's own CI

`credential` never imports `forward`; `forward` knows of it only Credential and CredentialSource.
The laws that all of this keeps, cited by number everywhere, are in docs/laws.md, each with its tests.
"""

__version__ = "0.1.0"
