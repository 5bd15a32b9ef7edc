"""What the lab's hosts need for a test and this machine has not: a module for their kernel, a daemon. From Debian.

Like the kernel itself (`chaos.lab.image`) it is downloaded, unpacked into a cache and never installed: no step needs
root, and no service of a package starts. It takes some 20 s the first time.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from chaos.lab.image import cache_folder
from chaos.lab.tools import run


def module(source: Path, release: str) -> Path:
    """Return a kernel module, SOURCE/NAME.ko of SOURCE/NAME.c and a Kbuild, for a release of Debian's kernel."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(source.iterdir()))).hexdigest()[:16]

    def build(folder: Path) -> None:
        headers = f"linux-headers-{release}"
        depends = run("apt-cache", "depends", "--important", headers).splitlines()[1:]
        packages = [line.split()[1] for line in depends if "linux-headers-" in line or "linux-kbuild-" in line]
        with tempfile.TemporaryDirectory() as scratch:
            _unpack(Path(scratch), headers, *packages)
            makefile = Path(scratch, "usr/src", headers, "Makefile")
            makefile.write_text(makefile.read_text().replace("/usr/src", f"{scratch}/usr/src"))
            made = shutil.copytree(source, Path(scratch, source.name))
            run("make", "-s", "-C", makefile.parent, f"M={made}", "modules")
            shutil.copyfile(made / f"{source.name}.ko", folder / f"{source.name}.ko")

    return _kept(f"{source.name}-{release}-{digest}", build) / f"{source.name}.ko"


def unpacked(*packages: str) -> Path:
    """Return a folder with the files of these packages."""
    return _kept("-".join(packages), lambda folder: _unpack(folder, *packages))


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, made first where there is none; two makers do not meet."""
    cache = cache_folder() / "tests"
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / name).exists():
        with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as made:
            folder = Path(made, name)
            folder.mkdir()
            make(folder)
            if not (cache / name).exists():
                folder.rename(cache / name)
    return cache / name


def _unpack(folder: Path, *packages: str) -> None:
    with tempfile.TemporaryDirectory() as downloads:
        run("apt-get", "download", *packages, cwd=Path(downloads))
        for package in Path(downloads).glob("*.deb"):
            run("dpkg", "-x", package, folder)
