"""Reading secrets while we serve: files on a thread of their own, with a limit, for a disk may hang."""

from proxy.disk import Disk, DiskHangs
from proxy.secrets import Secret, SecretReference, SecretUnavailable


class SecretReader:
    """Reads secrets as they are now. What changes is the disk's."""

    def __init__(self) -> None:
        self._disk = Disk()

    def __repr__(self) -> str:
        return f"<SecretReader {self._disk}>"

    async def read(self, reference: SecretReference) -> Secret:
        """Read a secret. Raises SecretUnavailable."""
        if reference.kind != "file":
            return reference.read()
        try:
            return await self._disk.do(reference.read)
        except (DiskHangs, RuntimeError) as fault:  # the latter: no thread was to be had
            raise SecretUnavailable(f"{reference.describe()} can't be read: {fault}") from fault
