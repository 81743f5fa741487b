"""What the browser shows at the end."""

from proxy.login import pages


def test_every_text_is_escaped_and_nothing_is_loaded() -> None:
    html = pages.failed("<script>alert(1)</script>").html()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "http" not in html


def test_each_page_says_how_it_went() -> None:
    assert "✓" in pages.done("Logged in as you.").html()
    assert "You can close this page." in pages.done("Logged in as you.").html()
    assert "✗" in pages.failed("No.").html()
    assert pages.nothing_here().status == 404


def test_the_address_with_the_code_leaves_no_trace() -> None:
    assert pages.HEADERS["Referrer-Policy"] == "no-referrer"
    assert pages.HEADERS["Cache-Control"] == "no-store"
    assert "default-src 'none'" in pages.HEADERS["Content-Security-Policy"]


def test_no_page_may_frame_it() -> None:
    assert "frame-ancestors 'none'" in pages.HEADERS["Content-Security-Policy"]
