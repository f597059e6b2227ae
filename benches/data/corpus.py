#!/usr/bin/env python3
"""Builds a corpus of real text for measurements, in Dolma's format, from what is on a development machine and in Debian.

    python3 benches/data/corpus.py OUTPUT [--debs DIR]

Writes OUTPUT/documents/<source>/<source>-NNNN.jsonl.gz: about 140 MB of text in seven sources. Needs Python 3.9 and, for the Debian
packages, `apt-get download` and `dpkg-deb`; packages that cannot be fetched are named and left out. Everything is sorted and nothing
is drawn, so the same packages, crates and toolchain give the same bytes. The folder appears under its name when it is complete.
"""

import argparse
import gzip
import html
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

DEBS = {
    "docs": ["python3.11-doc", "postgresql-doc-15", "sqlite3-doc", "python-django-doc", "nodejs-doc", "golang-1.19-doc"],
    "apache-manual": ["apache2-doc"],
    "books": ["jargon-text", "wordnet-base", "fortunes", "dict-gcide", "dict-devil", "anarchism"],
    "manpages": ["freebsd-manpages", "perl-doc"],
}
LICENSES = {
    "python3.11-doc": "PSF-2.0", "postgresql-doc-15": "PostgreSQL", "sqlite3-doc": "blessing", "python-django-doc": "BSD-3-Clause",
    "nodejs-doc": "MIT", "golang-1.19-doc": "BSD-3-Clause", "apache2-doc": "Apache-2.0", "jargon-text": "public domain",
    "wordnet-base": "WordNet", "fortunes": "BSD-3-Clause", "dict-gcide": "GPL-3.0", "dict-devil": "public domain",
    "anarchism": "GFDL-1.1", "freebsd-manpages": "BSD-2-Clause", "perl-doc": "Artistic-1.0-Perl",
}
# Megabytes (10^6 bytes of text) taken of each source at most.
CAPS = {"docs": 30, "apache-manual": 12, "books": 24, "manpages": 14, "rust-docs": 20, "crates": 32, "cpython": 10}
PART = 4_000_000
CODE = {".rs", ".c", ".h", ".cc", ".cpp", ".py", ".js", ".md", ".toml", ".txt", ".s", ".asm", ".sh"}

HIDDEN = re.compile(r"<(script|style|head|svg|noscript)\b.*?</\1\s*>|<!--.*?-->", re.S | re.I)
BREAK = re.compile(r"</?(p|div|h[1-6]|ul|ol|table|pre|section|article|blockquote|dl|nav|header|footer|form|hr)\b[^>]*>", re.I)
LINE = re.compile(r"<(br|li|tr|dt|dd)\b[^>]*>", re.I)
CELL = re.compile(r"</t[dh]\s*>", re.I)
TAG = re.compile(r"<[^>]*>")


def plain(page):
    """The visible text of a page of HTML: blocks apart by a blank line, items by a line, cells by a tab."""
    page = HIDDEN.sub(" ", page)
    page = TAG.sub("", CELL.sub("\t", LINE.sub("\n", BREAK.sub("\n\n", page))))
    lines = [line.strip() for line in html.unescape(page).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def decode(data):
    if b"\0" in data[:4096]:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def document(source, package, license, base, path, data):
    suffix = "".join(path.suffixes[-1:]).lower()
    if suffix == ".gz":
        data, suffix = gzip.decompress(data), "".join(path.with_suffix("").suffixes[-1:]).lower()
    elif suffix == ".dz":
        data, suffix = gzip.decompress(data), ".txt"
    text = decode(data)
    if text is None:
        return None
    if suffix in (".html", ".htm") or re.fullmatch(r"\.(en|fr|de|ja|ko|tr|es|da|pt-br|zh-cn)(\.utf-?8)?", suffix) or ".html." in path.name:
        text = plain(text)
    if not text.strip():
        return None
    name = path.relative_to(base).as_posix()
    metadata = {"url": f"https://example.org/{package}/{name}", "license": license, "package": package, "path": name,
                "ext": suffix.lstrip(".")}
    day = "2024-01-01T00:00:00.000Z"
    return {"id": f"{package}/{name}", "text": text, "source": source, "added": day, "created": day, "metadata": metadata}


def files(base, wanted):
    for path in sorted(base.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 4_000_000 and wanted(path):
            yield path


def debian(source, debs):
    for package in DEBS[source]:
        deb = next(iter(sorted(debs.glob(f"{package}_*.deb"))), None)
        if deb is None:
            done = subprocess.run(["apt-get", "download", package], cwd=debs, capture_output=True, text=True)
            deb = next(iter(sorted(debs.glob(f"{package}_*.deb"))), None)
            if deb is None:
                print(f"{package}: cannot be downloaded, left out: {done.stderr.strip()[:200]}", file=sys.stderr)
                continue
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["dpkg-deb", "-x", str(deb), folder], check=True)
            base = Path(folder)

            def wanted(path):
                name = path.name.lower()
                if "changelog" in name or name in ("copyright", "genindex.html", "searchindex.js") or "genindex" in name:
                    return False
                return ".html" in name or path.suffix in (".txt", ".gz", ".dz", ".pod", ".md", "") or "/wordnet/" in str(path)

            for path in files(base, wanted):
                yield document(source, package, LICENSES[package], base, path, path.read_bytes())


def rust_docs():
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True).stdout.strip()
    base = Path(sysroot) / "share/doc/rust/html"
    for book in ["book", "reference", "cargo", "rustc", "nomicon", "rustdoc", "edition-guide", "unstable-book", "rust-by-example",
                 "alloc", "std/collections", "std/io", "std/string", "std/vec", "core/iter", "core/slice"]:
        if (base / book).is_dir():
            for path in files(base / book, lambda path: path.suffix == ".html" and "redirect" not in path.name):
                yield document("rust-docs", "rust-docs", "MIT OR Apache-2.0", base, path, path.read_bytes())


