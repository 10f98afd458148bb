"Numbers of the official implementation (tests/golden, or --golden DIR): chapter 11c makes ours, here they must agree."
import json

import pytest
import torch

from sslam_nb.masking import inverse_block_mask
from sslam_nb.evidence.parity import compare
from sslam_nb.teacher import ema_momentum

FORWARD = 1e-5     # largest absolute difference of forward values, float32


@pytest.mark.parametrize("stage", [1, 2])
def test_every_value_agrees(golden_file, stage):
    table, size = compare(golden_file, stage), golden_file.stem.split("_")[1]
    limit = table.kind.map({"absolute": FORWARD, "relative": 1e-4})
    wrong = table[~(table.difference < limit)]
    assert wrong.empty, wrong.to_string()
    blocks = {"tiny": 2, "base": 12}[size]
    assert table.index.str.startswith("enc.block").sum() == 2*blocks and table.index.str.startswith("gradnorm").sum() == 19 + 12*blocks


def test_ema_decay(golden_file):
    for step, decay in json.loads(golden_file.read_text())[f"{golden_file.stem.split('_')[1]}.stage2.ema_decay"].items():
        assert abs(ema_momentum(int(step)) - decay) < 1e-12


def test_masks_by_distribution(golden_file):
    golden = json.loads(golden_file.read_text())
    if "mask.count" not in golden: pytest.skip("this file has no masking statistics")
    masks = inverse_block_mask(4000, generator=torch.Generator().manual_seed(123))
    assert masks.sum(1).unique().tolist() == [410]
    visible = ~masks.view(-1, 64, 8)
    padded = torch.nn.functional.pad(visible, (1, 1, 1, 1))
    edges = sum((visible & ~padded[:, 1 + a:65 + a, 1 + b:9 + b]).sum((1, 2)).double() for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    check(edges, *golden["mask.visible_perimeter"])
    check(torch.tensor([components(v) for v in visible[:2000]]).double(), *golden["mask.visible_components"])
    want = torch.tensor(golden["mask.cell_freq"]).double()
    spread = (want*(1 - want)*(1/2000 + 1/4000)).sqrt()
    z = (masks.view(-1, 64, 8).double().mean(0) - want)/spread
    assert z.abs().max() < 4.5     # of 512 cells; the largest of so many normal draws is near 3.2


def check(ours, mean, error):
    "Within four standard errors of the difference."
    assert abs(ours.mean() - mean) < 4*(error**2 + ours.var()/len(ours))**0.5


def components(visible):
    "Connected pieces of the visible patches (4 neighbours)."
    from scipy.ndimage import label
    return label(visible.numpy())[1]
