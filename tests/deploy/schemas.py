"""Kubernetes' own schemas, for each version that has native sidecars."""

from collections.abc import Sequence
from typing import Final

import kubernetes_validate
from deploy.pod import Document
from kubernetes_validate.utils import all_versions

VERSIONS: Final = sorted({each for each in all_versions() if int(each.split(".")[1]) >= 29})


def valid(documents: Sequence[Document], version: str) -> bool:
    """Tell whether every document was judged by just that version: another would answer for one that is not there.

    Raises kubernetes_validate.ValidationError, or SchemaNotFoundError.
    """
    by = {f"{kubernetes_validate.validate(dict(each), version, strict=True)}.0" for each in documents}
    return by == {version}
