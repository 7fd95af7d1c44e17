"""Text files are UTF-8 whatever the locale: every call that opens one says so."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for room in ("model", "rtl", "sw", "tb", "flow") for path in (ROOT / room).rglob("*.py"))

#: Calls that open text files: by position of the mode, and whether they do without one.
_OPEN = {"open": (1, True), "fdopen": (1, True), "NamedTemporaryFile": (0, False), "TemporaryFile": (0, False)}
_TEXT = ("read_text", "write_text")
_PROCESS = ("run", "Popen", "check_output", "check_call")
#: Functions of the same name that open no text.
_OTHERS = ("os.open", "Image.open")


def _opens_text(call: ast.Call, name: str, keywords: dict[str | None, ast.expr]) -> bool:
    if ast.unparse(call.func) in _OTHERS:
        return False
    if name in _OPEN:
        position, by_default = _OPEN[name]
        if name == "open" and isinstance(call.func, ast.Attribute):
            position = 0
        mode = keywords.get("mode", call.args[position] if len(call.args) > position else None)
        return by_default if mode is None else "b" not in ast.unparse(mode)
    return name in _TEXT or (name in _PROCESS and not keywords.keys().isdisjoint(("text", "universal_newlines")))


def _text_without_encoding(tree: ast.AST) -> list[int]:
    """Lines of calls that read or write text in the locale's encoding."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            if _opens_text(node, name, keywords) and "encoding" not in keywords:
                lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", [
    pytest.param(path, id=str(path.relative_to(ROOT))) for path in SOURCES
])
def test_encodings_are_named(path):
    lines = _text_without_encoding(ast.parse(path.read_text(encoding="utf-8")))
    assert not lines, f"{path.relative_to(ROOT)}: encoding=\"utf-8\" is missing in lines {lines}"


@pytest.mark.parametrize(("code", "found"), [
    ("open(p)", 1), ("open(p, 'w')", 1), ("open(p, 'wb')", 0), ("open(p, mode='rb')", 0), ("open('b')", 1),
    ("open(p, encoding='utf-8')", 0), ("p.open()", 1), ("p.open('ab')", 0), ("os.open(p, flags)", 0),
    ("p.read_text()", 1), ("p.read_text(errors='replace')", 1), ("p.write_text(x, encoding='utf-8')", 0),
    ("subprocess.run(c, text=True)", 1), ("subprocess.run(c, encoding='utf-8')", 0), ("subprocess.run(c)", 0),
    ("table(text=1)", 0), ("NamedTemporaryFile()", 0), ("NamedTemporaryFile('w')", 1),
])
def test_the_rule(code, found):
    assert len(_text_without_encoding(ast.parse(code))) == found
