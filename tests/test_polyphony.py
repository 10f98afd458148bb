"Algorithm 2 on AudioSet's own files gives the numbers that papers_tables/figure3.csv keeps."
from pathlib import Path

import pandas as pd
import pytest

from sslam_nb.data.annotations import iter_segments
from sslam_nb.evidence.polyphony import distinct_events, polyphony_rate, read_ontology

ROOT = Path(__file__).resolve().parents[1]
AUDIOSET = ROOT.parent/"shared"/"data"/"audioset"
needs_audioset = pytest.mark.skipif(not AUDIOSET.is_dir(), reason="../shared/data/audioset is not here")


@needs_audioset
@pytest.mark.parametrize("relation, against, level", [("both", "shrinking", 2), ("children", "original", 1), ("parents", "original", 4)])
def test_kept_numbers_are_those_of_the_code(relation, against, level):
    kept = pd.read_csv(ROOT/"papers_tables"/"figure3.csv")
    row = kept[(kept.split == "balanced_train") & (kept.relation == relation) & (kept.against == against)
               & (kept.order == "file") & (kept.level == level)]
    clips = [segment.labels for segment in iter_segments(AUDIOSET/"balanced_train_segments.csv")]
    ontology = read_ontology(AUDIOSET/"ontology.json")
    assert len(clips) == 22_160 == row.clips.item()
    assert row.percent.item() == pytest.approx(100*polyphony_rate(clips, ontology, level, relation, against), abs=0.01)


@needs_audioset
def test_the_papers_own_example():
    "Wild animals, Roaring cats and Roar are one event, from level 2 on."
    ontology = read_ontology(AUDIOSET/"ontology.json")
    ids = {name: code for code, name in ontology.names.items()}
    chain = [ids[name] for name in ("Wild animals", "Roaring cats (lions, tigers)", "Roar")]
    assert [len(distinct_events(chain, ontology, level)) for level in (0, 1, 2)] == [3, 2, 1]
    assert max(map(len, ontology.parents.values())) > 1 and len(ontology.names) == 632
