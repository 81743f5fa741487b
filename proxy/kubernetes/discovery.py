"""Which API is meant: that of a kubeconfig that is named, else the pod's own, else the one that kubectl would use."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from proxy.disk import Disk
from proxy.kubernetes.cluster import MOUNT, Cluster, in_cluster
from proxy.kubernetes.exec_plugin import ExecPlugin
from proxy.kubernetes.faults import KubernetesFault, Unreachable
from proxy.kubernetes.kubeconfig import from_kubeconfig
from proxy.secret_reader import SecretReader


class Discovery:
    """Finds it; as a function, so that it can be asked again. `_program`, the last that gave tokens, is `_kept`'s."""

    def __init__(
        self,
        environ: Mapping[str, str],
        kubeconfig: Path | None,
        reader: SecretReader,
        monotonic: Callable[[], float],
        mount: Path = MOUNT,
        *,
        namespace: str | None = None,
    ) -> None:
        """`namespace`: the configured one."""
        self._environ = environ
        self._kubeconfig = kubeconfig
        self._reader = reader
        self._monotonic = monotonic
        self._mount = mount
        self._namespace = namespace
        self._disk = Disk()
        self._program: ExecPlugin | None = None

    async def __call__(self) -> Cluster:
        """Read what is there now. Raises KubernetesFault."""
        try:
            return await self._disk.do(self._found)
        except OSError as fault:
            raise Unreachable(f"The way to the Kubernetes API can't be read: {fault}.") from fault

    def _found(self) -> Cluster:
        if self._kubeconfig is None and self._environ.get("KUBERNETES_SERVICE_HOST"):
            return in_cluster(self._environ, self._reader, self._monotonic, self._mount, self._namespace)
        return self._kept(from_kubeconfig(self._paths(), self._reader, self._monotonic))

    def _kept(self, cluster: Cluster) -> Cluster:
        """Go on with the program that is known, and its token: it may ask a person."""
        program = cluster.tokens
        if not isinstance(program, ExecPlugin):
            return cluster
        if self._program is None or self._program.plugin != program.plugin:
            self._program = program
        return replace(cluster, tokens=self._program)

    def _paths(self) -> list[Path]:
        if self._kubeconfig is not None:
            return [self._kubeconfig]
        named = [Path(each) for each in self._environ.get("KUBECONFIG", "").split(":") if each]
        return named or [self._home() / ".kube" / "config"]

    def _home(self) -> Path:
        try:
            return Path(self._environ.get("HOME", "~")).expanduser()
        except RuntimeError:  # a user without a line in /etc/passwd
            raise KubernetesFault(
                "There is no home folder to look for a kubeconfig in: mount a service account's token into this"
                " container, or name a kubeconfig."
            ) from None
