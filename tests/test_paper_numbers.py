"papers_tables/paper: the printed cells, and what the paper's prose derives from them."
from pathlib import Path

import pandas as pd
import pytest

PAPER = Path(__file__).resolve().parents[1]/"papers_tables"/"paper"
FILES = [f"table{n:02d}" for n in range(1, 12)] + ["appendix_c"]
N_CELLS = dict(zip(FILES, [84, 64, 80, 7, 28, 5, 161, 100, 6, 3, 2, 2]))
TABLES = {stem: pd.read_csv(PAPER/f"{stem}.csv", dtype=str, keep_default_na=False) for stem in FILES}
LINEAR, TUNED = "Linear evaluation", "Fine-tuning"
EVENTS = "Number of Distinct sound events "

def grid(stem):
    "Scores of one table, rows by columns in printed order; `-` is NaN."
    cells = TABLES[stem][TABLES[stem].unit.str.endswith("%")]
    cells = cells.assign(score=pd.to_numeric(cells.value.replace("-", None)))
    return cells.pivot(index="row", columns="column", values="score").loc[cells.row.unique(), cells.column.unique()]

def cell(stem, row, column):
    frame = TABLES[stem]
    return frame[(frame.row == row) & (frame.column == column)].value.item()

def gain(stem, regime, new="SSLAM", old="MB-UA"):
    "Relative improvement per column [%]."
    frame = grid(stem)
    return 100*(frame.loc[f"{regime} / {new}"]/frame.loc[f"{regime} / {old}"] - 1)

def exceptions(new, old, holds):
    "Cells of Tables 2 and 3 where `holds(new, old)` is false: (regime, column, new, old)."
    found = []
    for frame, regime in ((grid(stem), regime) for stem in ("table02", "table03") for regime in (LINEAR, TUNED)):
        pairs = zip(frame.columns, frame.loc[f"{regime} / {new}"], frame.loc[f"{regime} / {old}"])
        found += [(regime, column.replace(EVENTS, ""), a, b) for column, a, b in pairs if not holds(a, b)]
    return found

def blocks(stem):
    "The rows among which the paper marks one best: a regime, in Table 4 also a stage."
    frame = TABLES[stem][TABLES[stem].unit.str.endswith("%")]
    stage = frame.row.str.extract(r"(Stage \d)", expand=False).fillna("")
    return frame.groupby([frame.row.str.extract("^(.*?) / ", expand=False).fillna("") + stage, "column"], sort=False)

def best_of(block): return max(block.value.replace("-", "0"), key=float)

def bold_is_not_best(stem):
    "(row, column, bold value, best value) where a higher value than the bold one stands in the block."
    return [(row.row, row.column, row.value, best_of(block)) for _, block in blocks(stem) for row in block.itertuples()
            if row.bold and float(best_of(block)) > float(row.value)]

def best_is_not_bold(stem):
    "(row, column) that equal the best bold value without being bold."
    return [(row.row, row.column) for _, block in blocks(stem) if (block.bold == "yes").any()
            for row in block.itertuples()
            if not row.bold and row.value == best_of(block)]

@pytest.mark.parametrize("stem", FILES)
def test_files(stem):
    frame = TABLES[stem]
    assert list(frame.columns) == ["row", "column", "value", "unit", "bold", "note"] and len(frame) == N_CELLS[stem]
    assert not frame.duplicated(["row", "column"]).any() and (frame[["row", "column", "value"]] != "").all(axis=None)
    assert set(frame.unit) <= {"", "mAP %", "accuracy %"} and set(frame.bold) <= {"", "yes"}
    assert (frame.value == frame.value.str.strip()).all() and 0 < grid(stem).size if stem[-2:] not in "07 08" else True
    scores = frame[frame.unit.str.endswith("%") & (frame.value != "-")].value
    assert scores.str.fullmatch(r"\d\d\.\d").all()
    for (row, note), group in frame[frame.note.str.startswith("spans ")].groupby(["row", "note"]):
        first, last = note.removeprefix("spans ").split(";")[0].split(" to ")
        columns = list(frame.column.unique())
        assert list(group.column) == columns[columns.index(first):columns.index(last) + 1]
        assert group.value.nunique() == 1, row

