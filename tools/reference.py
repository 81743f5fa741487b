"""Make what people and editors read about the configuration, from config.yaml's comments and the config's types.

    python tools/reference.py            write proxy/config/meanings.json and docs/configuration.md
    python tools/reference.py --check    exit 1 if they would change

What a key means is written once, beside it in config.yaml: behind it, or in the lines above it. Without its sign a
commented-out key of that file is YAML at its place. The rest of the page comes out of the JSON Schema.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
import yaml

from proxy.config.forms import FORMS
from proxy.config.schema import schema

ROOT: Final = Path(__file__).parents[1]
SHIPPED: Final = ROOT / "config.yaml"

NAMED: Final = frozenset({"clients", "credentials"})
"""The keys under which names of the operator's own stand."""

KEY: Final = re.compile(r"(?P<indent>(?: |- )*)(?P<key>[a-z][a-z0-9_]*):(?: (?P<value>.*?))??(?: *# (?P<said>.*))?")
NAMES: Final = {f"#/$defs/{form.key}": form.name for form in FORMS.values()}

OUT: Final = re.compile(r"^( *)# (?= *(?:- )?[a-z][a-z0-9_]*:(?: |$))", re.MULTILINE)
"""The sign before a key that is commented out. Prose does not begin with a word in small letters and a colon."""

HEAD: Final = """\
# Configuration

<!-- Made by tools/reference.py from config.yaml and the config's types: a change belongs there. -->

The file is found by `--config`, `PANDADOC_PROXY_CONFIG`, `./config.yaml`, `/etc/pandadoc-proxy/config.yaml`; none at
all is fine. It is plain YAML: no anchors, no tags. [config.yaml](../config.yaml) is the same reference as a file to
copy from. `pandadoc-proxy check` tells every fault at once, or what would happen.

**By the environment.** Any key can be set by a variable, two underscores a level, list entries by number:
`PANDADOC_PROXY__UPSTREAM__URL`, `PANDADOC_PROXY__LISTENERS__0__BIND`. A value that begins with `{`, `[` or a quote is
YAML: `PANDADOC_PROXY__POLICY__PROFILES='[no-send]'`. A variable wins over the file; an empty one is as
good as unset, and `null` is written out. `…__UPSTREAM` with just a URL, or `…__RATE_BUDGET` with just a word, sets that
one value, and the file's others in the section stay. `…__CREDENTIALS__MY_TEAM` is `my-team` where that is there; that
two names fit is a fault.

**In an editor.** `pandadoc-proxy check --schema > config.schema.json` writes the JSON Schema, which completes keys and
explains them. Editors that use yaml-language-server find it by a comment at the top of config.yaml:

```yaml
# yaml-language-server: $schema=./config.schema.json
```

It marks unknown keys, wrong types and misspelt values, and nothing that would load. Whether values fit each other, the
environment, and the files that are named, only `check` can see.

The keys at the top:

"""


def uncommented(text: str) -> str:
    """Take away the signs before keys that are commented out; prose keeps its own."""
    return OUT.sub(r"\1", text)


def meanings(text: str) -> dict[str, str]:
    """Read what each key means, by its path; lists have no step in a path, and names are `*`."""
    found: dict[str, list[str]] = {}
    above: list[str] = []
    steps: list[tuple[int, str]] = []
    for line in uncommented(text).splitlines():
        match = KEY.fullmatch(line)
        if match:
            steps = [step for step in steps if step[0] < len(match["indent"])]
            steps.append((len(match["indent"]), "*" if steps and steps[-1][1] in NAMED else match["key"]))
            said = [*filter(None, [match["said"]]), *filter(None, [" ".join(above)])]
            found.setdefault(".".join(step for _, step in steps), []).extend(said)
        above = [*above, line.strip()[2:]] if line.lstrip().startswith("# ") else []
    return {path: ". ".join(said) for path, said in found.items() if said}


def page(whole: Mapping[str, Any]) -> str:
    """Write the reference page out of the schema."""
    tops = frozenset(whole["properties"])
    return "\n".join([HEAD, *_table(whole, "", tops), *_sections(whole, "", tops), *_forms()])


