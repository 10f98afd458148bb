"`embed_folder` to parquet, read back by pyarrow and pandas."
import numpy as np
import pytest
import soundfile
import torch

parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'sslam_nb[parquet]'")

from sslam_nb import AudioViT, embed
from sslam_nb.config import EncoderConfig
from sslam_nb.use.command_line import main
from sslam_nb.use.embed_folder import embed_folder


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return AudioViT(EncoderConfig(width=32, depth=2, n_heads=2, max_time_patches=12))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for i in range(5):
        (folder/f"day {i % 2}").mkdir(exist_ok=True)
        soundfile.write(folder/f"day {i % 2}"/f"ä{i}.wav", 0.1*rng.standard_normal(8000*(i + 1)), 16_000)
    (folder/"text.wav").write_text("no audio")
    return folder


def test_one_row_a_file(encoder, clips, tmp_path):
    account = embed_folder(encoder, clips, tmp_path/"v.parquet", pool="mean", batch_size=2, quiet=True)
    assert (account.found, account.used) == (6, 5) and [path.name for path in tmp_path.iterdir()] == ["v.parquet"]
    table = parquet.read_table(tmp_path/"v.parquet")
    assert table.schema.field("embedding").type.list_size == 32 and table.column_names == ["file", "onset", "offset", "embedding"]
    frame = table.to_pandas()
    assert list(frame.file) == [f"day {i % 2}/ä{i}.wav" for i in (0, 2, 4, 1, 3)] and list(frame.offset) == [0.5, 1.5, 2.5, 1.0, 2.0]
    for row in frame.itertuples():
        wave, rate = soundfile.read(clips/row.file, dtype="float32")
        np.testing.assert_allclose(row.embedding, embed(encoder, wave, rate, pool="mean").clip, rtol=0, atol=1e-6)


def test_frames_in_parts(encoder, clips, tmp_path, monkeypatch):
    "Several parts make several row groups, and one table; the npy of the same run has the same numbers."
    clock = iter(range(0, 10**6, 60))
    monkeypatch.setattr("sslam_nb.use.embed_folder.time.monotonic", lambda: next(clock))
    for name in ("v.parquet", "v.npy"): embed_folder(encoder, clips, tmp_path/name, frames=True, batch_size=1, quiet=True)
    table = parquet.read_table(tmp_path/"v.parquet")
    assert parquet.ParquetFile(tmp_path/"v.parquet").num_row_groups == 5
    vectors = np.stack(table["embedding"].to_numpy())
    assert np.array_equal(vectors, np.load(tmp_path/"v.npy")) and len(vectors) == len(set(zip(table["file"].to_pylist(), table["onset"].to_pylist())))


def test_the_command(clips, tmp_path, capfd):
    from sslam_nb import SSLAM, override, preset
    small = override(preset("stage2", "tiny"), width=32, depth=2, n_heads=2, decoder_width=16, decoder_depth=2, local_top_k=2,
                     global_top_k_unmixed=2, target_frames=128)
    SSLAM(small).save_pretrained(tmp_path/"model")
    assert main(["embed", str(clips), "-m", str(tmp_path/"model"), "-o", str(tmp_path/"v.parquet"), "--device", "cpu"]) == 0
    assert "6 files found, 5 used, 1 left out" in capfd.readouterr().err and parquet.read_table(tmp_path/"v.parquet").num_rows == 5
