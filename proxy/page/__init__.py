"""The page for people, `GET /` on the admin port: how it is, at a glance.

    recent.py     the last quarter hour, fed with each request that is over
    traffic.py    its slots of time: counts, and how long requests took
    view.py       looks at the running proxy ─► a View: frozen values, no secret
    standing.py   a credential's status ─► a word, a tone, and what that means for who asks now
    chart.py      slots ─► inline SVG
    document.py   a View ─► HTML: cards.py, budgets.py, figures.py, trouble_list.py its parts, words.py their numbers,
                  mark.py the shape of each tone; markup.py escapes, style.css is how it looks

Server-rendered, no script, nothing to load. Never here: who may read it (admin, guard), and what is to be done, which
is advice's and the errors' to say.
"""
