"""What a virtual host boots from: kernel, modules, initramfs and the lab's SSH keys; made once, kept in a cache.

    <cache>/gameday/lab/image/    kernel  initramfs.gz  lib/modules/RELEASE/...  host_key[.pub]  client_key[.pub]
                                  manifest.json: the recipe's digest, and the sha256 of every file

The kernel is Debian's own package, downloaded by apt and unpacked, never installed. The manifest is checked each time
the image is asked for: a damaged or outdated image is made afresh, in a folder beside it that takes its place in one
step. A lock keeps two makers apart. No step needs root.

`chaos.lab.api` asks for the image before it starts a keeper; the keeper's guests read it and never write.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import lzma
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import Refusal
from chaos.lab.tools import run, which

_INIT = Path(__file__).with_name("init.sh")
_MODULES = ("virtio_pci", "virtio_net", "9pnet_virtio", "9p", "overlay")
_META_PACKAGE = "linux-image-amd64"
_LAYOUT = "1"
"""Change it when a change of this file makes images that were made before unusable."""


@dataclass(frozen=True)
class Image:
    """A checked image."""

    folder: Path

    @property
    def release(self) -> str:
        """The kernel's release, as `uname -r` says it."""
        return self.modules.name

    @property
    def modules(self) -> Path:
        """The folder of the kernel's modules."""
        return next((self.folder / "lib/modules").iterdir())

    @property
    def host_key(self) -> str:
        """The public key that every host of the lab shows, as `TYPE BASE64`."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])


def cache_folder() -> Path:
    """Return where images are kept: under $XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gameday" / "lab"


def ensure_image(say: Callable[[str], None]) -> Image:
    """Return the image, made first where it is absent, damaged or outdated. Raises Refusal when it can't be made."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = cache / "image"
    with _locked(cache / "lock"):
        why = damage(folder, _recipe())
        if why:
            say(f"making the hosts' kernel and initramfs in {folder} ({why})")
            _make(cache, folder)
    return Image(folder)


def damage(folder: Path, recipe: str) -> str:
    """Return what is wrong with an image, by its manifest; empty when nothing is."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        wanted: dict[str, str] = manifest["files"]
    except (OSError, ValueError, KeyError):
        return "there is none yet"
    if manifest.get("recipe") != recipe:
        return "it was made by another version"
    return next((f"{name} is damaged" for name, digest in wanted.items() if _sha256(folder / name) != digest), "")


def write_manifest(folder: Path, recipe: str) -> None:
    """Write down every file of an image with its sha256."""
    files = {str(path.relative_to(folder)): _sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    (folder / "manifest.json").write_text(json.dumps({"recipe": recipe, "files": files}, indent=1))


def _recipe() -> str:
    """What the image is made by and from, as one digest."""
    return hashlib.sha256(f"{_LAYOUT} {_MODULES}".encode() + _INIT.read_bytes()).hexdigest()


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(cache: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as made_in:
        made = Path(made_in) / "image"
        made.mkdir()
        _kernel(Path(made_in), made)
        _initramfs(Path(made_in) / "initramfs", made)
        for key in ("host_key", "client_key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"gameday-lab-{key}", "-f", made / key)
        write_manifest(made, _recipe())
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def _kernel(scratch: Path, made: Path) -> None:
    """Unpack the kernel's package; keep the kernel and its modules, indexed for modprobe."""
    package = _kernel_package()
    run("apt-get", "download", package, cwd=scratch)
    run("dpkg", "-x", next(scratch.glob("*.deb")), scratch / "package")
    shutil.copyfile(next((scratch / "package/boot").glob("vmlinuz-*")), made / "kernel")
    modules = next(m for m in scratch.glob("package/**/lib/modules") if m.is_dir())
    (made / "lib").mkdir()
    modules.rename(made / "lib/modules")
    run("depmod", "-b", made, Image(made).release)


def _kernel_package() -> str:
    """Return the package that Debian's meta package stands for today."""
    depends = run("apt-cache", "depends", "--important", _META_PACKAGE)
    names = [line.split()[1] for line in depends.splitlines() if line.strip().startswith("Depends: linux-image")]
    if not names:
        raise Refusal(f"apt knows no {_META_PACKAGE}; run `apt-get update` with Debian's main archive configured")
    return names[0]


def _initramfs(tree: Path, made: Path) -> None:
    """Pack busybox, our /init and the modules that reach the root, in the order in which they must be loaded."""
    for folder in ("bin", "modules", "proc", "sys", "dev", "lower", "upper", "root"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(_static_busybox(), tree / "bin/busybox")
    shutil.copyfile(_INIT, tree / "init")
    (tree / "init").chmod(0o755)
    files = _modules_in_order(made)
    for file in files:
        (tree / "modules" / _plain_name(file)).write_bytes(_plain(file))
    (tree / "modules/order").write_text("".join(_plain_name(file) + "\n" for file in files))
    names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
    packed = subprocess.run(
        [which("cpio"), "-o", "-H", "newc", "--quiet", "-R", "0:0"], cwd=tree, input=names.encode(),
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    (made / "initramfs.gz").write_bytes(gzip.compress(packed, 6))


def _static_busybox() -> str:
    """Return the path of a busybox that needs no library: an initramfs has none."""
    busybox = which("busybox")
    if b"/ld-linux" in Path(busybox).read_bytes()[:4096]:
        raise Refusal(f"{busybox} needs libraries, and a host starts without any; install the package busybox-static")
    return busybox


def _modules_in_order(made: Path) -> list[Path]:
    release, order = Image(made).release, dict[Path, None]()
    for module in _MODULES:
        lines = run("modprobe", "-d", made, "-S", release, "--show-depends", module).splitlines()
        order |= {Path(line.split()[1]): None for line in lines if line.startswith("insmod ")}
    return list(order)


def _plain_name(module: Path) -> str:
    return module.name.removesuffix(".xz")


def _plain(module: Path) -> bytes:
    """Return a module's bytes, unpacked: busybox loads no compressed one."""
    packed = module.read_bytes()
    return lzma.decompress(packed) if module.suffix == ".xz" else packed
