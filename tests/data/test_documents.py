import gzip
import io
import json
import os
import tarfile
import tracemalloc
import zipfile
import zlib
from copy import copy
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.data import archives, documents
from llmguide.data import parquet as llmguide_parquet
from llmguide.data.documents import LIMIT, Document, Unread, find_files, read, read_file

TEXTS = ["First text.\n", "Zweiter, mit Ümläuten.", "第三\n\nund mehr"]


def split(items):
    items = list(items)
    texts = [item.text for item in items if isinstance(item, Document)]
    return texts, [(item.reason, item.where) for item in items if isinstance(item, Unread)]


def json_lines(texts):
    return "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in texts).encode()


def parquet(texts, column="text", compression="snappy"):
    file = io.BytesIO()
    pq.write_table(pa.table({column: texts, "n": list(range(len(texts)))}), file, compression=compression)
    return file.getvalue()


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(members, mode="w"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


MEMBERS = {
    "a.txt": TEXTS[0].encode(),
    "b/c.jsonl": json_lines(TEXTS[1:]),
    "d.parquet": parquet(TEXTS),
    "e.jsonl.gz": gzip.compress(json_lines(TEXTS)),
}
IN_MEMBERS = TEXTS + TEXTS + TEXTS


# By hand


FILES = {
    "x.txt": (TEXTS[2].encode(), TEXTS[2:]),
    "x.py": (b"print()\n", ["print()\n"]),
    "bom.md": (b"\xef\xbb\xbfText", ["Text"]),
    "x.txt.gz": (gzip.compress(TEXTS[1].encode()), TEXTS[1:2]),
    "x.jsonl": (json_lines(TEXTS), TEXTS),
    "x.ndjson": (json_lines(TEXTS).rstrip(b"\n"), TEXTS),
    "c4-train.json.gz": (gzip.compress(json_lines(TEXTS)), TEXTS),
    "x.parquet": (parquet(TEXTS * 50), TEXTS * 50),
    "x.zip": (zipped(MEMBERS), IN_MEMBERS),
    "x.tar": (tarred(MEMBERS), IN_MEMBERS),
    "x.tar.gz": (gzip.compress(tarred(MEMBERS)), IN_MEMBERS),
    "X.TGZ": (gzip.compress(tarred(MEMBERS)), IN_MEMBERS),
}


@pytest.mark.parametrize("name", FILES)  # the time of compression must not be part of a test's name
def test_every_kind_is_read(tmp_path, name):
    content, expected = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    items = list(read_file(path))
    assert split(items) == (expected, [])
    assert len({item.id for item in items}) == len(items)
    assert all(item.id.startswith(item.source) and item.source.startswith(str(path)) for item in items)


def test_ids_name_the_line_and_the_member(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(zipped(MEMBERS))
    ids = [item.id.removeprefix(str(path)) for item in read_file(path)]
    assert ids[:4] == ["/a.txt", "/b/c.jsonl:1", "/b/c.jsonl:2", "/d.parquet:1"]


def test_another_field(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"content": "yes", "text": "no"}')
    (tmp_path / "b.parquet").write_bytes(parquet(["also"], "content"))
    assert [d.text for d in read(tmp_path, text_field="content")] == ["yes", "also"]


def test_folders_are_sorted_and_hidden_files_passed_over(tmp_path):
    for name in "b.txt", "a.txt", ".git/config", "sub/.hidden", "sub/c.txt", "sub/__pycache__/c.pyc":
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [d.text for d in read(tmp_path)] == ["a.txt", "b.txt", "sub/c.txt"]
    # each file once, and a hidden one that is asked for
    paths = [tmp_path / "b.txt", str(tmp_path), tmp_path / ".git/config"]
    assert [d.text for d in read(paths)] == ["b.txt", "a.txt", "sub/c.txt", ".git/config"]


def test_a_missing_path_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing.*does not exist"):
        find_files(tmp_path / "nothing")


# What cannot be read


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", b"", "empty"),
        ("x.txt", b" \n\t\n", "empty"),
        ("x.jsonl", b"", "empty"),
        ("x.parquet", parquet([]), "empty"),
        ("x.txt", b"text\0text", "binary: a NUL byte"),
        ("utf16.txt", "text".encode("utf-16"), "binary: a NUL byte"),
        ("latin.txt", "Größe".encode("latin-1"), "not UTF-8"),
        ("cut.txt", "Größ".encode()[:-1], "not UTF-8"),
        ("x.gz", b"no gzip at all", "damaged or cut off"),
        ("x.zip", b"PK\3\4 no zip at all", "damaged or cut off"),
        ("x.tar", b"no tar at all" * 100, "damaged or cut off"),
        ("x.parquet", b"PAR1 no parquet at all", "damaged or cut off"),
        ("x.parquet", b"", "damaged or cut off"),
        ("x.parquet", parquet(TEXTS, "content"), "no text"),
    ],
)
def test_an_unreadable_file_gives_its_reason(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    assert split(read_file(path)) == ([], [(reason, str(path))])


def test_bad_lines_are_told_by_number_and_the_rest_is_read(tmp_path):
    path = tmp_path / "x.jsonl"
    lines = [
        b'{"text": "good"}',
        b'{"text": "cut o',
        b"",
        b'["a list"]',
        b'{"text": 5}',
        b'{"text": ""}',
        b'{"text": "\\ud800"}',
        b'{"text": "\\u0000"}',
        b'{"text": "Gr\xf6\xdfe"}',
        b"[" * 100_000,
        b'{"text": "pair \\ud83d\\ude00"}',
    ]
    path.write_bytes(b"\n".join(lines))
    texts, unread = split(read_file(path))
    assert texts == ["good", "pair 😀"]
    reasons = {
        2: "broken JSON",
        4: "no text",
        5: "no text",
        6: "empty",
        7: "lone surrogate",
        8: "binary: a NUL byte",
        9: "not UTF-8",
        10: "broken JSON",
    }
    assert unread == [(reason, f"{path}:{line}") for line, reason in reasons.items()]


def test_null_rows_are_told(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(parquet(["a", None, "b"]))
    assert split(read_file(path)) == (["a", "b"], [("no text", f"{path}:2")])


def test_what_came_before_a_cut_is_kept(tmp_path):
    texts = [os.urandom(600).hex() for _ in range(100)]
    for name, content in {
        "x.jsonl.gz": gzip.compress(json_lines(texts)),
        "x.tar.gz": gzip.compress(tarred({f"{i}.txt": t.encode() for i, t in enumerate(texts)})),
    }.items():
        path = tmp_path / name
        path.write_bytes(content[: len(content) // 2])
        read_texts, unread = split(read_file(path))
        assert 20 < len(read_texts) < 80
        assert read_texts == texts[: len(read_texts)]
        assert [reason for reason, _ in unread][-1] == "damaged or cut off"


def test_a_damaged_member_does_not_hide_the_next(tmp_path):
    content = bytearray(zipped({"a.txt": os.urandom(500).hex(), "b.txt": b"fine"}))
    content[200] ^= 0xFF
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    texts, unread = split(read_file(path))
    assert "fine" in texts
    assert [where for _, where in unread] == [f"{path}/a.txt"]


def test_an_archive_inside_is_told_not_opened(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(zipped({"inner.zip": zipped(MEMBERS), "a.txt": b"a", "y.tgz": b"", "q/": b""}))
    reason = "archive inside an archive"
    assert split(read_file(path)) == (["a"], [(reason, f"{path}/inner.zip"), (reason, f"{path}/y.tgz")])


@pytest.mark.skipif(os.name != "posix", reason="names as bytes")
def test_a_name_that_is_no_text_makes_a_printable_id(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.txt"
    with open(path, "w") as file:  # noqa: PTH123  # pathlib takes no bytes
        file.write("text")
    (document,) = read(tmp_path)
    assert document.text == "text"
    assert document.id.encode().decode() == document.id  # no lone surrogate, which encode() refuses


# Bounds


def peak(paths):
    tracemalloc.start()
    n = sum(len(d.text) for d in read(paths))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return n, most


def test_a_long_text_is_split_at_blank_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "LIMIT", 1000)
    monkeypatch.setattr(documents, "_BLOCK", 300)
    paragraphs = [("word " * 60).strip() + f" {i}.\n\n" for i in range(20)]
    path = tmp_path / "long.txt"
    path.write_text("".join(paragraphs))
    parts = list(read_file(path))
    assert "".join(part.text for part in parts) == "".join(paragraphs)
    assert len(parts) > 5
    assert all(part.text.endswith(".\n\n") and len(part.text) <= 1300 for part in parts)
    assert [part.id for part in parts[:2]] == [str(path), f"{path}#1"]


@given(st.text(alphabet="aä語😀 \n", max_size=400), st.integers(1, 50), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_the_parts_of_a_text_are_the_text(tmp_path_factory, text, limit, block):
    path = tmp_path_factory.mktemp("parts") / "x.txt"
    path.write_text(text, newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "LIMIT", limit)
        patch.setattr(documents, "_BLOCK", block)
        parts, _ = split(read_file(path))
    blanks = str.maketrans("", "", " \n")
    assert "".join(parts).translate(blanks) == text.translate(blanks)


def test_one_line_of_50_megabytes_takes_bounded_memory(tmp_path):
    line = b"x" * 50_000_000
    (tmp_path / "a.txt").write_bytes(line)
    assert peak(tmp_path / "a.txt")[0] == len(line)
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "before"}\n{"text": "' + line + b'"}\n{"text": "after"}')
    unread = []
    assert [d.text for d in read(tmp_path / "b.jsonl", on_unread=unread.append)] == ["before", "after"]
    assert unread == [Unread("longer than 16 MiB", f"{tmp_path / 'b.jsonl'}:2")]
    assert max(peak(tmp_path / "a.txt")[1], peak(tmp_path / "b.jsonl")[1]) < 5 * LIMIT


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_bombs_are_given_up(tmp_path):
    bomb = b"a" * (2 * LIMIT)
    for name, content in {
        "a.txt.gz": gzip.compress(bomb),
        "b.jsonl.gz": gzip.compress(bomb),
        "c.zip": zipped({"a.txt": bomb}),
        "d.zip": zipped({"a.txt.gz": gzip.compress(bomb)}),
        "e.tar.gz": gzip.compress(tarred({"a.txt": bomb})),
        "f.zip": zipped({f"{i}.txt": b"a" * (LIMIT // 4) for i in range(20)}),  # one budget for all members
        "g.parquet": parquet(["a" * (2 * LIMIT)], compression="zstd"),
        "h.parquet.gz": gzip.compress(parquet(["a" * (2 * LIMIT)], compression="none")),
    }.items():
        path = written(tmp_path, name, content)
        texts, unread = split(read_file(path))
        assert unread == [("expands more than 200 times", str(path))], name
        assert sum(map(len, texts)) <= archives.FLOOR + 200 * len(content), name


def test_a_bomb_is_given_up_before_it_gives_a_document(tmp_path):
    """A budget of 200 times the whole file would let 100 of these 128 MiB pass."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = [packer.compress(b"a" * (1 << 20)) for _ in range(128)]
    path = written(tmp_path, "a.txt.gz", b"".join([*packed, packer.flush()]))
    items = list(read_file(path))
    assert split(items) == ([], [("expands more than 200 times", str(path))])
    assert "llmguide.data.archives.EXPANSION" in items[0].detail


def test_empty_lines_spend_the_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FLOOR", 1 << 18)
    path = written(tmp_path, "a.jsonl.gz", gzip.compress(b"\n" * (1 << 16)))
    assert split(read_file(path)) == ([], [("expands more than 200 times", str(path))])


def test_the_budget_is_set_in_one_place(tmp_path, monkeypatch):
    path = written(tmp_path, "a.txt.gz", gzip.compress(b"a" * (2 * LIMIT)))
    monkeypatch.setattr(archives, "EXPANSION", 2000)
    assert sum(len(document.text) for document in read(path)) == 2 * LIMIT


def test_a_dictionary_repeats_no_text_beyond_the_budget(tmp_path, monkeypatch):
    """3 kB that stand for 20 GB, and rows without any text."""
    monkeypatch.setattr(archives, "FLOOR", 1 << 18)
    for text in "a" * 20_000, "":
        texts = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), pa.array([text]))
        pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", compression="zstd")
        n_bytes, last = 0, None
        for item in read_file(tmp_path / "a.parquet"):
            n_bytes += len(item.text) if isinstance(item, Document) else 0
            last = item
        assert last.reason == "expands more than 200 times"
        assert n_bytes < archives.FLOOR + 200 * (tmp_path / "a.parquet").stat().st_size


def test_a_page_that_is_too_large_is_not_decompressed(tmp_path, monkeypatch):
    monkeypatch.setattr(llmguide_parquet, "PAGE", 1 << 20)
    rows = ["small", "b" * (2 << 20), "small too"]
    table = pa.table({"text": rows})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1, use_dictionary=False)
    before = pa.total_allocated_bytes()
    items = list(read_file(tmp_path / "a.parquet"))
    where = f"{tmp_path / 'a.parquet'}:2"
    assert split(items) == (["small", "small too"], [("page larger than 1 MiB", where)])
    assert "row group 1" in items[1].detail
    assert pa.total_allocated_bytes() <= before


@pytest.mark.parametrize("options", [{}, {"data_page_version": "2.0"}, {"use_dictionary": False}])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_the_sizes_of_pages_are_those_that_the_file_sums_up(tmp_path, options, compression):
    texts = [f"{i} " * (i % 50) for i in range(5000)]
    path = tmp_path / "a.parquet"
    columns = {"text": texts, "list": [[text] for text in texts]}
    pq.write_table(pa.table(columns), path, compression=compression, data_page_size=5000, **options)
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    with archives.Source(path) as budget, io.BufferedReader(budget) as file:
        budget.n_read = budget.size
        pages = list(llmguide_parquet._pages(file, chunk, budget))
    headers = chunk.total_uncompressed_size - sum(page.n_bytes for page in pages)
    assert len(pages) >= 3
    assert 0 < headers < 500 * len(pages)  # the total counts the headers as well
    assert [d.text for d in read(path)] == [text for text in texts if text]


HUGE = b"\x80" * 8 + b"\x10"  # 2^60 as a varint


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"\x19\xf7" + HUGE, id="list of 2^60 doubles"),
        pytest.param(b"\x19\xf3" + HUGE, id="list of 2^60 bytes"),
        pytest.param(b"\x18" + b"\x80" * 9 + b"\x01", id="string of 2^63 bytes"),
    ],
)
def test_a_page_header_longer_than_the_file_is_damaged(header):
    with pytest.raises(IndexError):
        llmguide_parquet._struct(Limited(header + bytes(20)))


class Limited(io.BytesIO):
    """A file that can be read or sought a hundred times, which is often enough."""

    left = 100

    def _count(self):
        self.left -= 1
        assert self.left

    def read(self, size=-1):
        self._count()
        return super().read(size)

    def seek(self, *to):
        self._count()
        return super().seek(*to)


def test_page_headers_spend_the_budget(tmp_path, monkeypatch):
    """Of many row groups with one long header."""
    monkeypatch.setattr(archives, "FLOOR", 1000)
    header = b"\x19\xf3\xd0\x0f" + bytes(2000) + b"\x15\0\x15\0\0"  # 1: 2000 bytes; 2 and 3: 0
    chunk = SimpleNamespace(data_page_offset=0, has_dictionary_page=False, total_compressed_size=1)
    with archives.Source(written(tmp_path, "a", header)) as budget, pytest.raises(archives.BudgetError):
        list(llmguide_parquet._pages(io.BytesIO(header), chunk, budget))


def test_only_a_column_of_texts_is_read(tmp_path):
    pq.write_table(pa.table({"text": [["a"], ["b"]]}), tmp_path / "a.parquet")
    items = list(read_file(tmp_path / "a.parquet"))
    assert split(items) == ([], [("no text", str(tmp_path / "a.parquet"))])
    assert items[0].detail.startswith("columns: text (list<")


def overlapping(n):
    """A zip whose n members are the same bytes."""
    info = zipfile.ZipInfo("0.txt")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(info, b"a" * 100_000, zipfile.ZIP_DEFLATED)
        for i in range(1, n):
            twin = copy(info)
            twin.filename = f"{i}.txt"
            archive.filelist.append(twin)
    return file.getvalue()


def test_a_zip_of_overlapping_members_is_refused(tmp_path):
    path = written(tmp_path, "a.zip", overlapping(2000))
    items = list(read_file(path))
    assert split(items) == ([], [("members overlap", str(path))])
    assert "'0.txt' and '1.txt'" in items[0].detail


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_decompresses_all_at_once_is_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "a" * 1000, method)
        archive.writestr("b.txt", "b")
    reason = "compression that is not read"
    assert split(read_file(tmp_path / "a.zip")) == (["b"], [(reason, f"{tmp_path / 'a.zip'}/a.txt")])


def headed(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf()


@pytest.mark.parametrize("name", ["a.txt", ".hidden"])
@pytest.mark.parametrize("kind", ["tar", "tgz"])
def test_a_member_that_claims_more_than_the_file_holds_ends_the_tar(tmp_path, name, kind):
    """To seek through 2^60 bytes, tarfile reads 10^14 times at the end of the file."""
    content = headed(name, 2**60) + bytes(512)
    path = written(tmp_path, f"a.{kind}", gzip.compress(content) if kind == "tgz" else content)
    texts, unread = split(read_file(path))
    assert (texts, unread[-1]) == ([], ("damaged or cut off", str(path)))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_long_header_of_a_tar_is_not_held(tmp_path, kind):
    path = written(tmp_path, "a.tar", headed("a", 50_000_000, kind) + bytes(50_000_000))
    assert peak(path)[1] < 5_000_000
    (unread,) = read_file(path)
    assert "50,000,000 bytes; at most" in unread.detail


def test_a_tar_of_many_members_takes_bounded_memory(tmp_path):
    few = written(tmp_path, "few.tar", headed("a.txt", 0) * 200 + bytes(1024))
    many = written(tmp_path, "many.tar", headed("a.txt", 0) * 3000 + bytes(1024))
    assert peak(many)[1] < 1.5 * peak(few)[1]


def test_sparse_members_are_refused(tmp_path):
    content = headed("hole.txt", 0, tarfile.GNUTYPE_SPARSE) + bytes(1024)
    ((reason, _),) = split(read_file(written(tmp_path, "a.tar", content)))[1]
    assert reason == "damaged or cut off"


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "0,0,64,0", "GNU.sparse.size": "64"},
        {"GNU.sparse.size": "64", "GNU.sparse.offset": "0", "GNU.sparse.numbytes": "4"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "64"},
    ],
)
def test_sparse_members_of_the_pax_format_are_refused(tmp_path, headers):
    """A hole of 2^60 bytes would take forever to read."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("hole.txt")
        info.size, info.pax_headers = 4, headers
        archive.addfile(info, io.BytesIO(b"text"))
    (unread,) = read_file(tmp_path / "a.tar")
    assert unread.detail == "'hole.txt' is a sparse file; pack the tar without them"


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_cut_anywhere_gives_all_or_says_so(tmp_path, layout):
    texts = [f"{i} " * (90 * i) for i in range(1, 9)]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=layout) as archive:
        for i, text in enumerate(texts):
            info = tarfile.TarInfo(f"{'ä' * 110 if layout != tarfile.USTAR_FORMAT else ''}{i}.txt")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    content = file.getvalue()
    end = len(content.rstrip(b"\0"))
    said = 0
    for cut in sorted({*range(0, end + 2048, 509), *range(0, end + 2048, 512)}):
        path = written(tmp_path, "a.tar", content[:cut])
        got, unread = split(read_file(path))
        assert got[:-1] == texts[: max(0, len(got) - 1)]
        assert (got == texts and cut >= end) or unread, cut
        said += bool(unread)
    assert said > 20


def test_a_damaged_header_does_not_end_a_tar_in_silence(tmp_path):
    content = bytearray(tarred({f"{i}.txt": b"text" for i in range(5)}))
    content[2048] ^= 1  # the first byte of the third header
    texts, unread = split(read_file(written(tmp_path, "a.tar", content)))
    assert (texts, len(unread)) == (["text", "text"], 1)


@pytest.mark.parametrize("kind", ["tar", "tgz"])
@pytest.mark.parametrize("zeroed", [512, 1024])  # a header, and the member that it describes
def test_members_after_an_early_end_marker_are_told(tmp_path, kind, zeroed):
    content = bytearray(tarred({f"{i}.txt": b"text" for i in range(50)}))
    content[2048 : 2048 + zeroed] = bytes(zeroed)
    path = written(tmp_path, f"a.{kind}", gzip.compress(content) if kind == "tgz" else content)
    assert split(read_file(path)) == (["text", "text"], [("damaged or cut off", str(path))])


def test_memory_does_not_grow_with_the_file(tmp_path):
    small, large = tmp_path / "small.jsonl", tmp_path / "large.jsonl"
    line = json_lines(["some words " * 50])
    small.write_bytes(line * 100)
    large.write_bytes(line * 2000)
    assert peak(large)[0] == 20 * peak(small)[0]
    assert peak(large)[1] < 1.5 * peak(small)[1]


@given(st.binary(max_size=300), st.sampled_from(["txt", "jsonl", "gz", "zip", "tar", "tgz", "parquet"]))
@settings(max_examples=100, deadline=None)
def test_no_bytes_raise(tmp_path_factory, content, kind):
    path = tmp_path_factory.mktemp("any") / f"x.{kind}"
    path.write_bytes(content)
    assert list(read_file(path)) == list(read_file(path))
