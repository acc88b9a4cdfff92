"""Fill a course tree from a seed: ordinary pages and media, and the odd files that real trees hold.

Runs as root inside a file server of the lab (ownership, ACLs, setgid), standard library only. The same seed and scale
give the same tree.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import os
import random
import subprocess
import uuid
from pathlib import Path

COURSES = 120
UPLOADS = 200
OWNER = 2000
FIRST_TIME = 1_735_689_600  # 2025-01-01 00:00 UTC: times come from the seed, too
TOPICS = ("Algèbre", "Réseaux", "Histoire", "Chimie", "Python", "Droit")

ODD_NAMES = (
    *(b" leading space", b"trailing space ", b"two\nlines", b"tab\there", b"r\rreturn", b"\x01control"),
    *(b"quote'\"$`", b"back\\slash", b"-rf", b"--delete", b"*?[glob]", b"#comment", b"~tilde", b"%41%zz", b"a;b&c|d"),
    *(b"caf\xc3\xa9 NFC", b"cafe\xcc\x81 NFD", b"latin-1 caf\xe9", b"\xff\xfe not UTF-8"),
    *("درس.txt".encode(), "ⵜⴰⵎⴰⵣⵉⵖⵜ".encode(), b"n" * 255, b"...", b".hidden", b"CON", b"case", b"CASE"),
)
SYMLINKS = {
    "relative": b"first",
    "to directory": b"../names",
    "dangling": b"nowhere/at all",
    "absolute": b"/etc/hostname",
    "up": b"../..",
    "bytes": b"../names/latin-1 caf\xe9",
    "loop": b"loop",
}


class Tree:
    """The tree being made: every file gets its bytes, mode, owner and time from here."""

    def __init__(self, root: Path, seed: str, scale: int) -> None:
        self.root = os.fsencode(root)
        self.random = random.Random(f"{seed}/tree")
        self.scale = scale
        self.files = 0
        self.size = 0

    def path(self, name: str | bytes) -> bytes:
        return os.path.join(self.root, name.encode() if isinstance(name, str) else name)

    def directory(self, name: str | bytes, mode: int = 0o755, owner: int = OWNER, group: int = OWNER) -> bytes:
        path = self.path(name)
        os.makedirs(path, exist_ok=True)
        os.chown(path, owner, group)
        os.chmod(path, mode)
        return path

    def file(
        self, name: str | bytes, content: bytes, mode: int = 0o644, owner: int = OWNER, group: int = OWNER
    ) -> bytes:
        path = self.path(name)
        with open(path, "wb") as handle:
            handle.write(content)
        os.chown(path, owner, group)
        os.chmod(path, mode)
        self.age(path)
        self.files += 1
        self.size += len(content)
        return path

    def age(self, path: bytes) -> None:
        """Give a time with a fraction: tools that keep whole seconds only are found out."""
        moment = (FIRST_TIME + self.random.randrange(20_000_000)) * 1_000_000_000 + self.random.randrange(1_000_000_000)
        os.utime(path, ns=(moment, moment), follow_symlinks=False)


def page(number: int) -> bytes:
    topic = TOPICS[number % len(TOPICS)]
    title = html.escape(f"Course {number}: {topic}")
    paragraphs = "\n".join(
        f"<p>{html.escape(topic)} {number}.{part}: lecture, exercices & corrigés.</p>" for part in range(1, 9)
    )
    return (
        f'<!doctype html>\n<html lang="fr">\n<head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body>\n<h1>{title}</h1>\n{paragraphs}\n</body>\n</html>\n"
    ).encode()


def lesson(number: int) -> bytes:
    """What the web application shows of a course."""
    topic = TOPICS[number % len(TOPICS)]
    return "".join(f"{topic} {number}.{part}: lecture, exercices & corrigés.\n" for part in range(1, 9)).encode()


def courses(tree: Tree) -> None:
    """content/<n>/: a page, hand-outs and slides; every fourth course has a larger recording."""
    tree.directory("content")
    for number in range(1, COURSES + 1):
        tree.directory(f"content/{number}")
        tree.file(f"content/{number}/index.html", page(number))
        tree.file(f"content/{number}/lesson.txt", lesson(number))
        for part in range(10 * tree.scale):
            tree.file(f"content/{number}/handout-{part:03}.txt", tree.random.randbytes(1500).hex().encode() + b"\n")
        for part in range(4):
            tree.file(
                f"content/{number}/slides-{part}.pdf", b"%PDF-1.4\n" + tree.random.randbytes(24_000 + 1_000 * part)
            )
        if number % 4 == 0:
            tree.file(f"content/{number}/recording.bin", tree.random.randbytes(1_250_000 * tree.scale), mode=0o640)


def uploads(tree: Tree) -> None:
    """uploads/: what students sent; the database knows the same names and digests."""
    tree.directory("uploads", mode=0o2770)
    for number in range(1, UPLOADS + 1):
        name = uuid.UUID(hashlib.md5(f"upload{number}".encode(), usedforsecurity=False).hexdigest())
        tree.file(f"uploads/{name}", f"upload {name}\n".encode() * 64, mode=0o640)


def odd_names(tree: Tree) -> None:
    tree.directory("odd")
    tree.directory("odd/names")
    for name in ODD_NAMES:
        tree.file(b"odd/names/" + name, b"name: " + name.hex().encode() + b"\n")
    tree.directory(b"odd/names/dir \xe9\n")
    tree.file(b"odd/names/dir \xe9\n/inside", b"inside\n")


def odd_kinds(tree: Tree) -> None:
    tree.directory("odd/links")
    first = tree.file("odd/links/first", b"linked\n" * 100)
    for number in range(2, 5):
        os.link(first, tree.path(f"odd/links/name-{number}"))
    tree.directory("odd/elsewhere")
    os.link(first, tree.path("odd/elsewhere/also first"))
    for name, target in SYMLINKS.items():
        os.symlink(target, tree.path(f"odd/links/{name}"))
        os.lchown(tree.path(f"odd/links/{name}"), OWNER, OWNER)
        tree.age(tree.path(f"odd/links/{name}"))

    tree.directory("odd/sparse")
    for name, apparent in (("hole in the middle", 32 << 20), ("hole at the end", 8 << 20), ("all hole", 4 << 20)):
        path = tree.file(f"odd/sparse/{name}", b"" if name == "all hole" else b"head")
        with open(path, "r+b") as handle:
            handle.truncate(apparent)
            if name == "hole in the middle":
                handle.seek(apparent - 4)
                handle.write(b"tail")
        tree.age(path)
    tree.file("odd/sparse/written zeros", bytes(1 << 20))

    tree.directory("odd/empty")
    for name in ("one", "two/deep/deeper", "with space "):
        tree.directory(f"odd/empty/{name}", mode=0o700)
    tree.file("odd/empty file", b"")
    os.mkfifo(tree.path("odd/fifo"), 0o644)
    deep = "odd/" + "/".join(f"level-{level}" for level in range(24))
    tree.directory(deep)
    tree.file(f"{deep}/bottom", b"bottom\n")


def odd_rights(tree: Tree) -> None:
    tree.directory("odd/rights")
    for mode in (0o000, 0o400, 0o444, 0o600, 0o666, 0o755, 0o1644, 0o2755, 0o4755, 0o6711):
        tree.file(f"odd/rights/mode-{mode:04o}", b"mode\n", mode=mode)
    for owner, group in ((0, 0), (0, OWNER), (OWNER, 0), (1234, 5678), (65534, 65534), (4_000_000, 4_000_000)):
        tree.file(f"odd/rights/owner-{owner}-{group}", b"owner\n", owner=owner, group=group)
    tree.directory("odd/rights/setgid", mode=0o2775, group=5678)
    tree.file("odd/rights/setgid/inherits", b"x\n", group=5678)
    tree.directory("odd/rights/sticky", mode=0o1777)
    tree.directory("odd/rights/closed", mode=0o000, owner=0, group=0)

    path = tree.file("odd/rights/acl", b"acl\n", mode=0o640)
    subprocess.run(["setfacl", "-m", "u:1234:rw,g:5678:r", os.fsdecode(path)], check=True)
    path = tree.directory("odd/rights/default acl")
    subprocess.run(["setfacl", "-m", "u:1234:rwx,d:u:1234:rx,d:g:5678:rwx", os.fsdecode(path)], check=True)
    path = tree.file("odd/rights/xattrs", b"xattrs\n")
    os.setxattr(path, "user.title", "Cours d'été".encode())
    os.setxattr(path, "user.binary", b"\x00\xff\n")
    os.setxattr(path, "user.empty", b"")
    os.setxattr(path, "user.large", b"x" * 2000)
    os.setxattr(tree.directory("odd/rights/dir with xattr"), "user.kind", b"directory")


def near_twins(tree: Tree) -> None:
    """Pairs that differ in one thing only: same size and time, other bytes; same bytes, other time."""
    tree.directory("odd/twins")
    block = tree.random.randbytes(100_000)
    one = tree.file("odd/twins/one", block)
    two = tree.file("odd/twins/two", block[:50_000] + bytes([block[50_000] ^ 1]) + block[50_001:])
    facts = os.stat(one)
    os.utime(two, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    old = tree.file("odd/twins/before the epoch", b"1960\n")
    os.utime(old, (-300_000_000, -300_000_000))
    new = tree.file("odd/twins/in the future", b"2100\n")
    os.utime(new, (4_102_444_800, 4_102_444_800))


def settle_directories(tree: Tree) -> None:
    """Directory times change with every entry: give them their own at the end, deepest first, in a fixed order."""
    directories = [path for path, _, _ in os.walk(tree.root, topdown=False, followlinks=False)]
    for path in sorted(directories, key=lambda path: (-path.count(b"/"), path)):
        if os.path.basename(path) != b"lost+found" and path != tree.root:
            tree.age(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--scale", type=int, default=1)
    options = parser.parse_args()
    os.umask(0)
    tree = Tree(options.root, options.seed, options.scale)
    tree.directory(".", mode=0o755)
    for part in (courses, uploads, odd_names, odd_kinds, odd_rights, near_twins, settle_directories):
        part(tree)
    print(f"{tree.files} files, {tree.size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
