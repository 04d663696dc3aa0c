"""Figures of the site, drawn from the committed results by what also draws the report's.

A line `<!-- figures: FILE.json NAME ... -->` in a page becomes these figures of
docs/results/FILE.json.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from plotly.offline import get_plotlyjs

from dualsys.report.page import figures_of
from dualsys.report.sources import read_source

RESULTS = Path(__file__).parents[1] / "results"
MARK = re.compile(r"<!-- figures: (\S+) (.+?) -->")
LIBRARY = "assets/plotly.js"
DRAW = """<script>
document.querySelectorAll("script.figure").forEach((told) => {
  const figure = JSON.parse(told.textContent), place = document.createElement("div");
  told.after(place);
  Plotly.newPlot(place, figure.data, figure.layout, {responsive: true, displaylogo: false});
});
</script>"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the library that draws, so that nothing is fetched from elsewhere."""
    files.append(File.generated(config, LIBRARY, content=get_plotlyjs()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put figures where a page names the file that they are of."""
    if not MARK.search(markdown):
        return markdown
    up = "../" * page.url.count("/")
    drawn = MARK.sub(lambda found: _drawn(RESULTS / found[1], found[2].split()), markdown)
    return f'{drawn}\n\n<script src="{up}{LIBRARY}"></script>\n{DRAW}\n'


def _drawn(file: Path, wanted: list[str]) -> str:
    figures = figures_of(read_source(file), wanted)
    if len(figures) != len(wanted):
        raise PluginError(f"{file.name} has {len(figures)} of the figures {', '.join(wanted)}")
    texts = [figure.to_json() for figure in figures]
    # "</" would end the element; JSON knows another way to write it.
    safe = [text.replace("</", "<\\/") for text in texts]
    return "\n".join(
        f'<script type="application/json" class="figure">{text}</script>' for text in safe
    )
