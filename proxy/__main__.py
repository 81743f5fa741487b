"""`python -m proxy` is `pandadoc-proxy`."""

from proxy.cli import main

main(prog_name="pandadoc-proxy")
