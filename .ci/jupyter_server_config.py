"""What `make lab` adds to JupyterLab: a notebook is cleaned as it is saved, so that opening one changes nothing for git.

The same cleaning as that of `make sync` (nbdev_clean): without language_info, whose version is this computer's, with the name of
the kernel in place of its title, and without the counts of executed cells. The notebook in the browser keeps them."""
from nbdev.clean import clean_nb

def clean(model, **kwargs):
    "Before a notebook is written."
    if model['type'] == 'notebook': clean_nb(model['content'], allowed_cell_metadata_keys=['tags'], clean_ids=False)

c.FileContentsManager.pre_save_hook = clean       # noqa: F821, Jupyter gives c
