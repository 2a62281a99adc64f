"""``llmguide serve``: serve the guide locally, with a kernel that has the real PyTorch."""

import asyncio
import secrets
import sys
from pathlib import Path

import llmguide

DESCRIPTION = """\
Serve the guide on this machine. Run then uses your Python, with its PyTorch, other libraries and GPU. Only
this machine can reach the server, and only pages with the link's token, which is new at each start, can run
code. Nothing is stored: the variables, files and processes of a tab's cells end with the tab. (On macOS,
processes that left the kernel's process group keep running; on Windows, every process that it started does.)
Ctrl-C ends every kernel.

The browser stores edited cells under the server's address, which other programs may have used before. Edits
that were not made in this tab since the server started are shown first, and run only if you confirm them.

On a shared machine, use --no-browser: other users can read the command line that starts the browser, and it
includes the token.

Open the printed link: the address is 127.0.0.1, and requests to localhost or another port are refused. To
reach a remote machine, forward the same port: ssh -L 8000:127.0.0.1:8000 HOST.

Examples:
  llmguide serve
  llmguide serve --port 8123 --no-browser
  llmguide serve --site site                 a site built by make site"""

PACKAGED = Path(llmguide.__file__).parent / "site"  # part of a release, by make package


def serve(*, site: Path | None = None, port: int = 8000, no_browser: bool = False) -> None:
    """Serve the guide with a kernel, until Ctrl-C.

    Args:
        site: Folder of the built guide; default: the one in the package, else ./site.
        port: TCP port on 127.0.0.1; 0: any free port.
        no_browser: Print the link without opening a browser.
    """
    try:
        from llmguide.site_server.server import Server  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        message = 'llmguide serve needs more packages: pip install "llmguide[serve]"'
        raise ModuleNotFoundError(message) from error
    try:
        token = secrets.token_urlsafe(32)
        server = Server(find_site(site), token, port=port)
        asyncio.run(server.run("The guide, with a kernel", token, open_browser=not no_browser))
    except KeyboardInterrupt:  # Ctrl-C ends the server
        sys.stdout.write("\nstopped, and every kernel with it\n")


COMMAND = serve


def find_site(given: Path | None, packaged: Path = PACKAGED) -> Path:
    """Find the built guide.

    Raises:
        ValueError: There is no built guide, or none in the given folder.
    """
    if given is not None:
        if not (given / "index.html").is_file():
            raise ValueError(f"--site {given} has no index.html; make site writes a guide to site/")
        return given.resolve()
    for folder in (packaged, Path("site")):
        if (folder / "index.html").is_file():
            return folder.resolve()
    raise ValueError(
        "no built guide: this installation has none, and there is no ./site. Install a release from PyPI, "
        "which has it; or run make site in a checkout, and start there; or give a folder: --site DIR"
    )
