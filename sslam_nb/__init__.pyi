"What `from sslam_nb import ...` gives, and from which chapter: the one list, for editors, type checkers and the package."
from .core import set_seed as set_seed
from .config import preset as preset, override as override
from .spectrogram import LogMel as LogMel
from .data.soundscapes import make_soundscape as make_soundscape, SoundscapeDataset as SoundscapeDataset
from .data.sources import AudioFolder as AudioFolder
from .data.loading import stats as stats
from .data.shards import pack_shards as pack_shards, check_shards as check_shards
from .data.access import open_data as open_data, open_dataset as open_dataset, obtain as obtain
from .data.access import export_dataset as export_dataset, describe as describe
from .data.hub_data import open_hub as open_hub, pack_stream as pack_stream
from .evidence.polyphony import polyphony_rate as polyphony_rate
from .encoder import AudioViT as AudioViT
from .training.hub import SSLAM as SSLAM
from .training.classifier import Classifier as Classifier
from .training.checkpoints import load_checkpoint as load_checkpoint, load_official as load_official
from .training.checkpoints import load_classifier as load_classifier
from .training.official import export_official as export_official
from .training.pretrain import pretrain as pretrain
from .training.launch import submit as submit
from .training.tracking import log_figures as log_figures
from .evaluation.frozen import ProbeData as ProbeData, linear_probe as linear_probe
from .evaluation.recipes import recipe as recipe
from .evaluation.start import start_from as start_from
from .evaluation.finetune import train_classifier as train_classifier
from .use.embed import embed as embed
from .use.predict import predict as predict
from .use.patches import patch_grid as patch_grid
from .use.embed_folder import embed_folder as embed_folder
from .use.estimator import SSLAMEmbedder as SSLAMEmbedder
from .use.maeb import MaebModel as MaebModel
from .use.xares import SSLAMEncoder as SSLAMEncoder
from .use.transformers_export import export_transformers as export_transformers
from .use.onnx_export import export_onnx as export_onnx, export_program as export_program
from .reports.results import read_records as read_records

__version__: str
__all__: list[str]