# claim: (number in the prose, number from the cells)
KNOWN = {"Table 1: gain over the best earlier AS-2M": (3.9, 3.3), "Table 3: largest gain": (9.7, 16.2)}

def test_gains_of_the_prose():
    linear, levels = gain("table02", LINEAR), gain("table03", LINEAR)
    assert round(linear["SPASS Market"], 1) == 9.1 and round(linear["AS-20K"], 1) == 21.6
    assert round(levels[EVENTS + "{8,9}"], 1) == 9.7
    both = pd.concat([linear, gain("table02", TUNED)]).drop("AS-20K")
    assert both.idxmax() == "SPASS Market" and both.max() == linear["SPASS Market"]       # "up to 9.1 %"
    assert levels[:2].max() < levels[2:].min() and levels.iloc[0] < 0 < levels[1:].min()  # "the gap widened"
    assert (gain("table03", TUNED) > 0).all()
    assert (linear > gain("table02", TUNED)).all()                  # "particularly evident in linear evaluation"

def test_known_disagreements():
    as2m = grid("table01")["Audio AS-2M"]
    found = {"Table 1: gain over the best earlier AS-2M": 100*(as2m["SSLAM"]/as2m.drop("SSLAM").max() - 1),
             "Table 3: largest gain": pd.concat([gain("table03", r) for r in (LINEAR, TUNED)]).max()}
    assert {claim: round(value, 1) for claim, value in found.items()} == {c: ours for c, (_, ours) in KNOWN.items()}
    assert all(printed != ours for printed, ours in KNOWN.values())
    assert gain("table03", LINEAR).idxmax() == EVENTS + "{6,7}"     # the prose names {8,9}

def test_orders_of_the_prose():
    "Section 5 and Appendix D: the sentence, then every cell that contradicts it."
    above, ties = (lambda a, b: a > b), (lambda a, b: a >= b)
    urban = (TUNED, "URBAN-SED", 90.9, 90.9)
    assert exceptions("MB-PMA", "MB-UA", above) == [                # "consistently improves"
        (LINEAR, "URBAN-SED", 70.9, 71.3), (TUNED, "IDMT-DESED-FL", 94.4, 94.4), urban,
        (LINEAR, "{2,3}", 58.6, 61.5), (TUNED, "{2,3}", 87.3, 87.3)]
    assert exceptions("MB-PMA", "MB-UA-PMA", ties) == [             # "the slight decrease seen in MB-UA-PMA"
        (LINEAR, "SPASS Street", 66.5, 66.6), (TUNED, "AS-20K", 40.6, 40.7), (LINEAR, "{14+}", 67.6, 67.9)]
    assert exceptions("SSLAM", "MB-UA", above) == [urban, (LINEAR, "{2,3}", 60.6, 61.5)]   # "across all"; Table 3 admits {2,3}
    assert exceptions("SSLAM", "MB-PMA", above) == [                # "surpass all other models"
        (LINEAR, "IDMT-DESED-FL", 77.8, 78.4), (TUNED, "SPASS Street", 82.2, 82.2),
        (TUNED, "SPASS Market", 90.2, 90.8), urban, (TUNED, "{4,5}", 86.9, 86.9)]
    assert exceptions("SSLAM", "MB-UA-PMA", ties) == [(TUNED, "SPASS Market", 90.2, 90.5)]  # "mitigated"
    table1 = grid("table01").drop("BEATs iter3+")
    assert list(table1.columns[table1.idxmax() != "SSLAM"]) == ["Audio ESC-50", "Speech KS2"]  # "SOTA across all"
    assert (grid("table09").iloc[1] > grid("table09").iloc[0]).all()

