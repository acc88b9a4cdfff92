"""The final delta of a file tree: by the recorder's names against a look at everything, between the same two hosts.

Two hosts of the lab's kind with an ext4 each. Before every turn one file in a thousand is written again and a hundred
are deleted, while the recorder runs; then the tree is frozen and one of the two brings the other side up to date. Ours
has connected before the freeze, as the role does, and is over when every name that may have changed has been proved to
be the same at both sides; rsync proves nothing. Then a burst of names comes and goes, as uploads do, and the delta
after it has to go by names, too. In the end both trees are read whole and compared.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.harness import HIGHER, Benchmark, Measurement, Settings, alternate

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "lab"))

from tests.faults import pair as pairs
from tests.faults.pair import Pair

FILES, FULL_FILES = 100_000, 1_000_000
PER_DIRECTORY = 500
DELETED = 100
MEMORY_LIMIT = 300 << 20
# Names that come and go between two transfers; and what the recorder's journal may take on the disk for them.
CHURNED, FULL_CHURNED = 50_000, 500_000
JOURNAL_LIMIT = 64 << 20
HOME = "/var/lib/bascule/course_files"
AGENT = "/usr/local/lib/bascule/bascule.pyz"
# Small files, as uploads and pages are; directories as full as they get.
FILL = """
import os, sys
count, each = int(sys.argv[1]), int(sys.argv[2])
for number in range(count):
    directory = f"/srv/courses/bench/{number // each:05d}"
    if number % each == 0:
        os.makedirs(directory)
    with open(f"{directory}/{number % each:04d}", "wb") as out:
        out.write(b"%d\\n" % number * (1 + number % 97))
os.sync()
"""
CHANGE = """
import os, random, sys
seed, changed, deleted = (int(word) for word in sys.argv[1:])
chosen = random.Random(seed)
names = [os.path.join(base, name) for base, _, files in os.walk("/srv/courses/bench") for name in files]
for number, path in enumerate(chosen.sample(sorted(names), changed + deleted)):
    if number < deleted:
        os.unlink(path)
    else:
        with open(path, "ab") as out:
            out.write(b"changed %d\\n" % seed)
os.sync()
"""
# What an upload leaves behind in a recorder: a name that is made, written to, and gone again under another one.
CHURN = """
import os, sys
root = "/srv/courses/bench/churn"
os.makedirs(root)
for number in range(int(sys.argv[1])):
    name = f"{root}/.upload-{number:016x}"
    with open(name, "wb") as out:
        out.write(b"x")
    if number % 10:
        os.rename(name, f"{root}/file-{number % 1000}")
    else:
        os.unlink(name)
    if number % 1000 == 0:
        os.makedirs(f"{root}/a-{number}/b")
        os.rename(f"{root}/a-{number}", f"{root}/z-{number}")
os.sync()
"""
# From the moment the tree is frozen until the outcome stands in its file.
OURS = """
set -eu
cd {home}/jobs
rm -f push.progress.json
python3 {agent} files_job course_files push &
until grep -q 'waiting for the tree' push.progress.json 2>/dev/null; do sleep 0.05; done
mount -o remount,ro {home}/tree
began=$(date +%s.%N)
wait $!
ended=$(date +%s.%N)
mount -o remount,rw {home}/tree
echo "$began $ended"
cat push.result.json
"""
THEIRS = """
set -eu
mount -o remount,ro {home}/tree
began=$(date +%s.%N)
rsync -aHAX --delete --exclude=/lost+found -e "ssh -F/dev/null -i /root/bench -oBatchMode=yes -oLogLevel=ERROR \\
    -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null" /srv/courses/ root@{address}:{home}/tree/