def _sections(section: Mapping[str, Any], path: str, tops: frozenset[str]) -> Iterator[str]:
    """Write what is below a section, depth first. A key that is told at the top is not told again."""
    for name, key in section["properties"].items():
        below = _section_of(key)
        if below is None or (path and name in tops):
            continue
        where = _place(path, name, key)
        yield f"## `{where}`\n"
        if below.get("description", key.get("description")) != key.get("description"):
            yield f"{below['description'][0].upper()}{below['description'][1:]}.\n"
        yield from _table(below, where, tops)
        yield from _sections(below, where, tops)


def _table(section: Mapping[str, Any], path: str, tops: frozenset[str]) -> Iterator[str]:
    yield "| key | form | default | meaning |\n|---|---|---|---|"
    for name, key in section["properties"].items():
        where = name if path and name in tops else _place(path, name, key)
        cells = (f"`{name}`", _form(key, where), _default(key, name in section.get("required", ())), _meaning(key))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _section_of(key: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Find the mapping that a key holds, or holds several of."""
    if "properties" in key:
        return key
    ways = [*key.get("anyOf", ()), key.get("items"), key.get("additionalProperties")]
    return next((below for way in ways if isinstance(way, dict) and (below := _section_of(way))), None)


def _place(path: str, name: str, key: Mapping[str, Any]) -> str:
    many = "[]" if "items" in key else ".NAME" if "propertyNames" in key else ""
    return f"{path}.{name}{many}".lstrip(".")


def _form(key: Mapping[str, Any], where: str) -> str:
    if _section_of(key) is not None:
        kind = "list of" if "items" in key else "names, each with" if "propertyNames" in key else ""
        return f"{kind} [keys](#{re.sub(r'[^a-z0-9_]', '', where.lower())})".strip()
    if "anyOf" in key:
        return " or ".join(_form(way, where) for way in key["anyOf"])
    if "propertyNames" in key:
        return f"names, each with one of {_form(key['additionalProperties'], where)}"
    if "items" in key:
        return f"list of {_form(key['items'], where)}"
    if "enum" in key:
        return ", ".join(f"`{word}`" for word in key["enum"])
    return "`null`" if "$ref" not in key else NAMES[key["$ref"]]


def _default(key: Mapping[str, Any], required: bool) -> str:  # noqa: FBT001 - private, and positional where it is used
    if required:
        return "required"
    if "default" not in key:
        return ""
    listed = key["default"] if isinstance(key["default"], list) and key["default"] else [key["default"]]
    return "<br>".join(f"`{_plain(each)}`" for each in listed)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _meaning(key: Mapping[str, Any]) -> str:
    return str(key.get("description", "")).replace("|", "\\|")


def _forms() -> Iterator[str]:
    yield "## Forms\n\n| form | is | such as |\n|---|---|---|"
    for form in FORMS.values():
        examples = ", ".join(f"`{_in_yaml(each)}`" for each in form.examples)
        yield f"| {form.name} | {form.says} | {examples} |"
    yield ""


def _in_yaml(value: Any) -> str:
    """Write an example as it may stand in a file."""
    return yaml.safe_dump(value, default_flow_style=True, width=200).removesuffix("...\n").strip()


def made(text: str) -> dict[Path, str]:
    """Make every file from config.yaml's text."""
    said = meanings(text)
    return {
        ROOT / "proxy" / "config" / "meanings.json": json.dumps(said, indent=1, ensure_ascii=False) + "\n",
        ROOT / "docs" / "configuration.md": page(schema(said)),
    }


@click.command(help="Make the configuration's reference, for people and for editors.")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file would change.")
def main(*, check: bool) -> None:
    files = made(SHIPPED.read_text(encoding="utf-8"))
    stale = {path: text for path, text in files.items() if not _holds(path, text)}
    for path, text in stale.items():
        click.echo(f"{path.relative_to(ROOT)} {'would change' if check else 'is written'}")
        if not check:
            path.write_text(text, encoding="utf-8")
    raise SystemExit(int(check and bool(stale)))


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    main()
