"""A prediction: its figures, what stands beside it, and workloads that a machine does not know."""

import json

import pytest
from amla.sw.errors import AmlaError
from amla.sw.machine.machine import load_machine
from amla.sw.machine.prediction import predict
from amla.sw.workload.workload import Workload

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize("name", ["ascend910", "h200", "h800"])
def test_figures_agree_with_one_another(name):
    machine, load = load_machine(name), Workload.load("ds-mtp-4096")
    found = predict(load, machine)
    assert found.machine == name and found.workload == "ds-mtp-4096" and found.seconds > found.bound["seconds"] > 0
    assert found.flops == 2 * 128 * 1088 * (4095 + 4096)
    assert found.bytes == 4096 * 1152 + 2 * 256 * 1088
    assert found.utilisation == found.flops / found.seconds / machine.peak_flops
    assert sum(found.parts.values()) == pytest.approx(found.seconds)
    written = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert written["bound"]["by"] in ("compute", "memory") and written["cores"] == found.cores > 0


def test_published_figures_of_the_shape_stand_beside():
    found = predict(Workload.load("ds-ragged"), load_machine("h200"))
    assert [one.what for one in found.published] == ["whole call", "split-KV kernel alone"]
    assert not any(one.used for one in found.published)
    assert found.published[0].seconds == 30.3e-6 and found.published[0].predicted == found.seconds
    assert found.published[1].predicted < found.seconds
    assert found.published[0].ratio == found.seconds / 30.3e-6
    assert predict(Workload.load("decode"), load_machine("h200")).published == ()


@pytest.mark.parametrize("name", ["ascend910", "h200"])
@pytest.mark.parametrize(("change", "message"), [
    ({"topk": 64}, "topk must be None on {}, not 64"),
    ({"cache": "fp8-656"}, "cache must be bf16 or fp16 on {}, not 'fp8-656'"),
    ({"sink": True}, "sink must be False on {}, not True"),
    ({"head_dim": 192, "head_dim_v": 128}, "head_dim must be 576 on {}, not 192"),
    ({"head_dim_v": 128}, "head_dim_v must be 512 on {}, not 128"),
    ({"lengths": (0, 0)}, "lengths must have a key on {}, not [0, 0]"),
])
def test_what_a_machine_does_not_do(name, change, message):
    load = Workload(**{"name": "mine", "heads": 16, "lengths": (64, 0), "inputs": "normal", **change})
    with pytest.raises(AmlaError) as caught:
        predict(load, load_machine(name))
    assert str(caught.value) == f"mine: {message.format(name)}"


def test_requests_without_keys_among_others():
    for name in ("ascend910", "h200"):
        load = Workload(name="mine", heads=16, lengths=(0, 100, 0), inputs="normal")
        assert predict(load, load_machine(name)).seconds > 0