def crates():
    registry = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "registry/src"
    taken = set()
    for index in sorted(registry.iterdir()):
        # Every third crate, so that the sample is not only the letters A to D.
        for crate in sorted(index.iterdir())[::3]:
            license = "unknown"
            if (crate / "Cargo.toml").is_file():
                found = re.search(r'^license\s*=\s*"([^"]*)"', (crate / "Cargo.toml").read_text(errors="replace"), re.M)
                license = found.group(1) if found else license
            if crate.name in taken or not re.search(r"MIT|Apache|BSD|ISC|Zlib", license):
                continue
            taken.add(crate.name)
            size = 0
            for path in files(crate, lambda path: path.suffix in CODE and path.stat().st_size < 400_000):
                size += path.stat().st_size
                if size > 500_000:
                    break
                yield document("crates", crate.name, license, crate, path, path.read_bytes())


def cpython():
    base = Path(sysconfig.get_paths()["stdlib"])
    for path in files(base, lambda path: path.suffix == ".py" and "site-packages" not in path.parts):
        yield document("cpython", "cpython", "PSF-2.0", base, path, path.read_bytes())


def write(folder, source, documents):
    (folder / source).mkdir(parents=True)
    part, size, total, count, out = 0, 0, 0, 0, None
    for found in documents:
        if found is None:
            continue
        if out is None or size > PART:
            if out is not None:
                out.close()
            size = 0
            raw = open(folder / source / f"{source}-{part:04}.jsonl.gz", "wb")
            out = gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0)
            part += 1
        bytes = len(found["text"].encode())
        out.write(json.dumps(found, ensure_ascii=False).encode() + b"\n")
        size, total, count = size + bytes, total + bytes, count + 1
        if total > CAPS[source] * 1_000_000:
            break
    if out is not None:
        out.close()
    print(f"{source}: {count} documents, {total / 1e6:.1f} MB of text, {part} files", file=sys.stderr)
    return count, total


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("output", type=Path)
    arguments.add_argument("--debs", type=Path, help="where packages are kept; a temporary folder when absent")
    arguments = arguments.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    target = arguments.output / "documents"
    if target.exists():
        sys.exit(f"{target} is already there; remove it to build anew")
    draft = Path(tempfile.mkdtemp(prefix=".documents-", dir=arguments.output))
    debs = arguments.debs or draft / ".debs"
    debs.mkdir(parents=True, exist_ok=True)
    totals = [write(draft, source, debian(source, debs)) for source in DEBS]
    totals += [write(draft, "rust-docs", rust_docs()), write(draft, "crates", crates()), write(draft, "cpython", cpython())]
    shutil.rmtree(draft / ".debs", ignore_errors=True)
    os.chmod(draft, 0o755)
    draft.rename(target)
    print(f"{sum(t[0] for t in totals)} documents, {sum(t[1] for t in totals) / 1e6:.1f} MB of text in {target}", file=sys.stderr)


if __name__ == "__main__":
    main()
