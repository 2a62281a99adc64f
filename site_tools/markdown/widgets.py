"""``<div class="widget" data-widget="NAME" ...>`` gets the bytes that starting the widget downloads.

The button that starts it names them. What stands inside the box is what readers see until then, and without
scripts. An unknown name fails the build.
"""

import json
import re

from site_tools.markdown import replacing
from site_tools.tab.widgets import download, sizes

BOX = re.compile(r'<div class="widget" data-widget="(?P<name>\w+)"')


def _with_bytes(match: re.Match[str]) -> str:
    of_parts = json.dumps(sizes(match["name"]), separators=(",", ":"))
    return f"{match.group()} data-bytes=\"{download(match['name'])}\" data-sizes='{of_parts}'"


# before HTML is read
makeExtension = replacing("widgets", BOX, _with_bytes, 28)
