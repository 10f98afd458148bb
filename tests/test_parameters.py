"A parameter of any notebook means what it says, or is one clear error."
import json, re
from functools import partial

import pytest

import notebooks
from sslam_nb.config import PretrainConfig, flatten
from sslam_nb.core import project_root
from sslam_nb.evaluation.recipes import DownstreamConfig
from sslam_nb.evidence.paper_tables import TableOptions
from sslam_nb.reports.judging import Switches, TaskOptions, configure_task
from sslam_nb.reports.runs import RunOptions, configure, parameter_types

ROOT = project_root()
STAGE, TASK = (PretrainConfig, RunOptions), (DownstreamConfig, TaskOptions, Switches)
KINDS = dict(stage1=STAGE, stage2=STAGE, finetune=TASK, linear_eval=TASK)
READ = dict(stage1=partial(configure, "stage1"), stage2=partial(configure, "stage2"), finetune=partial(configure_task, "finetune"),
            linear_eval=partial(configure_task, "linear"))
PAPER = {path.stem: path for path in sorted((ROOT/"nbs"/"paper").glob("*.ipynb"))}

def code(path):
    "Code cells as (tagged, source)."
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    return [("parameters" in c["metadata"].get("tags", []), "".join(c["source"])) for c in cells]

def declared(path):
    "What the parameters cell of a notebook sets."
    values = {}
    exec(next(source for tagged, source in code(path) if tagged), values)
    return {name: value for name, value in values.items() if not name.startswith("_")}

def of_run(notebook, **given):
    "The parameters of a run notebook, some of them as `-p` gives them."
    start = {} if notebook.startswith("stage") else dict(no_pretrained="YES")
    return READ[notebook](declared(ROOT/"nbs"/f"{notebook}.ipynb") | start | given)

@pytest.mark.parametrize("notebook", KINDS)
def test_every_declared_parameter_is_known(notebook):
    assert not declared(ROOT/"nbs"/f"{notebook}.ipynb").keys() - parameter_types(*KINDS[notebook]).keys()

@pytest.mark.parametrize("word, means", [("true", True), ("Yes", True), ("ON", True), (True, True), ("false", False), ("no", False), ("Off", False)])
@pytest.mark.parametrize("notebook", KINDS)
def test_switches(notebook, word, means):
    cfg, options = of_run(notebook, resume=word, **({"global_mixed": word} if "stage" in notebook else {"roll": word}))
    assert options.resume is means and flatten(cfg)["global_mixed" if "stage" in notebook else "roll"] is means

@pytest.mark.parametrize("notebook", KINDS)
def test_numbers_lists_and_nothing(notebook):
    pair = "probe_clips" if "stage" in notebook else "n_clips"
    usual = of_run(notebook)[0]
    cfg, options = of_run(notebook, lr=1, run_name=2024, device="None", epochs="null", **{pair: "[48,32]"})
    assert (cfg.optim.lr if "stage" in notebook else cfg.lr) == 1.0 and flatten(cfg)[pair] == (48, 32)
    assert (options.run_name, options.device, cfg.epochs) == ("2024", None, usual.epochs)
    assert flatten(of_run(notebook, **{pair: [48, 32]})[0])[pair] == (48, 32)

@pytest.mark.parametrize("name, value, said", [
    ("resume", "maybe", "resume='maybe' must be true or false"), ("resume", 1, "resume=1 must be true or false"),
    ("resume", None, "resume=None must be true or false"), ("epochs", "five", "epochs='five' must be a whole number"),
    ("epochs", True, "epochs=True must be a whole number"), ("lr", "fast", "lr='fast' must be a number"),
    ("seed", 1.5, "seed=1.5 must be a whole number"), ("epoch", 5, "did you mean 'epochs'"), ("betas", "0.9", "betas='0.9' must be numbers in")])
@pytest.mark.parametrize("notebook", KINDS)
def test_what_does_not_fit_is_one_clear_error(notebook, name, value, said):
    with pytest.raises(ValueError, match=re.escape(said)): of_run(notebook, **{name: value})

def test_a_mode_called_none_is_no_missing_value():
    assert of_run("stage2", mix_mode="none")[0].mixing.mix_mode == "none"

@pytest.mark.parametrize("name", [name for name, path in PAPER.items() if any(tagged for tagged, _ in code(path))])
def test_notebooks_of_the_paper_read_all_their_parameters(name):
    cells = code(PAPER[name])
    after = cells[[tagged for tagged, _ in cells].index(True) + 1][1]
    asked = re.search(r"read_options\(globals\(\), (.+?)\)", after, re.S)[1]
    known = set(TableOptions._fields) if asked == "TableOptions" else {pair.split("=")[0] for pair in re.split(r",\s+", asked)}
    assert set(declared(PAPER[name])) <= known

def test_through_papermill(tmp_path):
    "papermill hands over `yes` and `maybe` as text."
    run = partial(notebooks.run, PAPER["table11"], tmp_path/"out.ipynb", "--cwd", ROOT)
    done = run("-p", "dry_run", "yes", "-p", "seeds", "1", "-p", "run", "no")
    assert done.returncode == 0, done.stderr[-2000:]
    outputs = json.dumps([c.get("outputs") for c in json.loads((tmp_path/"out.ipynb").read_text())["cells"]])
    assert "at the paper's size: about" in outputs
    done = run("-p", "run", "maybe")
    assert done.returncode != 0 and "run='maybe' must be true or false" in done.stderr.strip().splitlines()[-1]
