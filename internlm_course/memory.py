"""Peak memory of a stage: what this process and everything that it started hold, servers in sessions of their own
included."""
import os
import threading
import time
from pathlib import Path

INTERVAL = 0.2  # seconds between samples
SHARE = 100  # a sample that took t seconds of CPU is followed by a pause of at least SHARE * t: under 1% of one core
FIELDS = (b'Pss_Anon:', b'Pss_Shmem:')


def anonymous_bytes(pid: int) -> int | None:
    """Anonymous and shared memory of one process in bytes, shared pages in part; None where Linux does not tell, 0 once
    it is gone."""
    try:
        lines = Path(f'/proc/{pid}/smaps_rollup').read_bytes().splitlines()
    except (ProcessLookupError, FileNotFoundError, PermissionError):
        return 0 if pid != os.getpid() else None
    parts = [int(line.split()[1]) * 1024 for line in lines if line.startswith(FIELDS)]
    return sum(parts) if len(parts) == len(FIELDS) else (0 if pid != os.getpid() else None)


def _table() -> dict[int, tuple[int, str]]:
    """Every process of the machine: pid -> (parent, start time)."""
    table = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                with open(f'/proc/{entry}/stat') as stream:
                    # A program's name may hold spaces and parentheses
                    fields = stream.read().rpartition(')')[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            table[int(entry)] = (int(fields[1]), fields[19])
    return table


class PeakMemory:
    """Samples the process tree while the `with` block runs; `lap` tells the stages of one long block apart.

    Attributes:
        peak_bytes: the highest sample in bytes.
        method: 'pss' (Pss_Anon + Pss_Shmem of Linux), or 'rss' where only psutil's resident size can be had (counts
            shared pages twice).
    """

    def __init__(self):
        self.peak_bytes = self._lap = 0
        self.method = 'pss' if anonymous_bytes(os.getpid()) is not None else 'rss'
        self._known = {}
        self._lock, self._stop = threading.Lock(), threading.Event()

    def sample(self) -> int:
        """The tree's memory now, in bytes."""
        with self._lock:
            total = self._tree_pss() if self.method == 'pss' else self._tree_rss()
            self.peak_bytes, self._lap = max(self.peak_bytes, total), max(self._lap, total)
        return total

    def lap(self) -> int:
        """The peak since the last lap (or the start), in bytes."""
        self.sample()
        with self._lock:
            peak, self._lap = self._lap, 0
        return peak

    def _tree_pss(self) -> int:
        table, root = _table(), os.getpid()
        # A process whose parent died has moved under init: whatever was once seen in the tree stays in it.
        tree = {pid: start for pid, start in self._known.items() if table.get(pid, (0, ''))[1] == start}
        tree[root] = table[root][1]
        children = {}
        for pid, (parent, _) in table.items():
            children.setdefault(parent, []).append(pid)
        todo = list(tree)
        while todo:
            for child in children.get(todo.pop(), ()):
                if child not in tree:
                    tree[child] = table[child][1]
                    todo.append(child)
        self._known = tree
        return sum(anonymous_bytes(pid) or 0 for pid in tree)

    def _tree_rss(self) -> int:
        import psutil
        me = psutil.Process()
        total = 0
        for process in [me, *me.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
        return total

    def _watch(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            before = time.thread_time()
            self.sample()
            pause = max(INTERVAL, SHARE * (time.thread_time() - before))

    def __enter__(self):
        self._thread = threading.Thread(target=self._watch, name='peak-memory', daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self.sample()
