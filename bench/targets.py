"""What the proxy is to reach, and whether it does."""

from dataclasses import dataclass
from typing import Final

from bench.figures import Results

OURS: Final = "pandadoc-proxy"
ENVOY: Final = "Envoy"
NGINX: Final = "nginx"
SESSION: Final = "aiohttp client session"


@dataclass(frozen=True)
class Target:
    """One sentence, and a ratio or a figure of ours that must not be above `most`."""

    sentence: str
    figure: str
    most: float
    to: str = ""
    """The peer whose figure it is divided by; none: the figure itself counts."""
    others: str = ""
    """That peer's figure, if not the same."""

    def found(self, results: Results) -> float | None:
        if self.to:
            return results.ratio_of(OURS, self.figure, self.to, self.others)
        return results.median_of(OURS, self.figure)

    def met(self, results: Results) -> bool | None:
        """Return None where it can't be judged: somebody is missing."""
        found = self.found(results)
        return None if found is None else found <= self.most


TARGETS: Final = (
    Target("CPU per request, without an access log, to Envoy's", "c32.cpu_us", 1.0, ENVOY),
    Target("CPU per request, with an access log, to Envoy's without one", "logged.cpu_us", 1.25, ENVOY, "c32.cpu_us"),
    Target("CPU per request to the client session's (2.5 times cheaper)", "c32.cpu_us", 1 / 2.5, SESSION),
    Target("Median latency at one connection, to Envoy's", "c1.p50_us", 1.0, ENVOY),
    Target("Idle memory to Envoy's", "start.idle_mib", 0.75, ENVOY),
    Target("Milliseconds from exec to the first answer", "start.ready_ms", 600),
    Target("Time of a 100 MiB upload, to nginx's", "upload.seconds", 1.5, NGINX),
    Target("Time of a 100 MiB download, to nginx's", "download.seconds", 1.5, NGINX),
    Target("MiB that an upload of 100 MiB makes it grow by", "upload.growth_mib", 16),
    Target("MiB that a download of 100 MiB makes it grow by", "download.growth_mib", 16),
)
