"""Words for what is no UTF-8: a path is bytes, and JSON and HTML are not written with all of them."""


def encodable(text: str) -> str:
    r"""Write what stands for such a byte as `\udcff`, as Python shows it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
