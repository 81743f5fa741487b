"""The image, as far as its text tells: what reaches the build, and what the result runs as."""

import json
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import pytest
from deploy.readme import after, commands
from packaging.specifiers import SpecifierSet
from yarl import URL

from proxy import __version__
from proxy.config import TcpBind, load
from proxy.credential.file_store import default_path

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IGNORED: Final = (ROOT / ".dockerignore").read_text()

WILDCARDS: Final = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
"""What .dockerignore's patterns mean as regular expressions."""


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, its continued lines joined."""

    keyword: str
    text: str

    @property
    def exec_form(self) -> list[str] | None:
        """The words of the JSON form, which no shell reads; None for the shell form."""
        at = self.text.find("[")
        return json.loads(self.text[at:]) if at >= 0 else None

    @property
    def variables(self) -> dict[str, str]:
        """The names and values of an ENV."""
        return dict(word.split("=", 1) for word in shlex.split(self.text))


def instructions(text: str) -> list[Instruction]:
    written = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = written.replace("\\\n", " ").splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in lines if line.strip()]


DOCKERFILE: Final = instructions((ROOT / "Dockerfile").read_text())
FINAL_STAGE: Final = DOCKERFILE[max(i for i, each in enumerate(DOCKERFILE) if each.keyword == "FROM") :]


def all_of(keyword: str, among: list[Instruction] = DOCKERFILE) -> list[Instruction]:
    return [each for each in among if each.keyword == keyword]


def reaches_the_build(path: str, ignored: str = IGNORED) -> bool:
    """Tell what .dockerignore says of a file: the last pattern that matches it or a folder above it decides."""
    file = PurePosixPath(path)
    ways = [str(way) for way in (file, *file.parents[:-1])]
    kept = True
    for line in ignored.splitlines():
        pattern = line.strip().removeprefix("!")
        pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
        wanted = "".join(WILDCARDS.get(piece, re.escape(piece)) for piece in pieces)
        if pattern and not line.startswith("#") and any(re.fullmatch(wanted, way) for way in ways):
            kept = line.startswith("!")
    return kept


DOCKER_RUNS: Final = commands("docker run")


def test_every_source_of_a_copy_exists_and_reaches_the_build() -> None:
    copies = [each.text.split() for each in all_of("COPY") if "--from" not in each.text]
    named = [source for *sources, _target in copies for source in sources]
    sources = [source.replace("${REQUIREMENTS}", lock) for source in named for lock in ("run", "redis", "otel")]
    files = [path for source in sources for path in (ROOT / source, *(ROOT / source).rglob("*.py")) if path.is_file()]
    assert {"LICENSE", "proxy", *(f"requirements/{lock}.txt" for lock in ("run", "redis", "otel"))} == set(sources)
    assert all((ROOT / source).exists() for source in sources)
    assert [path for path in files if not reaches_the_build(path.relative_to(ROOT).as_posix())] == []


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".venv/bin/python",
        "config.yaml",
        "deploy/proxy/key",
        "requirements/dev.txt",
        "proxy/__pycache__/app.cpython-313.pyc",
        "proxy/forward/__pycache__/guard.cpython-313.pyc",
        "tests/rig.py",
    ],
)
def test_what_the_build_does_not_need_stays_out_of_it(path: str) -> None:
    assert not reaches_the_build(path)


@pytest.mark.parametrize(
    ("ignored", "path", "reaches"),
    [
        ("", "a/b", True),
        ("# a\n\na", "a/b", False),
        ("*\n!a/b", "a/b/c", True),
        ("*\n!a/b", "a/c", False),
        ("!a\n*", "a", False),
        ("a/*.py", "a/b.py", False),
        ("*.py", "a/b.py", True),
        ("**/*.py", "a/b/c.py", False),
        ("**/b", "b/c", False),
        ("a?", "ab", False),
    ],
)
def test_patterns_are_read_as_docker_reads_them(ignored: str, path: str, *, reaches: bool) -> None:
    assert reaches_the_build(path, ignored) is reaches


def test_it_runs_as_a_numeric_user_that_is_not_root() -> None:
    # A name would do for Docker; Kubernetes' runAsNonRoot can only judge a number.
    last = all_of("USER", FINAL_STAGE)[-1].text
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last)


def test_what_it_runs_needs_no_shell() -> None:
    (script,) = PROJECT["scripts"]
    assert [each.exec_form for each in all_of("ENTRYPOINT")] == [[script]]
    assert [each.exec_form for each in all_of("CMD")] == [["run"]]
    assert [each.exec_form for each in all_of("HEALTHCHECK")] == [[script, "healthcheck"]]
    assert [each.text for each in all_of("STOPSIGNAL")] == ["SIGTERM"]


def test_the_base_is_pinned_and_has_a_python_that_the_project_supports() -> None:
    name, base = all_of("ARG")[0].text.split("=", 1)
    version = re.fullmatch(r"python:(\d+\.\d+)(\.\d+)?-slim-[a-z]+", base)
    assert version
    assert version[1] in SpecifierSet(PROJECT["requires-python"])
    assert {each.text.removesuffix(" AS build") for each in all_of("FROM")} == {f"${{{name}}}"}


def test_the_lock_is_installed_by_hash_and_from_wheels_alone() -> None:
    installs = [each.text for each in all_of("RUN") if re.search(r"\bpip\b.*\binstall\b", each.text)]
    assert len(installs) == 1
    assert "--require-hashes --only-binary :all: -r requirements/${REQUIREMENTS}.txt" in installs[0]
    assert [each.text for each in all_of("ARG") if each.text.startswith("REQUIREMENTS")] == ["REQUIREMENTS=redis"]


def test_each_lock_is_the_one_before_and_more() -> None:
    """Else an image with traces, or with another store, would run other versions than the tests do."""
    names = ("run", "redis", "otel", "dev")
    locks = [set((ROOT / "requirements" / f"{name}.txt").read_text().split("\n")) for name in names]
    pins = [{line.partition(" ")[0] for line in lock if re.match(r"[a-z]", line)} for lock in locks]
    assert pins[0] < pins[1] < pins[2] < pins[3]


def test_the_script_calls_what_the_projects_entry_point_names() -> None:
    ((script, entry),) = PROJECT["scripts"].items()
    module, function = entry.split(":")
    written = re.search(r"printf '(.*?)' (\S+)\s+> (\S+)", " ".join(each.text for each in all_of("RUN")))
    assert written
    assert f"from {module} import {function}\\n\\n{function}()" in written[1]
    assert (written[2], written[3]) == ("/opt/pandadoc-proxy/bin/python", f"/opt/pandadoc-proxy/bin/{script}")
    assert all_of("ENV", FINAL_STAGE)[0].variables["PATH"] == "/opt/pandadoc-proxy/bin:$PATH"


def test_its_user_owns_the_folder_in_which_the_oauth_grant_is_kept() -> None:
    state_home = Path(all_of("ENV", FINAL_STAGE)[0].variables["XDG_STATE_HOME"])
    folder = default_path(state_home, "an owner").parent
    user, group = all_of("USER", FINAL_STAGE)[-1].text.split(":")
    made = ["install", "-d", "-o", user, "-g", group, "-m", "0700", str(folder)]
    assert made in [each.exec_form for each in all_of("RUN", FINAL_STAGE) if each.text.startswith("[")]


def test_its_labels_tell_the_version_and_come_after_all_that_makes_a_layer() -> None:
    labels = all_of("LABEL", FINAL_STAGE)[0]
    told = {name.removeprefix("org.opencontainers.image."): text for name, text in labels.variables.items()}
    assert told["version"] == __version__
    assert told["licenses"] == PROJECT["license"]
    assert set(told) == {"title", "description", "licenses", "version", "revision", "base.name"}
    assert not [each for each in FINAL_STAGE[FINAL_STAGE.index(labels) :] if each.keyword in {"RUN", "COPY"}]


def test_make_image_has_docker_tag_it_with_the_version_and_mark_it_with_the_revision(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    docker.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    line = ["make", "--silent", "--no-print-directory", "image", "PYTHON_IMAGE=python@sha256:0123"]
    made = subprocess.run(line, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)  # noqa: S603 - fixed
    words = made.stdout.splitlines()
    assert (words[0], words[-1], after("--tag", words)) == ("build", ".", [f"pandadoc-proxy:{__version__}"])
    base, revision = after("--build-arg", words)
    assert base == "PYTHON=python@sha256:0123"
    assert re.fullmatch(r"REVISION=[0-9a-f]{40}", revision)


def test_older_builders_understand_it() -> None:
    # buildah 1.28, which Debian 12 has, refuses both.
    assert not [each for each in DOCKERFILE if "--link" in each.text or "<<" in each.text]


@pytest.mark.parametrize("words", DOCKER_RUNS, ids=["api key", "oauth"])
def test_each_docker_run_in_the_readme_is_reachable_through_its_port_from_this_machine_alone(words: list[str]) -> None:
    given = [value.partition("=") for value in after("-e", words)]
    config = load(environ={name: value or "given" for name, _, value in given}, search=())
    (listener,) = config.listeners
    assert isinstance(listener.bind, TcpBind)
    assert listener.bind.host == "0.0.0.0"  # noqa: S104 - where a published port arrives
    assert after("-p", words) == [f"127.0.0.1:{listener.bind.port}:{listener.bind.port}"]
    assert config.upstream.url == URL("https://api.pandadoc.com")


@pytest.mark.parametrize("words", DOCKER_RUNS, ids=["api key", "oauth"])
def test_each_docker_run_in_the_readme_is_read_only_and_without_capabilities(words: list[str]) -> None:
    assert "--read-only" in words
    assert after("--cap-drop", words) == ["ALL"]
    assert after("--security-opt", words) == ["no-new-privileges"]


def test_the_readmes_oauth_line_keeps_the_grant_on_a_volume() -> None:
    (mount,) = [each for words in DOCKER_RUNS for each in after("-v", words)]
    state_home = all_of("ENV", FINAL_STAGE)[0].variables["XDG_STATE_HOME"]
    assert mount.split(":")[1] == f"{state_home}/pandadoc-proxy"
