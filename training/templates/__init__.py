"""Text templates of the files that commands write: Markdown with $names for figures."""

import re
from pathlib import Path
from string import Template

FOLDER = Path(__file__).parent


def fill(name: str, facts: dict[str, str], part: str | None = None) -> str:
    """Return a template of this folder, or its part under the line `<!-- part -->`, with every $name replaced.

    Raises
    ------
    KeyError
        If the template has a name that `facts` lacks, or lacks the part.
    """
    text = (FOLDER / name).read_text()
    if part is not None:
        pieces = re.split(r"<!-- (\w+) -->\n", text)
        text = dict(zip(pieces[1::2], pieces[2::2], strict=True))[part]
    return Template(text).substitute(facts)
