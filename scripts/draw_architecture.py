"""Draw docs/images/architecture.svg from the code: the rooms, their files with lines, and who imports whom.

    python scripts/draw_architecture.py

An arrow leads from a room to one that imports it, where no longer way of arrows says so already.
"""

import ast
import textwrap
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
# From the ground up. A room may import those of the layers below it, and on the ground floor its neighbours.
LAYERS = (
    ("checks", "store", "progress"),
    ("metrics", "losses", "noise", "data"),
    ("estimators", "training"),
    ("methods",),
    ("study",),
    ("sweep", "results"),
    ("plots",),
    ("explorer",),
    ("clean",),
    ("arrays", "cli"),
)
WIDTH, BOX, GAP, LINE = 980, 300, 34, 15  # pixels
LETTER = 6.2  # pixels of a letter


def modules(root: Path = ROOT) -> dict[str, Path]:
    """{galc.room.module: its file} of all modules."""
    files = sorted((root / "galc").rglob("*.py"))
    dotted = {".".join(file.relative_to(root).with_suffix("").parts): file for file in files}
    return {name.removesuffix(".__init__"): file for name, file in dotted.items()}


def imports(name: str, file: Path, known: dict[str, Path]) -> Iterator[str]:
    """The full names of what a module imports, anywhere in it, modules of galc as exact as can be told."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{file}: relative import in line {node.lineno}; write the whole name")
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def room(module: str) -> str:
    """The room of galc.room.module; "galc" of the door itself."""
    return module.split(".")[1] if "." in module else module


def arrows(known: dict[str, Path]) -> dict[tuple[str, str], list[str]]:
    """{(importing room, imported room): "module imports module"} of all imports between rooms.

    The modules that ``python -m galc.ROOM`` runs are left out: they only call the door, `galc.cli`.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for name, file in known.items():
        for target in imports(name, file, known) if file.name != "__main__.py" else ():
            if target.startswith("galc.") and room(target) != room(name):
                found.setdefault((room(name), room(target)), []).append(f"{name} imports {target}")
    return found


def needed(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Of (importing, imported) those that no chain of the others implies."""

    def reaches(start: str, end: str, without: tuple[str, str]) -> bool:
        steps = [b for a, b in edges if a == start and (a, b) != without]
        return end in steps or any(reaches(step, end, without) for step in steps)

    return {edge for edge in edges if not reaches(*edge, without=edge)}


def texts(name: str, known: dict[str, Path], letters: int) -> list[str]:
    """A room's lines in the picture: its name and size, its files and theirs."""
    own = {
        module: len(file.read_text(encoding="utf-8").splitlines())
        for module, file in known.items()
        if room(module) == name and file.name != "__main__.py"
    }
    title = f"{name}  {sum(own.values()):,} lines"
    inner = {module.removeprefix(f"galc.{name}."): lines for module, lines in own.items() if module.count(".") > 1}
    files = "   ".join(f"{module}\N{NO-BREAK SPACE}{lines}" for module, lines in inner.items())
    return [title, *textwrap.wrap(files, letters)]


def svg() -> str:
    """The picture."""
    known = modules()
    places, parts, top = {}, [], 20
    for layer in reversed(LAYERS):
        width = min(BOX, (WIDTH - 20 * (len(layer) + 1)) / len(layer))
        boxes = {name: texts(name, known, int(width / LETTER)) for name in layer}
        height = 12 + LINE * max(map(len, boxes.values()))
        for n, (name, lines) in enumerate(boxes.items()):
            left = WIDTH / 2 + (n - (len(layer) - 1) / 2) * (width + 20) - width / 2
            places[name] = (left + width / 2, top, top + height)
            parts.append(f'<rect x="{left:g}" y="{top}" width="{width:g}" height="{height}" rx="6"/>')
            for row, line in enumerate(lines):
                bold = ' font-weight="bold"' if row == 0 else ""
                parts.append(f'<text x="{left + 10:g}" y="{top + LINE * (row + 1):g}"{bold}>{escape(line)}</text>')
        top += height + GAP
    lines = []
    for importing, imported in sorted(needed(set(arrows(known)))):
        if importing in places and imported in places:
            (x, _, bottom), (from_x, start, _) = places[importing], places[imported]
            label = f"<title>{importing} imports {imported}</title>"
            lines.append(f'<path d="M {from_x:g} {start} L {x:g} {bottom + 7}">{label}</path>')
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top - GAP + 20}"
 font-family="sans-serif" font-size="11">
<defs><marker id="tip" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M 0 0 L 8 4 L 0 8 z" fill="#777"/></marker></defs>
<rect width="100%" height="100%" fill="#ffffff"/>
<g fill="none" stroke="#999" marker-end="url(#tip)">
{chr(10).join(lines)}
</g>
<g fill="#f4f6fa" stroke="#445">
{chr(10).join(part for part in parts if part.startswith("<rect"))}
</g>
{chr(10).join(part for part in parts if part.startswith("<text"))}
</svg>
"""


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
    print(f"written: {PICTURE}")
