"""What a multipart body holds, however it is cut into chunks."""

import pytest

from proxy.simulator.uploads import MultipartScanner, Part, boundary_of

_FILE = b"%PDF-1.7\r\n--b\r\n-- \r\n--boundar" + bytes(range(256))
_BODY = (
    b"preamble\r\n"
    b'--boundary\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n'
    b"Content-Type: application/pdf\r\n\r\n" + _FILE + b"\r\n"
    b'--boundary\r\ncontent-disposition: form-data; name="data"\r\n\r\n{"name": "x"}\r\n'
    b'--boundary\r\nContent-Disposition: form-data; name="empty"\r\n\r\n\r\n'
    b"--boundary--\r\nepilogue"
)


def _scan(body: bytes, chunk_bytes: int) -> tuple[Part, ...]:
    scanner = MultipartScanner("boundary")
    for start in range(0, len(body), chunk_bytes):
        scanner.feed(body[start : start + chunk_bytes])
    return scanner.parts()


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7, 64, 100_000])
def test_the_parts_are_the_same_however_the_body_is_cut(chunk_bytes: int) -> None:
    file, data, empty = _scan(_BODY, chunk_bytes)
    assert (file.name, file.is_file, file.size, bytes(file.value)) == ("file", True, len(_FILE), b"")
    assert (data.name, data.is_file, bytes(data.value)) == ("data", False, b'{"name": "x"}')
    assert (empty.name, empty.size) == ("empty", 0)


def test_a_body_that_begins_with_its_first_delimiter_has_the_same_parts() -> None:
    assert len(_scan(_BODY.removeprefix(b"preamble\r\n"), 10)) == 3


@pytest.mark.parametrize(
    "body", [b"", b"not multipart", _BODY.partition(b"--boundary--")[0], b"--boundary\r\n" + b"x" * 20_000]
)
def test_a_body_that_never_comes_to_its_end_has_no_parts(body: bytes) -> None:
    assert _scan(body, 1000) == ()


def test_a_field_above_the_limit_is_counted_but_not_kept_further() -> None:
    head = b'--boundary\r\nContent-Disposition: form-data; name="data"\r\n\r\n'
    (part,) = _scan(head + b"x" * 3_000_000 + b"\r\n--boundary--\r\n", 65536)
    assert part.size == 3_000_000
    assert len(part.value) <= 2 * 1024 * 1024


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b"', "a b"),
        ("multipart/form-data", None),
        ("multipart/mixed; boundary=abc", None),
        ("application/json", None),
        ("", None),
    ],
)
def test_only_form_data_with_a_boundary_is_an_upload(content_type: str, boundary: str | None) -> None:
    assert boundary_of(content_type) == boundary
