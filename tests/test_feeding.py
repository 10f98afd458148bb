"The short form of benchmarks/feeding.py: clips go the whole way to a step, from every kind of source."
import re, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/'benchmarks'))
import feeding

SOURCES = {'shards, flac at 16 kHz', 'shards, log-mel', 'folder, wav at 16 kHz', 'folder, flac at 44.1 kHz'}

def test_every_source_is_fed_and_said_in_a_table():
    rows = feeding.measure(quick=True, workers=(0, 1))
    assert {row['source'] for row in rows} == SOURCES and len(rows) == 2*(3*2 + 1)
    assert all(row['clips_per_s'] > 0 and row['per_core'] > 0 and row['low'] is None for row in rows)
    assert all((row['loader_ms'] > 0) == (row['workers'] == 1) for row in rows)
    wanted = feeding.cores(rows)
    assert len(wanted) == 7
    four = wanted[0]["four at the paper's pace"]
    assert four == pytest.approx(4*wanted[0]["one GPU at the paper's pace"]) and 70 < four*wanted[0]['per_core'] < 80
    page = '\n'.join(feeding.text(rows, 24, {'read': 1.0}))
    for kind in ('flac', 'log-mel'):                              # as the tutorial on clusters reads it
        rate = re.search(rf'\| shards, {kind}[^|]*\|[^|]*\| *(\d+)', page)[1]
        assert any(f"{row['clips_per_s']:.0f}" == rate and row['workers'] == 1 for row in rows)

def test_an_interval_holds_its_median():
    low, median, high = (feeding.interval([3.0, 1.0, 2.0, 5.0, 4.0])[k] for k in (1, 0, 2))
    assert low < median == 3.0 < high and feeding.interval([2.0]) == (2.0, None, None)

def test_too_few_clips_are_said():
    with pytest.raises(ValueError, match='clips=12 are too few'): feeding.measure(clips=12)
