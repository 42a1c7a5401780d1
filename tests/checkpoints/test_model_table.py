"""The table of docs/models.md: every name has a licence and a proof, and its numbers are those of test_shipped.py."""

import re
import sys
from pathlib import Path

import pytest

from sfllava_plugin.registry import Entry, packaged
from tests.checkpoints.test_shipped import PROMISED

ROOT = Path(__file__).parents[2]
#: Positions of the language models, where no setting limits the context.
POSITIONS = {"LLaVA-1.5": 4096, "LLaVA-OneVision": 32768, "LLaVA-Video": 32768, "PLLaVA": 4096}
COMPARED = {"transformers' class", "released program", "recomputation", "reconstruction"}


@pytest.fixture(scope="module")
def table():
    sys.path.insert(0, str(ROOT / "packaging"))
    try:
        import model_table
    finally:
        sys.path.pop(0)
    return model_table


@pytest.mark.parametrize("entry", packaged(), ids=lambda entry: entry.name)
def test_a_name_has_a_licence_and_a_proof(table, entry):
    assert table.describe(entry).licence
    proof = table.proof_of(entry)
    assert {*proof["equals"]} <= COMPARED and proof["equals"]
    assert "\ndef test_" in (ROOT / proof["test"]).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROMISED)
def test_a_name_has_its_numbers(table, name):
    family, frames, tokens, context = PROMISED[name]
    row = table.describe(packaged().get(name))
    assert (row.family, row.frames, row.context) == (family, frames, context or POSITIONS[family])
    if name.startswith("ig-vlm"):
        assert row.tokens == f"at most {tokens}"
        return
    terms, total = row.tokens.split(" = ")
    assert sum(eval(term.replace("x", "*")) for term in terms.split(" + ")) == int(total) == tokens
    assert row.tower.endswith("27 x 27" if row.tower.startswith("SigLIP 384") else "24 x 24")


def test_the_tiny_models_tower_is_its_own(table):
    row = table.describe(packaged().get("sf-llava-tiny"))
    assert (row.tower, row.tokens, row.context) == ("CLIP 48, 6 x 6", "4 x 18 + 16 x 4 = 136", 1024)


def test_every_name_and_alias_is_there_once(table):
    shown = re.findall(r"`([^`]+)`", " ".join(str(cell) for row in table.rows() for cell in row))
    assert sorted(shown) == sorted(name for entry in packaged() for name in (entry.name, *entry.aliases))


def test_no_fact_is_left_of_a_checkpoint_that_has_no_name(table):
    listed = [checkpoint for family in table.facts().values() for checkpoint in family["licences"]]
    assert sorted(listed) == sorted({entry.checkpoint.removeprefix(f"{ROOT}/") for entry in packaged()})


def test_what_is_missing_is_named(table):
    with pytest.raises(LookupError, match="no licence of owner/new, which mine uses"):
        table.describe(Entry(name="mine", checkpoint="owner/new", pathways="native"))
    with pytest.raises(LookupError, match="does not say what proves concat of mine"):
        table.describe(Entry(name="mine", checkpoint="ermu2001/pllava-7b", pathways="concat"))
