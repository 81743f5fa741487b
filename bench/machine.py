"""What a figure is worth nothing without: on what machine it was found."""

import os
import platform
import re
from pathlib import Path


def described() -> str:
    """Say which processor, how many CPUs there are, and which kernel and Python."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    cpus, kernel = os.cpu_count(), platform.release().partition("-")[0]
    return (
        f"{cpus} CPUs ({model[1] if model else platform.machine()}), Linux {kernel}, Python {platform.python_version()}"
    )