ended=$(date +%s.%N)
mount -o remount,rw {home}/tree
echo "$began $ended"
"""


class Trees:
    """The pair, prepared, with its large tree on both sides."""

    def __init__(self, pair: Pair, files: int) -> None:
        self.pair, self.files = pair, files
        self.turn = 0
        self.names: list[int] = []

    def fill(self) -> None:
        """Make the tree while the recorder runs, and carry it over for the first time."""
        self.pair.must("prepare")
        self.pair.must_run("source", ["python3", "-c", FILL, str(self.files), str(PER_DIRECTORY)], timeout=1800)
        self.pair.must("sync", extra={"rsync_delta_sync_max_delete": 1_000_000})
        self.pair.must_run("source", ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/bench"])
        key = self.pair.must_run("source", ["cat", "/root/bench.pub"])
        self.pair.must_run("target", ["sh", "-c", "cat >>/root/.ssh/authorized_keys"], key)

    def ours(self) -> float:
        """One turn of Bascule's final delta."""
        self._change()
        return self._push()

    def theirs(self) -> float:
        """One turn of rsync over the whole tree; what it has carried over is no news to the next turn of ours."""
        self._change()
        address = self.pair.addresses["target"]
        taken, _ = self._timed(THEIRS.format(address=address, home=HOME))
        self._push()
        return taken

    def same(self) -> bool:
        """Read both trees whole and compare."""
        digests = []
        for side in pairs.SIDES:
            command = ["python3", AGENT, "manifest", f"{HOME}/tree", "/root/whole.jsonl", "--all"]
            digests.append(json.loads(self.pair.must_run(side, command, timeout=1800))["manifest"])
        return bool(digests[0] == digests[1])

    def recorder_memory(self) -> int:
        """Return the most that the recorder's process has had in memory."""
        script = "grep VmHWM /proc/$(systemctl show -P MainPID bascule-course_files-recorder)/status"
        return int(self.pair.must_run("source", ["sh", "-c", script]).split()[1]) << 10

    def churn(self, names: int) -> None:
        """Have many names come and go while the recorder runs; the next delta still goes by names."""
        self.pair.must_run("source", ["python3", "-c", CHURN, str(names)], timeout=1800)
        self._push()

    def journal_size(self) -> int:
        """Return what the recorder's journal takes on the disk."""
        script = "du --apparent-size --bytes --total /var/lib/bascule-recorder/course_files/journal.* | tail -1"
        return int(self.pair.must_run("source", ["sh", "-c", script]).split()[0])

    def _change(self) -> None:
        self.turn += 1
        amounts = [str(self.turn), str(self.files // 1000), str(DELETED)]
        self.pair.must_run("source", ["python3", "-c", CHANGE, *amounts], timeout=600)

    def _push(self) -> float:
        request = json.loads(self.pair.must_run("source", ["cat", f"{HOME}/jobs/push.request.json"]))
        request.update(final=True, stands_in=60, id=f"bench-{time.monotonic_ns()}")
        self.pair.must_run("source", ["tee", f"{HOME}/jobs/push.request.json"], json.dumps(request))
        taken, rest = self._timed(OURS.format(home=HOME, agent=AGENT))
        found = json.loads(rest)
        if found["scan"] or not found["equal"]:
            raise RuntimeError(f"expected: a delta by names, proved equal; found: {found}")
        self.names.append(found["names"])
        return taken

    def _timed(self, script: str) -> tuple[float, str]:
        first, _, rest = self.pair.must_run("source", ["bash", "-c", script], timeout=1800).partition("\n")
        began, ended = (float(word) for word in first.split())
        return ended - began, rest


def measure(settings: Settings) -> Measurement:
    """Measure on two hosts that are removed again."""
    files = FULL_FILES if settings.full else FILES
    pairs.TREE_BYTES = files * 20_000
    pair = Pair("files", "bench-delta", settings.scratch / "delta")
    try:
        trees = Trees(pair.start(), files)
        trees.fill()
        found = alternate(trees.ours, trees.theirs, settings.rounds)
        before = trees.recorder_memory()
        churned = FULL_CHURNED if settings.full else CHURNED
        trees.churn(churned)
        memory, journal = trees.recorder_memory(), trees.journal_size()
        return Measurement(
            found.times_as_fast,
            {
                **found.figures("ours", "rsync"),
                "files": files,
                "changed": files // 1000,
                "deleted": DELETED,
                "names": trees.names[0],
                "recorder_memory_mib": round(before / (1 << 20), 1),
                "names_that_came_and_went": churned,
                "recorder_memory_after_them_mib": round(memory / (1 << 20), 1),
                "recorder_journal_mib": round(journal / (1 << 20), 1),
                "caches": "warm",
            },
            {
                "same_result": trees.same(),
                "recorder_memory_at_most_300_mib": 0 < memory <= MEMORY_LIMIT,
                "recorder_journal_at_most_64_mib": 0 < journal <= JOURNAL_LIMIT,
            },
        )
    finally:
        pair.stop()


BENCHMARK = Benchmark(
    name="delta",
    what="final delta by names, 0.1 % changed and 100 deleted, from the freeze until proved the same",
    against="rsync -aHAX --delete of the same tree between the same two hosts",
    limit=5.0,
    better=HIGHER,
    measure=measure,
)
