"Settings of Sphinx for the site; `make docs` writes the pages and calls it."
import os
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
settings = ConfigParser(delimiters=['='])
settings.read(HERE.parents[1]/'settings.ini', encoding='utf-8')
about = settings['DEFAULT']

project, author, release = about['title'], about['author'], about['version']
copyright = about['copyright']
extensions = ['myst_nb', 'sphinx.ext.mathjax']
exclude_patterns = ['files/**']       # downloads
source_suffix = {'.md': 'myst-nb', '.ipynb': 'myst-nb'}

# Notebooks are shown as they are committed: their outputs were made by the code beside them, players included
nb_execution_mode = 'off'
nb_merge_streams = True
nb_render_markdown_format = 'myst'
nb_number_source_lines = False

myst_enable_extensions = ['dollarmath', 'amsmath', 'fieldlist']
myst_dmath_double_inline = True
myst_heading_anchors = 4
suppress_warnings = ['myst.header', 'misc.highlighting_failure', 'ref.python']  # ref.python: two classes have one name

python_maximum_signature_line_length = 70
python_use_unqualified_type_names = True
add_module_names = False

# MathJax from the installed package, which carries the files of npm: one script, and no fonts to load
MATHJAX = Path(find_spec('sphinx-mathjax-offline').submodule_search_locations[0])/'static/mathjax/tex-svg.js'
html_static_path = [str(HERE/'site.css'), str(MATHJAX)]
mathjax_path = MATHJAX.name
mathjax3_config = {'options': {'enableMenu': False}}

html_theme = 'sphinx_book_theme'
html_title = about['title']
html_css_files = ['site.css']
html_copy_source = html_show_sourcelink = False
html_context = {'default_mode': 'auto'}
repository = os.environ.get('GITHUB_REPOSITORY')        # set where a workflow publishes the site
html_theme_options = dict(
    collapse_navbar=True, show_toc_level=2, navigation_with_keys=False, use_download_button=False,
    use_fullscreen_button=False, navbar_persistent=[], home_page_in_toc=False, search_as_you_type=False,
) | (dict(repository_url=f"{os.environ.get('GITHUB_SERVER_URL', '')}/{repository}", use_repository_button=True)
     if repository else {})
