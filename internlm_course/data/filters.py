"""The pipeline's steps for datatrove's executors: each hands a document's text to one function of its stage's module.

Light steps for what datatrove does with spaCy or with a sandbox process for each page.
"""
import contextlib
import re
from collections.abc import Callable
from pathlib import Path

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers.disk_base import DiskWriter
from datatrove.utils.logging import logger

from internlm_course.data import contamination, privacy, quality, rules, safety

# What HTML itself says is not the text: on a page of two lines trafilatura would take the menu for a part of it.
NOT_TEXT = ['//nav', '//header', '//footer', '//h1']


# libxml2 reads no deeper than 256 elements and leaves out the rest of the page. Up to three uncounted ones, a table's
# body, row and cell, stand between two that count.
DEPTH, TAGS = 256, 60
TAG = re.compile(r'<(/?)([a-z][a-z0-9]*)\b[^>]*>', re.I)
UNCOUNTED = re.compile('p|li|d[dt]|t[rdh]|tbody|thead|option|area|base|br|col|embed|hr|img|input|link|meta|source|track'
                       '|wbr', re.I)


def shallow(html: str) -> str:
    """A page that is nested too deep to be read, without the tags of what is deeper than `TAGS`; any other as it is."""
    from lxml import etree
    if html.count('<') < DEPTH:
        return html
    parser = etree.HTMLParser(encoding='utf-8')
    with contextlib.suppress(etree.LxmlError):
        etree.fromstring(html.encode('utf-8', 'replace'), parser)
    if not any(error.message.startswith('Excessive depth') for error in parser.error_log):
        return html
    depth = 0

    def tag(match: re.Match) -> str:
        nonlocal depth
        closes, name = match.groups()
        counted = not UNCOUNTED.fullmatch(name)
        depth -= bool(closes) and counted and depth > 0
        kept = depth < TAGS
        depth += not closes and counted
        return match[0] if kept else ' '
    return TAG.sub(tag, html)


def extract(html: str) -> str:
    """The text of a page, or '' where trafilatura finds none.

    `fast` leaves out the fallback extractors, which drop short lines such as `47+38=85` and the indentation of code.
    The page's heading is its title, not its text.
    """
    import trafilatura
    return trafilatura.extract(shallow(html), fast=True, include_comments=False, include_tables=False,
                               prune_xpath=NOT_TEXT) or ''


class Extract(BaseFilter):
    """HTML to text in the worker itself: nine times faster than one sandbox process per page.

    The step's statistics count why a page has no text.
    """
    name = '⛏ Trafilatura'

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        try:
            doc.text = extract(doc.text)
        except Exception as error:  # trafilatura raises many kinds at malformed HTML
            logger.warning(f'{doc.id}: no text extracted: {error!r}')
            return False, 'malformed'
        return bool(doc.text) or (False, 'no_text')


class Drop(BaseFilter):
    """Drops the documents in which `fault` finds one; what it found is the reason that the dropped document carries."""

    def __init__(self, name: str, fault: Callable[[Document], str | None], writer: DiskWriter | None = None):
        super().__init__(writer)
        self.name, self.fault = name, fault

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        reason = self.fault(doc)
        return (False, reason) if reason else True


def foreign(doc: Document) -> str | None:
    """The language of a page that is not in English, Chinese, or no language, as sums and code are."""
    doc.metadata['lang'] = language = rules.language(doc.text)
    return None if language in ('en', 'zh', 'und') else language


def faulty(doc: Document) -> str | None:
    return rules.rule_fault(doc.text)


def blocked(doc: Document) -> str | None:
    return safety.blocked_host(doc.metadata['url'])


def unsafe(doc: Document) -> str | None:
    return safety.blocked_word(doc.text)


class Over:
    """Fault: the document's score for `label` is over its threshold."""

    def __init__(self, label: str):
        self.label = label

    def __call__(self, doc: Document) -> str | None:
        return self.label if doc.metadata['scores'][self.label] > quality.THRESHOLDS[self.label] else None


class Score(PipelineStep):
    """Gives each document the classifiers' scores, once for all of them."""
    type, name = '🧮 - SCORE', '🧮 Classifiers'

    def __init__(self, classifiers: Path):
        super().__init__()
        self.classifiers = classifiers

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        classifiers = quality.load_classifiers(self.classifiers)
        for doc in data:
            with self.track_time():
                doc.metadata['scores'] = classifiers.scores(doc.text)
            yield doc


class Mask(PipelineStep):
    """Masks personal data; where, and of which kind, goes to the metadata."""
    type, name = '🔒 - PRIVACY', '🔒 Mask'

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        for doc in data:
            with self.track_time():
                doc.text, spans = privacy.mask(doc.text)
                if spans:
                    doc.metadata['masked'] = spans
                    self.stat_update('spans', value=len(spans))
            yield doc


class Leaked:
    """Fault: the document holds an evaluation item of the folder."""

    def __init__(self, items: Path):
        self.items, self.index = items, None

    def __call__(self, doc: Document) -> str | None:
        if self.index is None:
            self.index = contamination.build_index(contamination.read_items(self.items))
        return contamination.contaminated(doc.text, self.index)


# Host's first label -> the domain that later links weigh and validate by.
DOMAINS = dict(atlas='knowledge', words='language', people='reading', listen='dictation', school='math', exams='exam',
               code='code', riddles='riddle', stories='story', agents='tools')
# Longer documents go to the domain `long` (the report's length filter), in bytes of UTF-8, fair to both languages.
LONG = 1200


def label_domain(data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
    """Gives each document its domain: by its length, else by its site."""
    for doc in data:
        site = safety.host(doc.metadata['url']).split('.')[0]
        doc.metadata['domain'] = 'long' if len(doc.text.encode()) > LONG else DOMAINS.get(site, 'web')
        yield doc
