"""What the data pipeline costs: ours with one worker and with two, a bare loop of the same steps, and datatrove's stock
steps; `make bench` writes the JSON.

Every run is a fresh process on the same crawl, imports and training of the classifiers counted. Rounds are interleaved,
so that a noisy machine disturbs a case and its peers alike; compare by ratio. Stock steps want spaCy, which the course
does not install; without it they are skipped and said so.
"""
import argparse
import gzip
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.util import find_spec
from pathlib import Path

RESULTS = Path(__file__).parent / 'results'


def ours(crawl: Path, out: Path, workers: int) -> None:
    """The pipeline as a user runs it."""
    from internlm_course.data.pipeline import build_corpus
    build_corpus(crawl, out, workers)


def bare(crawl: Path, out: Path) -> None:
    """The same steps in one loop over the records, with no framework: no restart, no logs, no record of what was
    dropped, all documents in memory."""
    import numpy as np
    from datatrove.pipeline.dedup.minhash import MinhashDedupSignature

    from internlm_course.data import contamination, dedup, privacy, quality, rules, safety
    from internlm_course.data.filters import extract
    from internlm_course.data.sources import PAGE
    from internlm_course.data.warc import read_warc
    quality.train_classifiers(crawl / 'labels.jsonl', out / 'classifiers.npy')
    classifiers, index = quality.load_classifiers(out
                                                  / 'classifiers.npy'), contamination.build_index(
                                                      contamination.read_items(crawl / 'items'))
    hasher = MinhashDedupSignature(str(out / 'unused'), dedup.MINHASH, language=dedup.Units())
    kept, bands = [], [{} for _ in range(dedup.MINHASH.num_buckets)]
    for path in sorted(crawl.glob('*.warc.gz')):
        with open(path, 'rb') as stream:
            for page in read_warc(stream, PAGE):
                if isinstance(page, str):  # the reason why there is none
                    continue
                page['text'] = text = extract(page['text'])
                if not text or rules.language(text) not in ('en', 'zh', 'und') or rules.rule_fault(text):
                    continue
                shingles = hasher.get_shingles(text)
                page['signature'] = signature = np.array(hasher.get_signature(shingles)) if len(shingles) else None
                page['cluster'] = [page]
                for band, row in zip(bands, signature if len(shingles) else []):
                    other = band.setdefault(row.tobytes(), page)
                    if (other['cluster'] is not page['cluster']
                        and (other['signature'] == signature).mean() >= dedup.THRESHOLD):
                        other['cluster'] += page['cluster']
                        for member in page['cluster']:
                            member['cluster'] = other['cluster']
                kept.append(page)
    with gzip.open(out / 'clean.jsonl.gz', 'wt', 6, encoding='utf-8') as stream:
        for page in kept:
            if (page is not max(page['cluster'], key=lambda member: (member['date'], member['id']))
                or safety.blocked_host(page['url'])):
                continue
            scores = classifiers.scores(page['text'])
            if safety.blocked_word(page['text']) or any(scores[head] > quality.THRESHOLDS[head] for head in scores):
                continue
            text, _ = privacy.mask(page['text'])
            if not contamination.contaminated(text, index):
                stream.write(json.dumps(dict(id=page['id'], text=text, url=page['url'], date=page['date']),
                                        ensure_ascii=False) + '\n')


def stock(crawl: Path, out: Path) -> None:
    """datatrove's own Trafilatura step (in its sandbox), Gopher and C4 filters and MinHash, which split words with
    spaCy; one worker."""
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.dedup.minhash import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter

    from internlm_course.data import dedup, records, sources
    files = len(list(crawl.glob('*.warc.gz')))
    (out / 'filtered').mkdir()
    for rank in range(files):
        (out / 'filtered' / f'{rank:05d}.jsonl').touch()
    for n, (steps, tasks) in enumerate([
            ([sources.source(crawl, 'warc'), Trafilatura(), GopherQualityFilter(min_doc_words=5),
              C4QualityFilter(min_num_sentences=1, filter_no_terminal_punct=False),
              records.LinesWriter(out / 'filtered'),
              MinhashDedupSignature(str(out / 'signatures'), dedup.MINHASH)], files),
            ([MinhashDedupBuckets(str(out / 'signatures'), str(out / 'pairs'), config=dedup.MINHASH)],
             dedup.MINHASH.num_buckets),
            ([MinhashDedupCluster(str(out / 'pairs'), str(out / 'clusters'), dedup.MINHASH)], 1),
            ([records.LinesReader(out / 'filtered'), MinhashDedupFilter(str(out / 'clusters')),
              records.LinesWriter(out / 'clean')], files)]):
        LocalPipelineExecutor(steps, tasks, 1, str(out / 'logs' / str(n)), start_method='fork').run()


