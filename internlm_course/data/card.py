"""The data card of a corpus, in English and Chinese: what it holds, where from, what was done to it, what it is not
good for."""
import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from internlm_course.data import quality

TOOLS = ('datatrove', 'trafilatura', 'py3langid', 'scikit-learn', 'warcio')
# Step -> what it does, in English and Chinese.
STEPS = dict(
    crawl=('records of the crawl, bytes of HTML', '抓取的记录，HTML 字节数'),
    extraction=('text out of HTML (trafilatura); damaged and empty records end here',
                '从 HTML 提取正文（trafilatura），损坏或空的记录止于此'),
    language=('English, Chinese, sums and code stay (py3langid)', '保留英文、中文、算式与代码（py3langid）'),
    rules=('separators, line breaks, characters, punctuation, letter pairs', '分隔符、换行、字符、标点、字母对'),
    duplicates=('MinHash-LSH: 128 hashes, 5-grams, 0.7, the newest copy stays',
                'MinHash-LSH：128 个哈希，5 元组，阈值 0.7，保留最新一份'),
    domains=('blocked domains', '域名黑名单'), words=('blocked words', '词语黑名单'),
    toxicity=('toxicity classifier', '毒性分类器'),
    masking=('e-mail, phone, identity number, IP, bank card become placeholders; rates in spans, nothing is dropped',
             '邮箱、电话、身份证号、IP、银行卡换成占位符；比率按片段计，不丢页面'),
    advertisement=('advertisement classifier', '广告分类器'), fluency=('fluency classifier', '流畅度分类器'),
    contamination=('pages with evaluation items (13-grams, short items whole)',
                   '含评测题的页面（13 元组，短题整题匹配）'))
LIMITS = (
    ('Each rate was measured on noise that the course itself made; on the real web filters of this size do worse.',
     '各比率均在课程自造的噪声上测得；在真实网页上，这种规模的过滤器会差一些。'),
    ('The classifiers know the wordings of a small labelled sample; irony, quotation and new jargon escape them or are '
     'hurt by them.',
     '分类器只见过小规模标注样本里的说法；反讽、引用和新词可能漏网或被误伤。'),
    ('The fluency classifier goes by neighbours that it has seen: fluent prose on an unknown subject, above all in '
     'Chinese, may be taken for disfluent.',
     '流畅度分类器依据见过的相邻词判断：题材陌生的通顺文字，尤其是中文，可能被误判为不通顺。'),
    ('The lists of domains and words are invented stand-ins.', '域名与词语名单是虚构的替身。'),
    ('Names and addresses of people are not masked; a version such as 10.0.0.1 looks like an IP address.',
     '人名与住址不打码；像 10.0.0.1 这样的版本号会被当作 IP。'),
    ('An evaluation item in other words or in another language is not found, nor is one of fewer than five units.',
     '换了说法或语言的评测题找不到，少于五个单元的也找不到。'))
UNKNOWN = dict(en='Not stated: there is no source.json beside the crawl.', zh='未说明：抓取旁没有 source.json。',
               licence='not stated; find out before you train on it or pass it on · 未说明；训练或分发之前请查明')


def table(head: list[str], rows: list[list]) -> str:
    """A Markdown table; numbers with thousands separators."""
    def cell(value) -> str:
        if value is None:
            return '–'
        return f'{value:,}' if isinstance(value, int) else f'{value:.4f}' if isinstance(value, float) else str(value)
    return '\n'.join('| ' + ' | '.join(map(cell, row)) + ' |' for row in [head, ['---'] * len(head), *rows])


def write_card(crawl: Path, out: Path, metrics: dict) -> None:
    """Writes `out/card.md` and, for programs, `out/card.json`; the same bytes for the same corpus."""
    source = json.loads((crawl / 'source.json').read_text('utf-8')) if (crawl / 'source.json').exists() else UNKNOWN
    # Later links read these bytes: the sum says whether a card and a corpus belong together.
    digest = hashlib.sha256()
    for path in sorted((out / 'clean').glob('*.jsonl.gz')):
        digest.update(path.read_bytes())
    judged = ('toxicity', 'advertisement', 'fluency')
    thresholds = {step: quality.THRESHOLDS[head] for step, head in zip(judged, quality.HEADS)}
    last = metrics['funnel'][-1]
    card = dict(source=source, tools={tool: version(tool) for tool in TOOLS}, thresholds=thresholds,
                documents=last['documents'], bytes=last['bytes'], sha256=digest.hexdigest(),
                limits=[dict(en=en, zh=zh) for en, zh in LIMITS], **metrics)
    (out / 'card.json').write_text(json.dumps(card, ensure_ascii=False, indent=1) + '\n', 'utf-8', newline='\n')
    funnel = [[row['step'], row['documents'], row['bytes'], row['precision'], row['recall'],
               ' · '.join(STEPS[row['step']])] for row in metrics['funnel']]
    hosts = list(metrics['hosts'].items())
    parts = [
        '# Data card · 数据卡', f'{card["documents"]:,} documents · 文档, {card["bytes"]:,} bytes · 字节 (UTF-8)',
        f'SHA-256 `{card["sha256"]}`',
        '## Source · 来源', source['en'], source['zh'],
        table(['host · 站点', 'documents · 文档'], [list(row) for row in hosts[:20]])
        + (f'\n\n… {len(hosts) - 20:,} more · 另有' if hosts[20:] else ''),
        '## Licence · 许可', source['licence'],
        '## Contents · 内容',
        table(['language · 语言', 'documents · 文档'], [list(row) for row in metrics['languages'].items()]),
        table(['domain · 领域', 'documents · 文档'], [list(row) for row in metrics['domains'].items()]),
        '## Funnel · 漏斗',
        table(['step · 步骤', 'documents · 文档', 'bytes · 字节', 'precision · 查准率', 'recall · 查全率',
               'what · 做什么'], funnel),
        '## Filters and versions · 过滤器与版本',
        ', '.join(f'{tool} {number}' for tool, number in card['tools'].items()) + '; thresholds · 阈值: '
        + ', '.join(f'{step} {threshold}' for step, threshold in thresholds.items()),
        '## Known limits · 已知局限', '\n'.join(f'- {en}\n  {zh}' for en, zh in LIMITS)]
    (out / 'card.md').write_text('\n\n'.join(parts) + '\n', 'utf-8', newline='\n')
