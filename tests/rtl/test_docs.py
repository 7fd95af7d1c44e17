"""Generated documents are current, and complete."""

from pathlib import Path

import pytest
from amla.rtl.docs import CORES, PAGES, isa_page, register_page
from amla.rtl.host.csr import REGISTERS
from amla.rtl.isa import COMMAND_BITS, FIELD_DOCS, FLAGS, LAYOUTS, Engine, Opcode

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_current(name):
    assert (DOCS / name).read_text() == PAGES[name](), f"docs/{name} is out of date: run python -m amla.rtl.docs"


def test_every_core_is_on_the_page_of_memories():
    assert set(CORES) == {path.stem for path in (DOCS.parent / "configs").glob("*.yaml")}


def test_everything_is_described():
    for opcode in Opcode:
        assert f"### {opcode.name}\n" in isa_page()
        for name in FLAGS[opcode]:
            assert FIELD_DOCS[name]
        for name, _ in LAYOUTS[opcode]:
            assert name in ("header", "pad") or FIELD_DOCS[name]
    assert all(f"`{name}`" in register_page() for name in REGISTERS)


def test_layouts_fill_a_command():
    for opcode, layout in LAYOUTS.items():
        assert layout.size == COMMAND_BITS
        assert Engine(opcode >> 4) in Engine
        assert len(set(FLAGS[opcode].values())) == len(FLAGS[opcode])
