"""Reading secrets while we serve: files on threads of their own, with a limit, for a disk may hang."""

from collections import defaultdict
from pathlib import PurePath

from proxy.disk import Disk, DiskHangs, NoThread
from proxy.secrets import Secret, SecretReference, SecretUnavailable


class SecretReader:
    """Reads secrets as they are now.

    What changes: `_disks` grows by each folder that a file is read from, and never shrinks: configurations name few.
    A folder is where a disk is mounted; one that hangs takes no other's thread.
    """

    def __init__(self) -> None:
        self._disks: defaultdict[PurePath, Disk] = defaultdict(Disk)

    def __repr__(self) -> str:
        return f"<SecretReader {', '.join(f'{folder}: {disk}' for folder, disk in self._disks.items())}>"

    async def read(self, reference: SecretReference) -> Secret:
        """Read a secret. Raises SecretUnavailable."""
        if reference.kind != "file":
            return reference.read()
        try:
            return await self._disks[PurePath(reference.name).parent].do(reference.read)
        except (DiskHangs, NoThread) as fault:
            raise SecretUnavailable(f"{reference.describe()} can't be read: {fault}") from fault
