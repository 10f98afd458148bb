"A model as a user has it: a folder of `save_pretrained`, random weights of the size tiny."
import pytest
import torch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from sslam_nb import SSLAM, preset
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    SSLAM(preset("stage2", "tiny")).save_pretrained(folder)
    return folder
