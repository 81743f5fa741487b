"""`pandadoc-proxy login`: a person consents in a browser, and a grant begins.

    consent.py     the address to open, and what may come back (pure)
    arrivals.py    what comes back: from the browser, or pasted into the terminal
    callback.py    the loopback listener at the redirect URI
    pages.py       what the browser shows at the end (pure)
    exchange.py    a code becomes a pair, is proven, and is stored as a new lineage
    command.py     the conversation in the terminal

Never here: a client secret or token in anything that is printed, shown, or put on a command line.
"""
