"""The report's data pipeline (section 3.1) with datatrove: from a WARC crawl to a clean corpus, every filter measured.

Format -> rules -> MinHash deduplication -> safety -> personal data -> quality -> decontamination. datatrove's executors
run the steps, in a process of their own: its logs go to a file, its workers die with it, and a run that was killed
resumes where it was when it is started again on the same folder.
"""
import gzip
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from internlm_course.data.executors import execute, ray_cluster
from internlm_course.data.measure import STEPS, documents, measure
from internlm_course.process import die_with_parent, run_tool


def build_corpus(crawl: Path, out: Path, workers: int = 2, items: Path | None = None, executor: str = 'local') -> dict:
    """Turns `crawl/*.warc.gz`, or a folder of any other kind that `sources.source` reads (WanJuan's jsonl, parquet,
    plain text), into `out/clean/*.jsonl.gz` (id, text, metadata: url, date, lang, domain, scores, masked); what each
    filter dropped is in `out/dropped/<step>`, and `out/card.md` is the corpus's data card.

    The output does not depend on `workers`. The classifiers are trained from `crawl/labels.jsonl`; without it toxicity,
    advertisement and fluency are not judged. `crawl/truth.jsonl` is read at the end only, to measure; without it
    precision and recall are None.

    Args:
        items: folder of the evaluation items that the corpus must not contain, by default `crawl/items`; without one
            nothing is searched for.
        executor: where the tasks run: 'local', 'slurm:PARTITION' or 'ray', see `executors.execute`.

    Returns:
        funnel: list of {step, documents, bytes (of HTML, then of text), precision, recall}; exact: share of the clean
            pages whose text came through unchanged; recalls: of each kind of noise, by the step that is for it; hosts,
            languages, domains: documents of each; seconds: by stage.

    Raises:
        CourseError: nothing to read in `crawl`, a broken row of its labels or items, or a step failed.
    """
    items = items or crawl / 'items'
    check_inputs(crawl, items)
    out.mkdir(parents=True, exist_ok=True)
    run_tool('internlm_course.data.pipeline',
             [str(crawl.resolve()), str(out.resolve()), str(workers), str(items.resolve()), executor],
             out.resolve() / 'logs' / 'pipeline.log', out.resolve() / 'logs')
    return json.loads((out / 'metrics.json').read_text('utf-8'))


def check_inputs(crawl: Path, items: Path) -> None:
    """Reads once, before any step, what must be whole: a broken page is skipped later, a broken label or item is not.

    Raises:
        CourseError: what is wrong.
    """
    from internlm_course.data import contamination, quality
    reader_of(crawl)
    taken = active(crawl, items)
    if 'toxicity' in taken:
        quality.read_labels(crawl / 'labels.jsonl')
    if 'contamination' in taken:
        contamination.read_items(items)


def texts(corpus: Path) -> Iterator[str]:
    """The clean documents' texts, in order."""
    return (document['text'] for document in documents(corpus / 'clean'))


def active(crawl: Path, items: Path) -> list[str]:
    """The steps that can be taken: classifiers need labels, decontamination needs items."""
    absent = [] if (crawl / 'labels.jsonl').exists() else ['toxicity', 'advertisement', 'fluency']
    return [step for step in STEPS if step not in absent and (step != 'contamination' or items.is_dir())]


def reader_of(crawl: Path):
    """The reader of `crawl`: of its WARC files if there are any, since a crawl's truth, labels and items stand beside
    them."""
    from internlm_course.data.sources import source
    return source(crawl, 'warc' if any(crawl.glob('*.warc.gz')) else None)