CASES = dict(ours_1=(ours, 1), ours_2=(ours, 2), bare=(bare,), stock=(stock,))


def measured(case: str, crawl: Path) -> tuple[float, float]:
    """Seconds of a case in a fresh process, and the peak memory of its largest process in MB."""
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        done = subprocess.run([sys.executable, __file__, '--case', case, str(crawl), out], capture_output=True,
                              text=True)
        seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f'{case}: {done.stderr[-2000:]}')
    return seconds, float(done.stdout.split()[-1])


def run_case(case: str, crawl: Path, out: Path) -> None:
    """The fresh process: does the case and prints its peak memory."""
    import resource
    function, *options = CASES[case]
    function(crawl, out, *options)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(peak / (1 << 20 if sys.platform == 'darwin' else 1 << 10))


def written(root: Path, pages: int) -> tuple[Path, int]:
    """A crawl of about `pages` records, and their number."""
    from internlm_course.world import crawl
    folder = root / f'crawl-{pages}'
    count = crawl.write_crawl(folder, round(pages * (1 - sum(crawl.NOISE.values()))), seed=1)['records']
    return folder, count


def speed(root: Path, pages: int, rounds: int) -> dict:
    """Pages a second of every case, and the ratios that the bars are about."""
    folder, count = written(root, pages)
    cases = [case for case in CASES if case != 'stock' or find_spec('spacy')]
    rates = {case: [] for case in cases}
    for _ in range(rounds):
        for case in cases:
            rates[case].append(count / measured(case, folder)[0])
    shutil.rmtree(folder)
    medians = {case: statistics.median(samples) for case, samples in rates.items()}
    ratios = dict(ours_1_to_bare=medians['ours_1'] / medians['bare'],
                  ours_2_to_ours_1=medians['ours_2'] / medians['ours_1'])
    if 'stock' in medians:
        ratios['ours_1_to_stock'] = medians['ours_1'] / medians['stock']
    return dict(pages=count,
                cases={case: dict(unit='pages/s', samples=[round(s, 1) for s in samples],
                                  median=round(medians[case], 1))
                       for case, samples in rates.items()},
                ratios={name: round(ratio, 3) for name, ratio in ratios.items()},
                skipped=[case for case in CASES if case not in cases])


def growth(root: Path, sizes: list[int]) -> list[dict]:
    """Seconds and peak memory of our pipeline with two workers at several sizes."""
    rows = []
    for size in sizes:
        folder, count = written(root, size)
        seconds, peak = measured('ours_2', folder)
        shutil.rmtree(folder)
        rows.append(dict(pages=count, seconds=round(seconds, 2), pages_per_second=round(count / seconds, 1),
                         peak_mb=round(peak, 1)))
    return rows


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--pages', type=int, default=20_000, help='records of the crawl')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--sizes', type=int, nargs='*', default=[1_000, 10_000, 100_000],
                        help='records at which time and memory are measured')
    parser.add_argument('--case', nargs=3, metavar=('CASE', 'CRAWL', 'OUT'), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        run_case(options.case[0], Path(options.case[1]), Path(options.case[2]))
        sys.exit()
    with tempfile.TemporaryDirectory() as root:
        result = dict(date=str(date.today()), command=f'python tests/bench/data.py {" ".join(sys.argv[1:])}'.strip(),
                      host=dict(system=platform.platform(), cores=os.cpu_count(),
                                load=[round(load, 2) for load in os.getloadavg()]),
                      speed=speed(Path(root), options.pages, options.rounds), growth=growth(Path(root), options.sizes))
    import torch  # not before: a child process counts its parent's memory in its own peak
    result['host']['simd'] = torch.backends.cpu.get_cpu_capability()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f'data-{date.today()}-{result["host"]["simd"]}.json'
    path.write_text(json.dumps(result, indent=1) + '\n', 'utf-8')
    print(path.read_text('utf-8'))
