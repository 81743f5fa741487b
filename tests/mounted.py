"""A folder that is mounted into a pod: all of its files change at once, by a link that is swapped."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class MountedFolder:
    """Files behind a `..data` link, as the kubelet publishes a ConfigMap or a Secret. `put` alone changes it."""

    path: Path
    versions: int = 0

    def put(self, **contents: bytes) -> None:
        """Swap all of the folder's files at once; what is not named stays as it is."""
        before = {file.name: file.read_bytes() for file in self.path.glob("..data/*")}
        self.versions += 1
        version = self.path / f"..version-{self.versions}"
        version.mkdir(parents=True)
        for name, content in {**before, **contents}.items():
            (version / name).write_bytes(content)
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(Path("..data") / name)
        swapped = self.path / "..data_tmp"
        swapped.symlink_to(version.name)
        swapped.rename(self.path / "..data")
