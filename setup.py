"Reads settings.ini, the one place for name, version and requirements."
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(HERE/"settings.ini", encoding="utf-8")
about = config["DEFAULT"]
HOME = f"https://github.com/{about['user']}/{about['repo']}"
PYTHONS = range(int(about["min_python"].split(".")[1]), 14)     # tried: .github/workflows/test.yml

def outside(link):
    "The beginning of a link to a file of the repository, as a page elsewhere needs it; pictures raw."
    return f"{link[1]}{HOME}/{'raw' if link[1].startswith('!') else 'blob'}/{about['branch']}/"

setup(
    name=about["lib_name"],
    version=about["version"],
    description=about["description"],
    long_description=re.sub(r"(!?\[[^\]]*\]\()(?!https?:|#|mailto:)", outside, (HERE/"README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    author=about["author"],
    license_expression="MIT",
    license_files=["LICENSE"],
    url=HOME,
    project_urls={
        "Changes": f"{HOME}/blob/{about['branch']}/CHANGELOG.md",
        "Paper": "https://openreview.net/forum?id=odU59TxdiB",
        "Code and weights of the authors": "https://github.com/ta012/SSLAM",
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        f"Intended Audience :: {about['audience']}",
        "Operating System :: OS Independent",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in PYTHONS),
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    keywords=about["keywords"].split(),
    python_requires=f">={about['min_python']}",
    packages=find_packages(include=["sslam_nb", "sslam_nb.*"]),
    install_requires=about["requirements"].split(),
    package_data={"sslam_nb": ["py.typed", "*.pyi", "demo/*"]},
    entry_points={"console_scripts": ["sslam = sslam_nb.use.command_line:main"]},
    extras_require={name.removesuffix("_requirements"): text.split() for name, text in about.items()
                    if name.endswith("_requirements")},
    zip_safe=False,
)
