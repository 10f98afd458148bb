"""Papermill in a process that begins with everything imported, and without a kernel: the same notebooks at a fraction of the time.

A kernel needs about eight seconds of a processor before its first line: papermill, IPython, torch, pandas, sklearn, matplotlib. Here one
process imports them and does nothing else (Python's forkserver), and every notebook gets a fork of it, so that notebooks share what is
imported and no more. Words are those of the command line: run('nbs/finetune.ipynb', 'out.ipynb', '-p', 'epochs', 2)."""
import os, tempfile
from multiprocessing import get_context
from types import SimpleNamespace

IMPORTED = '''torch pandas scipy.stats sklearn.linear_model sklearn.pipeline soundfile matplotlib.pyplot IPython.display
    execnb.shell papermill.cli matplotlib_inline.backend_inline sslam_nb.evidence.paper_tables sslam_nb.evidence.runner
    sslam_nb.evidence.cost sslam_nb.evidence.settings sslam_nb.reports.runs sslam_nb.reports.judging sslam_nb.reports.summary
    sslam_nb.reports.score_figures sslam_nb.training.official sslam_nb.use.predict sslam_nb.use.estimator'''.split()
FORKS = get_context('forkserver')

def shell_engine():
    "Papermill's way to say who executes the cells: an IPython shell of this process, as in nbdev_test."
    import nbformat
    from execnb.shell import CaptureShell
    from papermill.engines import Engine

    class Here(Engine):
        @classmethod
        def execute_managed_notebook(cls, managed, kernel_name, **options):
            shell = CaptureShell(mpl_format='png')
            for index, cell in enumerate(managed.nb.cells):
                managed.cell_start(cell, index)
                if cell.cell_type == 'code':
                    quiet = '\nNone' if cell.source.rstrip().endswith(';') else ''        # the shell would drop what was printed, too
                    cell.outputs = [nbformat.from_dict(out) for out in shell.run(cell.source + quiet)]
                    if shell.exc: return managed.cell_exception(cell, index, exception=shell.exc)
                managed.cell_complete(cell, index)
    return Here

def papermill_here(words, log):
    "All that the process does; what it says outside of cells goes into a file."
    from papermill.cli import papermill
    from papermill.engines import papermill_engines
    with open(log, 'wb') as file:
        for stream in (1, 2): os.dup2(file.fileno(), stream)
    papermill_engines.register('here', shell_engine())
    papermill.main([*words, '--engine', 'here', '--no-progress-bar'], prog_name='papermill')

def run(*words):
    "As subprocess.run gives it: returncode, and stderr."
    FORKS.set_forkserver_preload(IMPORTED)
    with tempfile.NamedTemporaryFile() as log:
        child = FORKS.Process(target=papermill_here, args=([str(word) for word in words], log.name))
        child.start(); child.join()
        return SimpleNamespace(returncode=child.exitcode, stderr=log.read().decode())
