"""From a WARC crawl to a clean corpus with datatrove: extraction, language, rules, MinHash deduplication, each filter measured.

datatrove's executors run the steps, in a process of their own: its logs go to a file, its workers die with it, and a run that was killed
resumes where it was when it is started again on the same folder.
"""
import gzip
import json
import os
import shutil
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.process import die_with_parent, run_tool

# Host's first label -> the domain that later links weigh and validate by.
DOMAINS = dict(atlas='knowledge', words='language', people='reading', school='math', code='code', riddles='riddle', stories='story', agents='tools')
# Longer documents go to the domain `long` (the report's length filter), in bytes of UTF-8, fair to both languages.
LONG = 1200
# Filter -> the label that it is for, and the labels that it may rightly drop. Gibberish is in no language.
TARGETS = dict(extraction=('broken', {'broken'}), language=('language', {'language', 'gibberish'}), gibberish=('gibberish', {'gibberish'}),
               advertisement=('advertisement', {'advertisement'}))
FILTERS = [*list(TARGETS)[1:], 'duplicates']


def build_corpus(crawl: Path, out: Path, workers: int = 2) -> dict:
    """Turns `crawl/*.warc.gz` into `out/clean/*.jsonl.gz` (id, text, metadata: url, date, lang, domain); what each filter dropped is in
    `out/dropped/<filter>`.

    The output does not depend on `workers`. `crawl/truth.jsonl` is read at the end only, to measure; without it precision and recall are
    None.

    Returns:
        funnel: list of {step, documents, bytes (of HTML, then of text), precision, recall}; exact: share of the clean pages whose text
        came through unchanged; seconds: by stage.

    Raises:
        CourseError: no WARC file in `crawl`, or a step failed.
    """
    if not list(crawl.glob('*.warc.gz')):
        raise CourseError(f'There is no .warc.gz file in {crawl}.', 'Write a crawl there first (internlm_course.data.crawl.write_crawl).')
    out.mkdir(parents=True, exist_ok=True)
    run_tool('internlm_course.data.pipeline', [str(crawl.resolve()), str(out.resolve()), str(workers)],
             out.resolve() / 'logs' / 'pipeline.log', out.resolve() / 'logs')
    return json.loads((out / 'metrics.json').read_text('utf-8'))


def texts(corpus: Path) -> Iterator[str]:
    """The clean documents' texts, in order."""
    return (document['text'] for document in documents(corpus / 'clean'))


def documents(folder: Path) -> Iterator[dict]:
    """The documents of a folder of jsonl files, packed or not, in order."""
    for path in sorted([*folder.glob('*.jsonl'), *folder.glob('*.jsonl.gz')]):
        with gzip.open(path, 'rt', encoding='utf-8') if path.suffix == '.gz' else open(path, encoding='utf-8') as lines:
            yield from map(json.loads, lines)


def stages(crawl: Path, out: Path) -> dict[str, tuple[list, int]]:
    """Stage -> its datatrove steps and its number of tasks, which no setting changes: the order of the documents depends on it."""
    from datatrove.pipeline.dedup.minhash import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature

    from internlm_course.data import filters, records

    def writer(folder: str) -> records.LinesWriter:
        return records.LinesWriter(out / folder)

    def domain(data, rank: int = 0, world_size: int = 1):
        for document in data:
            host = document.metadata['url'].split('/')[2]
            document.metadata['domain'] = 'long' if len(document.text.encode()) > LONG else DOMAINS.get(host.split('.')[0], 'web')
            yield document

    files, work = len(list(crawl.glob('*.warc.gz'))), out / 'work'
    return dict(
        filter=([records.CrawlReader(str(crawl), glob_pattern='*.warc.gz', add_file_path=False), filters.Extract(),
                 filters.Language(writer('dropped/language')), filters.Gibberish(writer('dropped/gibberish')),
                 filters.Advertisement(writer('dropped/advertisement')), writer('work/filtered'),
                 MinhashDedupSignature(str(work / 'signatures'), filters.MINHASH, language=filters.Units())], files),
        buckets=([MinhashDedupBuckets(str(work / 'signatures'), str(work / 'pairs'), config=filters.MINHASH, lines_to_buffer=10_000)],
                 filters.MINHASH.num_buckets),
        cluster=([filters.ConfirmPairs(work / 'signatures', work / 'pairs', work / 'confirmed'),
                  MinhashDedupCluster(str(work / 'confirmed'), str(work / 'clusters'), filters.MINHASH, save_cluster_id=True,
                                      lines_to_buffer=10_000),
                  filters.KeepNewest(work / 'filtered', work / 'clusters')], 1),
        clean=([records.LinesReader(work / 'filtered'),
                MinhashDedupFilter(str(work / 'clusters'), writer('dropped/duplicates')), domain, writer('clean')], files))