def stages(crawl: Path, out: Path, items: Path) -> dict[str, tuple[list, int]]:
    """Stage -> its datatrove steps and its number of tasks, which no setting changes: the order of the documents
    depends on it."""
    from datatrove.pipeline.dedup.minhash import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )

    from internlm_course.data import dedup, filters, records

    reader, work, taken = reader_of(crawl), out / 'work', active(crawl, items)
    files = len(reader.files)

    def drop(step: str, fault) -> filters.Drop:
        return filters.Drop(step, fault, records.LinesWriter(out / 'dropped' / step))

    filtering = [
        reader,
        *([filters.Extract()] if reader.html else []),
        drop('language', filters.foreign),
        drop('rules', filters.faulty),
        records.LinesWriter(work / 'filtered'),
        MinhashDedupSignature(str(work / 'signatures'), dedup.MINHASH, language=dedup.Units())]
    pairing = [
        MinhashDedupBuckets(str(work / 'signatures'), str(work / 'pairs'), config=dedup.MINHASH,
                            lines_to_buffer=10_000)]
    clustering = [
        dedup.ConfirmPairs(work / 'signatures', work / 'pairs', work / 'confirmed'),
        MinhashDedupCluster(str(work / 'confirmed'), str(work / 'clusters'), dedup.MINHASH, save_cluster_id=True,
                            lines_to_buffer=10_000),
        dedup.KeepNewest(work / 'filtered', work / 'clusters')]
    optional = dict(
        domains=[drop('domains', filters.blocked)],
        words=[drop('words', filters.unsafe)],
        toxicity=[filters.Score(out / 'classifiers.npy'), drop('toxicity', filters.Over('toxic'))],
        masking=[filters.Mask()],
        advertisement=[drop('advertisement', filters.Over('advertisement'))],
        fluency=[drop('fluency', filters.Over('disfluent'))],
        contamination=[drop('contamination', filters.Leaked(items))])
    cleaning = [
        records.LinesReader(work / 'filtered'),
        MinhashDedupFilter(str(work / 'clusters'), records.LinesWriter(out / 'dropped' / 'duplicates')),
        *(step for name, steps in optional.items() if name in taken for step in steps),
        filters.label_domain,
        records.LinesWriter(out / 'clean')]
    return dict(
        filter=(filtering, files),
        buckets=(pairing, dedup.MINHASH.num_buckets),
        cluster=(clustering, 1),
        clean=(cleaning, files))


def run(crawl: Path, out: Path, workers: int, items: Path, executor: str) -> dict[str, float]:
    """Trains the classifiers and runs the stages, as far as they are not complete yet; returns their seconds."""
    from internlm_course.data.quality import train_classifiers
    seconds, start = {}, time.perf_counter()
    if 'toxicity' in active(crawl, items) and not (out / 'classifiers.npy').exists():
        train_classifiers(crawl / 'labels.jsonl', out / 'classifiers.npy')
        seconds['classifiers'] = round(time.perf_counter() - start, 2)
    # One Ray for all stages, where Ray runs them.
    with ray_cluster(workers) if executor == 'ray' else nullcontext():
        for stage, (steps, tasks) in stages(crawl, out, items).items():
            start = time.perf_counter()
            if stage == 'filter':
                # A file of which nothing was kept must still stand in the row, or later readers would pair files and
                # signatures wrongly.
                (out / 'work' / 'filtered').mkdir(parents=True, exist_ok=True)
                for rank in range(tasks):
                    (out / 'work' / 'filtered' / f'{rank:05d}.jsonl').touch()
            execute(steps, tasks, workers, out / 'logs' / stage, executor)
            seconds[stage] = round(time.perf_counter() - start, 2)
    return seconds


def pack(folder: Path) -> None:
    """Compresses a folder's jsonl files to the same bytes on every run (no time and no name in the header)."""
    for path in sorted(folder.glob('*.jsonl')):
        packed = path.with_suffix('.jsonl.gz.part')
        packed.write_bytes(gzip.compress(path.read_bytes(), 6, mtime=0))
        packed.replace(path.with_suffix('.jsonl.gz'))
        path.unlink()


def main(crawl: Path, out: Path, workers: int, items: Path, executor: str) -> None:
    """The tool's process."""
    from internlm_course.data.card import write_card
    die_with_parent()
    # datatrove's workers and its manager process are forked: each asks for the same at once.
    os.register_at_fork(after_in_child=die_with_parent)
    seconds = run(crawl, out, workers, items, executor)
    start = time.perf_counter()
    steps = active(crawl, items)
    for folder in ['clean', *(f'dropped/{name}' for name in steps)]:
        pack(out / folder)
    shutil.rmtree(out / 'work', ignore_errors=True)
    metrics = measure(crawl, out, steps)
    write_card(crawl, out, metrics)
    metrics['seconds'] = seconds | dict(measure=round(time.perf_counter() - start, 2))
    (out / 'metrics.json').write_text(json.dumps(metrics, ensure_ascii=False, indent=1), 'utf-8')


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])
