"""The consent page and its refusals as HTML: no script, nothing to load, every value escaped."""

from html import escape

from proxy.simulator.answers import Answer

_HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    # What the docstring says, kept by the browser. No form-action: it would stop the redirect that follows the form.
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"),
)
_STYLE = """\
:root { color-scheme: light dark; --paper: #f4f5f7; --card: #fff; --ink: #1c2127; --faint: #5a6472; --go: #1a7344; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171b; --card: #1f242a; --ink: #e8eaed; --faint: #a3adb8; --go: #1f8550; }
}
* { box-sizing: border-box; }
body {
  margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
  background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif;
}
main { width: 100%; max-width: 28rem; padding: 1.5rem; border-radius: .75rem; background: var(--card); }
h1 { margin: 0 0 1rem; font-size: 1.25rem; line-height: 1.3; }
h1, dd, p { overflow-wrap: anywhere; }
dt, p { color: var(--faint); font-size: .875rem; }
dd { margin: 0 0 .75rem; }
p { margin: 1.25rem 0 0; }
form { display: flex; gap: .75rem; margin-top: 1.25rem; }
button {
  flex: 1; min-height: 2.75rem; border: 1px solid var(--faint); border-radius: .5rem;
  background: none; color: inherit; font: inherit; cursor: pointer;
}
#allow { border-color: var(--go); background: var(--go); color: #fff; font-weight: 600; }
"""
_FOOT = "<p>This is a simulator of PandaDoc. Nothing behind it is real.</p>"


def consent_page(*, client_id: str, member: str, scope: str, redirect_uri: str) -> Answer:
    """Ask a human to allow or to deny; the form has no action, so that it goes to this page's own URL."""
    terms = {"It acts as": member, "It may": scope, "You then go back to": redirect_uri}
    rows = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>\n" for term, text in terms.items() if text)
    return _page(
        200,
        f"Allow {client_id} to use PandaDoc as you?",
        f"""\
<dl>
{rows}</dl>
<form method="post">
<button id="allow" name="decision" value="allow">Allow</button>
<button id="deny" name="decision" value="deny">Deny</button>
</form>""",
    )


def refusal_page(status: int, reason: str, *headers: tuple[str, str]) -> Answer:
    """Tell a human why there is nothing to allow."""
    return _page(status, "This request cannot be allowed", f"<p>{escape(reason)}</p>", *headers)


def _page(status: int, title: str, content: str, *headers: tuple[str, str]) -> Answer:
    """Lay out a page; the title is escaped here, the content was."""
    # Without an icon of its own a browser asks for /favicon.ico, and the journal would hold it.
    page = f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{content}
{_FOOT}
</main>
</body>
</html>
"""
    # A query may hold bytes that are no UTF-8; a page shows them as question marks.
    return Answer(status, (*_HEADERS, *headers), page.encode("utf-8", "replace"))
