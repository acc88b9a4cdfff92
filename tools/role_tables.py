"""Write the variables table of each role's README from its argument specification.

`tools/role_tables.py [ROLE ...]` rewrites what stands between the two marks; `--check` only says which READMEs differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- variables: begin (tools/role_tables.py) -->", "<!-- variables: end -->"


def table(role: Path) -> str:
    """Return the table of a role: every option of every verb once."""
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    options: dict[str, Any] = {}
    for spec in specs.values():
        options.update(spec.get("options") or {})
    rows = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    for name, option in options.items():
        default = "required" if option.get("required") else f"`{_plain(option.get('default'))}`"
        kind = option.get("type", "str")
        kind = f"{kind} of {option['elements']}" if "elements" in option else kind
        rows.append(f"| `{name}` | {kind} | {default} | {_text(option.get('description', ''))} |")
    return "\n".join(rows)


def rewritten(text: str, made: str) -> str:
    """Return a README with the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def main(argv: list[str]) -> int:
    """Rewrite, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roles", nargs="*", help="names of roles; without any, all that have the marks")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a README differs")
    options = parser.parse_args(argv)
    readmes = [ROOT / "roles" / name / "README.md" for name in options.roles]
    different = 0
    for readme in readmes or sorted(ROOT.glob("roles/*/README.md")):
        text = readme.read_text()
        if BEGIN not in text or END not in text:
            if options.roles:
                sys.exit(f"{readme}: expected the marks {BEGIN} and {END}; nothing was changed")
            continue
        made = rewritten(text, table(readme.parent))
        if made != text:
            different += 1
            sys.stdout.write(f"{readme.relative_to(ROOT)}: {'differs' if options.check else 'rewritten'}\n")
            if not options.check:
                readme.write_text(made)
    return 1 if different and options.check else 0


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return (text or '""').replace("|", "\\|")


def _text(description: Any) -> str:
    parts = description if isinstance(description, list) else [description]
    return " ".join(" ".join(str(part).split()) for part in parts).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