def test_ablations_of_the_prose():
    t4, t5, t6 = (grid(f"table{n:02d}").iloc[:, 0] for n in (4, 5, 6))
    assert t6.idxmax().endswith("Global:1, Local:12")
    assert t4.iloc[3] > t4.iloc[1:3].max() and t4.iloc[6] > t4.iloc[5]           # partial above full mixing
    assert t5.iloc[0] < t5.iloc[1] < t5.iloc[2] > t5.iloc[3]                     # all but the global loss on SRL
    assert (TABLES["table05"][TABLES["table05"].row == t5.idxmax()].value == "✓").sum() == 5      # five objectives
    t10, t11 = (grid(f"table{n}").iloc[:, 0] for n in (10, 11))
    assert t10.is_monotonic_decreasing and t10.is_unique and t11.iloc[0] > t11.iloc[1]

def test_numbers_that_stand_twice():
    as20k = grid("table02")["AS-20K"]
    assert cell("table01", "SSLAM", "Audio AS-2M") == "50.2" and cell("table01", "SSLAM", "#Param") == "88M"
    bests = [grid(f)["AS-20K" if f in ("table05", "appendix_c") else "mAP"].max() for f in
             ("table05", "table10", "table11", "appendix_c")]
    assert {*bests, as20k["Fine-tuning / SSLAM"], grid("table01").loc["SSLAM", "Audio AS-20K"]} == {40.9}
    assert cell("appendix_c", "MixIT", "AS-20K") == "39.9"
    t4, t9 = grid("table04")["mAP"], grid("table09")["AS-20K"]
    assert t4.iloc[0] == grid("table01").loc["EAT", "Audio AS-20K"] and t4.iloc[4] == as20k["Fine-tuning / MB-UA"]
    assert t4.iloc[6] == as20k["Fine-tuning / MB-PMA"] == t9.iloc[0] == grid("table06")["mAP"].max()
    assert t9.iloc[1] == as20k["Fine-tuning / MB-UA-PMA"]

def test_hyper_parameters_of_the_prose():
    stage, clips = "Pre-Training AS-2M Stage {}".format, 1.91e6 + 21e3           # clips: Appendix B.0.1
    for n, epochs, clones in ((1, 10, "16"), (2, 5, "8")):
        batch = int(cell("table07", "Batch size", stage(n)))*int(cell("table07", "Number of GPUs", stage(n)))
        steps = float(cell("table07", "Steps", stage(n)).replace("K", "e3"))
        assert batch == 48 and round(steps*batch/clips) == epochs and cell("table07", "Clone batch", stage(n)) == clones
    for name in ("Drop path", "SpecAug", "Mixup", "Batch size", "Dataset Mean for Normalization"):
        assert cell("table07", name, "Fine-Tuning AS-20K") == cell("table08", name, "AS-20K")

def test_bold():
    assert {stem for stem in FILES if (TABLES[stem].bold == "yes").any()} == {f"table{n:02d}" for n in (1, 2, 3, 4, 5, 6, 9)}
    assert [(stem, *found) for stem in FILES for found in bold_is_not_best(stem)] == [
        ("table01", "A-JEPA", "Audio ESC-50", "96.3", "98.1"),                   # the higher row is greyed out
        ("table02", "Linear evaluation / SSLAM", "IDMT-DESED-FL", "77.8", "78.4"),
        ("table02", "Fine-tuning / SSLAM", "SPASS Market", "90.2", "90.8")]
    assert [(stem, *found) for stem in FILES for found in best_is_not_bold(stem)] == [
        ("table01", "BEATs iter3+", "Audio ESC-50"), ("table02", "Linear evaluation / MB-PMA", "IDMT-DESED-FL"),
        ("table02", "Fine-tuning / MB-PMA", "SPASS Street"), ("table02", "Fine-tuning / MB-UA-PMA", "SPASS Street"),
        ("table02", "Fine-tuning / MB-PMA", "SPASS Market")]
