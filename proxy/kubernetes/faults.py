"""What a call to Kubernetes may end in, besides an answer. No message holds a token, or text of the server's."""


class KubernetesFault(Exception):
    """A person must act; the message says on what."""


class Distrusted(KubernetesFault):
    """Whoever answered has a certificate that our authorities do not vouch for."""


class Unreachable(KubernetesFault):
    """The API does not answer, or asks us to wait: it may by itself."""