def run(crawl: Path, out: Path, workers: int) -> dict[str, float]:
    """Runs the stages that are not complete yet; returns their seconds."""
    from internlm_course.data.executors import execute
    seconds = {}
    for stage, (steps, tasks) in stages(crawl, out).items():
        start = time.perf_counter()
        if stage == 'filter':
            # A file of which nothing was kept must still stand in the row, or later readers would pair files and signatures wrongly.
            (out / 'work' / 'filtered').mkdir(parents=True, exist_ok=True)
            for rank in range(tasks):
                (out / 'work' / 'filtered' / f'{rank:05d}.jsonl').touch()
        execute(steps, tasks, workers, out / 'logs' / stage)
        seconds[stage] = round(time.perf_counter() - start, 2)
    return seconds


def pack(folder: Path) -> None:
    """Compresses a folder's jsonl files to the same bytes on every run (no time and no name in the header)."""
    for path in sorted(folder.glob('*.jsonl')):
        packed = path.with_suffix('.jsonl.gz.part')
        packed.write_bytes(gzip.compress(path.read_bytes(), 6, mtime=0))
        packed.replace(path.with_suffix('.jsonl.gz'))
        path.unlink()


def measure(crawl: Path, out: Path) -> dict:
    """The funnel, and every filter's precision (share of the dropped that deserved it) and recall (share of its target that it dropped)."""
    dropped = {name: {document['id']: len(document['text'].encode()) for document in documents(out / 'dropped' / name)} for name in FILTERS}
    kept = {document['id']: document['text'] for document in documents(out / 'clean')}
    left = {identity: len(text.encode()) for identity, text in kept.items()}
    funnel: list[dict] = []
    for name in reversed(FILTERS):
        funnel.insert(0, dict(step=name, documents=len(left), bytes=sum(left.values()), precision=None, recall=None))
        left |= dropped[name]
    funnel.insert(0, dict(step='extraction', documents=len(left), bytes=sum(left.values()), precision=None, recall=None))
    if not (crawl / 'truth.jsonl').exists():
        return dict(funnel=funnel)
    truth = {row['id']: row for row in map(json.loads, (crawl / 'truth.jsonl').read_text('utf-8').splitlines())}
    gone = {'extraction': set(truth) - set(left), **{name: set(found) for name, found in dropped.items()}}
    before = set(truth)
    for row in funnel:
        name = row['step']
        row['precision'], row['recall'] = (duplicate_rates if name == 'duplicates' else label_rates)(name, before, gone[name], truth)
        before -= gone[name]
    clean = [(kept[identity], row) for identity, row in truth.items() if row['label'] == 'clean' and identity in kept]
    exact = sum(zlib.crc32(text.encode()) == row['text'] for text, row in clean)
    size = sum(row['bytes'] for row in truth.values())
    funnel.insert(0, dict(step='crawl', documents=len(truth), bytes=size, precision=None, recall=None))
    return dict(funnel=funnel, exact=round(exact / max(len(clean), 1), 4))


def label_rates(name: str, before: set, gone: set, truth: dict) -> tuple[float, float]:
    """Precision and recall of a filter that is for one label."""
    target, deserved = TARGETS[name]
    right = sum(truth[identity]['label'] in deserved for identity in gone)
    hit = sum(truth[identity]['label'] == target for identity in gone)
    return round(right / max(len(gone), 1), 4), round(hit / max(sum(truth[identity]['label'] == target for identity in before), 1), 4)


def duplicate_rates(name: str, before: set, gone: set, truth: dict) -> tuple[float, float]:
    """Precision and recall of deduplication: of a page and its mirrors one should stay, whichever it is."""
    families = Counter(truth[identity]['mirror_of'] or identity for identity in before)
    losses = Counter(truth[identity]['mirror_of'] or identity for identity in gone)
    right = sum(min(count, families[family] - 1) for family, count in losses.items())
    return round(right / max(len(gone), 1), 4), round(right / max(sum(count - 1 for count in families.values()), 1), 4)


def main(crawl: Path, out: Path, workers: int) -> None:
    """The tool's process."""
    die_with_parent()
    if hasattr(os, 'register_at_fork'):
        # datatrove's workers and its manager process are forked: each asks for the same at once.
        os.register_at_fork(after_in_child=die_with_parent)
    seconds = run(crawl, out, workers)
    for folder in ['clean', *(f'dropped/{name}' for name in FILTERS)]:
        pack(out / folder)
    shutil.rmtree(out / 'work')
    metrics = measure(crawl, out) | dict(seconds=seconds)
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=1), 'utf-8')


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
