import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("250ms", 0.25), ("2m", 120), ("1h", 3600), ("7d", 604800), ("1.5s", 1.5), ("0", 0), ("0s", 0)],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert units.duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "5", "5 s", "-5s", "s", "5S", "5sec", "1m30s", "\u0665s", "1_0s", "0x5s", "1e3s", "5s\n", "9" * 5000 + "s"],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration with its unit"):
        units.duration(text)


def test_a_duration_has_an_upper_bound() -> None:
    assert units.duration("366d") == units.LONGEST
    with pytest.raises(ValueError, match="more than 366d"):
        units.duration("367d")


def test_zero_is_not_positive() -> None:
    assert units.positive_duration("1ms") == 0.001
    assert units.positive_size("1") == 1
    with pytest.raises(ValueError, match="longer than zero"):
        units.positive_duration("0")
    with pytest.raises(ValueError, match="larger than zero"):
        units.positive_size("0KiB")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-25T15:02:00Z", 1_795_618_920),
        ("2026-11-25T16:02:00+01:00", 1_795_618_920),
        ("2026-11-25 15:02:00.5+00:00", 1_795_618_920.5),
        ("1795618920", 1_795_618_920),
        ("1795618920.25", 1_795_618_920.25),
    ],
)
def test_a_moment_is_read_in_seconds_since_1970(text: str, seconds: float) -> None:
    assert units.moment(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *["", "soon", "-1795618920", "12", "1795618920123", "1795618920s", "1e9", "15:02Z", "9" * 5000],
        *["2026-11-25T25:00:00Z", "2026-11-25T15:02:00Z\n", "\u0661795618920"],
    ],
)
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a moment such as .*, or seconds since 1970$"):
        units.moment(text)


@pytest.mark.parametrize("text", ["2026-11-25T15:02:00", "2026-11-25"])
def test_a_moment_without_its_offset_is_not_guessed(text: str) -> None:
    with pytest.raises(ValueError, match="the offset is missing, such as Z for UTC"):
        units.moment(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_the_first_and_the_last_moment_there_is_are_read_too(text: str) -> None:
    assert abs(units.moment(text)) < 1e12


@pytest.mark.parametrize(
    ("text", "count"),
    [("64KiB", 65536), ("1MiB", 1048576), ("500KB", 500000), ("10mb", 10**7), ("123", 123), ("2GiB", 2**31), ("7B", 7)],
)
def test_a_size_is_read_in_bytes(text: str, count: int) -> None:
    assert units.size(text) == count


@pytest.mark.parametrize("text", ["", "KiB", "1.5MiB", "-1", "1 MiB", "64Ki", "1TiB", "1_000", "0x10", "9" * 5000])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        units.size(text)


def test_a_size_has_an_upper_bound() -> None:
    assert units.size("1024GiB") == units.LARGEST
    with pytest.raises(ValueError, match="more than 1024GiB"):
        units.size("1025GiB")


@given(st.integers(0, 366 * 86_400_000))
def test_a_written_duration_reads_the_same(milliseconds: int) -> None:
    assert units.duration(units.duration_text(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(0, units.LARGEST) | st.integers(0, 1024).map(lambda count: count * 2**30))
def test_a_written_size_reads_the_same(count: int) -> None:
    assert units.size(units.size_text(count)) == count


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.25, "250ms"), (90, "90s"), (120, "2m"), (1.5, "1500ms"), (604800, "7d")]
)
def test_a_duration_is_written_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert units.duration_text(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0B"), (8 * 2**20, "8MiB"), (500_000, "500KB"), (123, "123B")])
def test_a_size_is_written_in_its_largest_whole_unit(count: int, text: str) -> None:
    assert units.size_text(count) == text
