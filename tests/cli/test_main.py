import subprocess
import sys
import threading
import warnings

import pytest

from llmguide import __version__
from llmguide.cli import main


def run(*args):
    return subprocess.run(
        [sys.executable, "-m", "llmguide", *args], capture_output=True, text=True, check=False
    )


def test_help_names_every_command_with_examples_and_imports_nothing_heavy():
    code = (
        "import sys; from llmguide.cli.main import main; status = main(['--help']); "
        "heavy = {'torch', 'numpy', 'tyro', 'rich'} & set(sys.modules); sys.exit(status or len(heavy))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    for name in main.COMMANDS:
        assert f"llmguide {name}" in found.stdout


def test_version_and_no_arguments(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"llmguide {__version__}\n"
    assert main.main([]) == 0
    assert capsys.readouterr().out.startswith("usage: llmguide COMMAND")


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["pretrian"], 2, "did you mean 'pretrain'?"),
        (["--versoin"], 2, "there is no command '--versoin' among estimate, pretrain, generate"),
        (["estimate", "params", "gpt-2"], 1, "did you mean gpt2"),
        (["estimate", "paramz"], 2, "Available subcommands"),
        (["estimate", "params", "gpt2", "--jsn"], 2, "--json"),
        (["estimate", "optimal", "much"], 2, "much"),
    ],
)
def test_what_makes_no_sense_says_why(args, status, message, capsys):
    assert main.main(args) == status
    assert message in capsys.readouterr().err


def test_a_warning_is_one_line(monkeypatch, capsys):
    def twice(*_):
        for line in (1, 2):
            warnings.warn_explicit("two lines were not read", UserWarning, "corpora.py", line)

    monkeypatch.setattr(main, "_run", twice)
    assert main.main(["estimate", "presets"]) == 0
    assert capsys.readouterr().err == "llmguide: note: two lines were not read\n"


def test_an_error_of_reading_or_writing_in_a_thread_is_one_line(monkeypatch, capsys):
    def full():
        raise OSError(28, "No space left on device")

    def command(name, args):
        thread = threading.Thread(target=full)
        thread.start()
        thread.join()

    monkeypatch.setattr(main, "_run", command)
    assert main.main(["sft"]) == 0
    assert capsys.readouterr().err == "llmguide: note: [Errno 28] No space left on device\n"


def test_without_the_extra_it_names_the_package_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert main.main(["estimate", "presets"]) == 1
    assert 'pip install "llmguide[cli]"' in capsys.readouterr().err


HELP_WITHOUT = r"""
import importlib.metadata as metadata, re, sys

kept, todo = set(), ["filelock", "jaxtyping", "jinja2", "numpy", "torch", *EXTRA]
while todo:
    name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
    try:
        requires = metadata.requires(name) if name not in kept else []
    except metadata.PackageNotFoundError:
        continue
    kept.add(name)
    todo += [re.match(r"[\w.-]+", r)[0] for r in requires or [] if "extra ==" not in r]

owners_of = metadata.packages_distributions()
hidden = {
    module
    for module, owners in owners_of.items()
    if not any(re.sub(r"[-_.]+", "-", owner).lower() in kept for owner in owners)
} - {"llmguide"}

class Without:
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)

sys.meta_path.insert(0, Without())
from llmguide.cli import main
for name in main.COMMANDS:
    print("=", name, flush=True)
    assert main.main([name, "--help"]) == 0, name
assert "transformers" in hidden and "tornado" in hidden and not hidden & sys.modules.keys()
"""


@pytest.mark.parametrize("extra", [[], ["tyro"]], ids=["core", "tyro"])
def test_help_needs_no_extra(extra):
    code = f"EXTRA = {extra}\n{HELP_WITHOUT}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr
    assert found.stdout.count("Examples:") >= len(main.COMMANDS)
    assert found.stdout.count('pip install "llmguide[cli]"') == (0 if extra else len(main.COMMANDS))


def test_a_reader_that_stops_reading_is_no_error():
    command = f"{sys.executable} -m llmguide estimate presets --json | true"
    found = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout.strip(), found.stderr) == (0, "", "")


def test_as_a_module():
    found = run("estimate", "params", "gpt2")
    assert found.returncode == 0
    assert "124,439,808" in found.stdout
