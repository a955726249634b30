"""The report card: every number of a run as report.json, and as report.html, one self-contained page in Chinese and English.

The keys are those of DESIGN.md; a part that a card lacks is left out of the page. Scores, precision and recall are fractions of 1.
"""
import json
import math
import os
from collections.abc import Iterable
from html import escape
from pathlib import Path

from internlm_course.catalog import DIMENSIONS, MODELS, STAGES, SUITES, Name, in_order
from internlm_course.staff import ranges


def duration(seconds: float) -> str:
    """'4.2 s', '18 min 05 s', '2 h 03 min'."""
    if seconds < 59.95:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest:02d} s' if minutes < 60 else f'{minutes // 60} h {minutes % 60:02d} min'


def size(count: float) -> str:
    """Bytes in decimal units, three digits: '812 B', '6.71 MB', '3.20 GB'."""
    unit = 0
    while count >= 999.5 and unit < 4:
        count, unit = count / 1000, unit + 1
    return f'{count:.0f} B' if not unit else f'{count:.{max(0, 2 - len(str(int(count))) + 1)}f} {("B", "kB", "MB", "GB", "TB")[unit]}'


def percent(fraction: float) -> str:
    """'97%', '0.4%': whole points, one more digit at the ends where it tells."""
    points = 100 * fraction
    return f'{points:.1f}%' if 0 < points < 1 or 99 < points < 100 else f'{points:.0f}%'


def _finite(value):
    """JSON has no NaN and no infinity: null in their place."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _two(zh: str, en: str) -> str:
    return f'{escape(zh)} <span class="en" lang="en">{escape(en)}</span>'


def _named(key: str, names: dict[str, Name]) -> str:
    """A thing by its Chinese name and by the one that it has in the card."""
    return _two(names[key].zh if key in names else '', key)


def _section(zh: str, en: str, body: str, note: str = '') -> str:
    if not body:
        return ''
    return f'<section><h2>{_two(zh, en)}</h2>{body}{_note(note)}</section>'


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>' if text else ''


def _bars(rows: Iterable[tuple[str, float, str, str]]) -> str:
    """Rows of (label as HTML, length, text at the end as HTML, colour); the longest fills its track."""
    rows = list(rows)
    if not rows:
        return ''
    top = max(row[1] for row in rows) or 1
    return '<div class="rows">' + ''.join(
        f'<div>{label}</div>{_bar(length / top, colour)}<div class="value">{text}</div>' for label, length, text, colour in rows) + '</div>'


def _bar(part: float, colour: str) -> str:
    return f'<div class="bar"><i style="width:{100 * part:.1f}%;--c:{colour}"></i></div>'


def _models(card: dict) -> list[tuple[str, dict, str]]:
    """(name, numbers, colour) of each model, in the order in which it grows up; a model's colour is the same on the whole page."""
    models = card.get('models') or {}
    places = in_order([*MODELS, *models], MODELS)
    return [(name, models[name], f'var(--m{places.index(name) % 7})') for name in in_order(models, MODELS)]


def _mean(model: dict) -> float | None:
    scores = [each['score'] for each in (model.get('scores') or {}).values()]
    return sum(scores) / len(scores) if scores else None


def _score(value: float | dict) -> float:
    return value['score'] if isinstance(value, dict) else value


def _tiles(card: dict) -> str:
    """The story in a few numbers."""
    models, tiles = card.get('models') or {}, []
    if card.get('seconds'):
        tiles.append((duration(card['seconds']), '走完全链路', 'for the whole chain'))
    if card.get('peak_memory_bytes'):
        tiles.append((size(card['peak_memory_bytes']), '内存峰值', 'of memory at the peak'))
    base, sft, int4 = (models.get(name, {}) for name in ('base', 'sft', 'int4'))
    if knowledge := (base.get('scores') or {}).get('knowledge'):
        tiles.append((percent(knowledge['score']), f'预训练后的知识（随机 {percent(knowledge["chance"])}）',
                      f'knowledge after pre-training (chance {percent(knowledge["chance"])})'))
    for dimension, phase, zh, en in (('long', ('base', 'long'), '长文本，长文本阶段前后', 'long context, before and after its phase'),
                                     ('reasoning', ('long', 'enhanced'), '推理与数学，能力增强阶段前后',
                                      'reasoning and mathematics, before and after the enhancement phase')):
        before, after = ((models.get(name, {}).get('scores') or {}).get(dimension) for name in phase)
        if before and after:
            tiles.append((f'{percent(before["score"])} → {percent(after["score"])}', zh, en))
    if sft.get('bytes') and int4.get('bytes'):
        means = _mean(sft), _mean(int4)
        change = f'{100 * (means[1] - means[0]):+.1f}' if None not in means else ''
        tiles.append((percent(int4['bytes'] / sft['bytes']), 'INT4 的字节数' + (f'，均分 {change}' if change else ''),
                      'of the bytes in INT4' + (f', mean score {change} points' if change else '')))
    for numbers in list((card.get('agent') or {}).values())[:1]:
        tiles.append((f'{percent(_score(numbers["without_tools"]))} → {percent(_score(numbers["with_tools"]))}', '智能体，用工具前后',
                      'agent, without and with its tool'))
    body = ''.join(f'<div class="tile"><b>{escape(number)}</b>{_two(zh, en)}</div>' for number, zh, en in tiles)
    return f'<div class="tiles">{body}</div>'


def _stages(card: dict) -> str:
    stages = card.get('stages') or []
    rows = []
    for stage in stages:
        memory = f' <small>{size(stage["peak_memory_bytes"])}</small>' if stage.get('peak_memory_bytes') else ''
        cached = ' <small>缓存 cached</small>' if stage.get('cached') else ''
        rows.append((_named(stage['name'], STAGES), stage['seconds'], duration(stage['seconds']) + memory + cached, 'var(--accent)'))
    return _section('各阶段', 'Stages', _bars(rows), '时间 · 整个进程树的内存峰值。 Time · peak memory of the whole process tree.')


def _funnel(card: dict) -> str:
    rows = []
    for step in (card.get('data') or {}).get('funnel') or []:
        tell = [f'{name} {percent(step[key])}' for key, name in (('precision', 'P'), ('recall', 'R')) if step.get(key) is not None]
        text = f'{step["documents"]:,}' + (f' <small>{size(step["bytes"])}</small>' if step.get('bytes') is not None else '')
        label = escape(step['step']) + (f'<br><small>{" · ".join(tell)}</small>' if tell else '')
        rows.append((label, step['documents'], text, 'var(--m1)'))
    return _section('数据漏斗', 'The data funnel', _bars(rows), '每步之后留下的文档。P、R：该步丢弃的查准率与查全率。 '
                    'Documents left after each step. P, R: precision and recall of what the step drops.')


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values inside [low, high]."""
    step = 10 ** math.floor(math.log10((high - low) / count))
    step = next(step * k for k in (1, 2, 5, 10) if (high - low) / (step * k) <= count + 1)
    return [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _dot(colour: str) -> str:
    return f'<i class="dot" style="--c:{colour}"></i>'


def _losses(card: dict) -> str:
    """Training loss over tokens: the phases one after the other on one axis."""
    lines, done = [], 0.0
    for stage in card.get('stages') or []:
        points = [(x, y) for x, y in (stage.get('metrics') or {}).get('curve') or [] if x is not None and y is not None]
        if len(points) > 1:
            offset = done if points[0][0] < done else 0.0  # a phase that counts its own tokens goes on where the last one ended
            lines.append((stage['name'], [(x + offset, y) for x, y in points]))
            done = lines[-1][1][-1][0]
    if not lines:
        return ''
    ys = [y for _, points in lines for _, y in points]
    low, high = min(0.0, *ys), max(ys) * 1.05 or 1.0
    parts = []
    for y in _ticks(low, high):
        at = f'{100 - 100 * (y - low) / (high - low):.2f}%'
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="-6" y="{at}" dy="4" text-anchor="end">{y:g}</text>')
    for x in _ticks(0, done):
        label = f'{x / 1e6:g} M' if done >= 1e6 else f'{x / 1e3:g} k' if done >= 1e3 else f'{x:g}'
        parts.append(f'<text x="{100 * x / done:.2f}%" y="100%" dy="18" text-anchor="middle">{label if x else 0}</text>')
    curves = ''
    for i, (_, points) in enumerate(lines):
        path = ' '.join(f'{100 * x / done:.3f},{100 - 100 * (y - low) / (high - low):.3f}' for x, y in points)
        curves += f'<polyline class="curve" stroke="var(--m{i % 7})" points="{path}"/>'
    legend = ''.join(f'<span>{_dot(f"var(--m{i % 7})")}{_named(name, STAGES)}</span>' for i, (name, _) in enumerate(lines))
    return ('<div style="padding:.3rem .8rem 1.6rem 1.8rem"><svg height="190" role="img" aria-label="training loss">' + ''.join(parts) +
            '<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">' + curves + '</svg></svg></div>'
            f'<div class="legend">{legend}</div>')


def _training(card: dict) -> str:
    curve = _losses(card)
    note = '训练损失（奈特每词元）随词元数下降。 Training loss, nats per token, over tokens.' if curve else ''
    return _section('预训练', 'Pre-training', curve + _note(note) + _bits_per_byte(card))


def _bits_per_byte(card: dict) -> str:
    """Validation in bits per byte: a row for each domain, a column for each model."""
    columns = [(name, value if isinstance(value, dict) else {'全部 all': value}, colour)
               for name, model, colour in _models(card) if (value := model.get('bits_per_byte')) is not None]
    domains = list(dict.fromkeys(domain for _, values, _ in columns for domain in values))
    if not domains:
        return ''
    head = ''.join(f'<th>{_dot(colour)}{escape(name)}</th>' for name, _, colour in columns)
    body = ''
    for domain in domains:
        cells = (f'{values[domain]:.3f}' if values.get(domain) is not None else '' for _, values, _ in columns)
        body += f'<tr><th>{escape(domain)}</th>' + ''.join(f'<td>{cell}</td>' for cell in cells) + '</tr>'
    return f'<div class="scroll gap"><table><tr><th>{_two("每字节比特", "bits per byte")}</th>{head}</tr>{body}</table></div>'


def _range(card: dict) -> str:
    """One line where all is within the course's range, otherwise what fell out of it and what that means."""
    if not card.get('range'):
        return ''
    told, kept = ranges.summary(card), ranges.VERDICTS['within']
    within = _two(f'{kept.zh}：{"、".join(part.zh for part in told.within)}', f'{kept.en}: {", ".join(part.en for part in told.within)}')
    if not told.fallen:
        return f'<section>{within}</section>'
    rows = ''.join(f'<dt>{_two(suite.zh, suite.en)}</dt><dd>{escape(models)}<br>{_two(verdict.zh, verdict.en)}</dd>'
                   for verdict, suite, models in told.fallen)
    notes = _note(within) * bool(told.within) + (_note(_two(told.advice.zh, told.advice.en)) if told.advice else '')
    return _section('与课程的范围相比', "Beside the course's range", f'<dl class="range">{rows}</dl>{notes}')


def _scores(card: dict) -> str:
    """A row for each dimension and, where it pools several suites, one for each of them."""
    models = [(name, model, colour) for name, model, colour in _models(card) if model.get('scores')]
    dimensions = in_order((dimension for _, model, _ in models for dimension in model['scores']), DIMENSIONS)
    if not dimensions:
        return ''
    pooled = {suite: row['dimension'] for _, model, _ in models for suite, row in (model.get('suites') or {}).items()}
    head = ''.join(f'<th>{_dot(colour)}{escape(name)}</th>' for name, _, colour in models)
    rows, plots = '', ''
    for dimension in dimensions:
        title = _named(dimension, DIMENSIONS)
        given = [(name, model['scores'][dimension], colour) for name, model, colour in models if dimension in model['scores']]
        rows += _score_row(title, [model['scores'].get(dimension) for _, model, _ in models])
        plots += f'<div><h3><span>{title}</span><small>n = {given[0][1]["n"]}</small></h3>{_intervals(given)}</div>'
        suites = in_order((suite for suite, its in pooled.items() if its == dimension), SUITES)
        for suite in suites if len(suites) > 1 else []:
            name = _two(SUITES[suite].zh, SUITES[suite].en) if suite in SUITES else escape(suite)
            rows += _score_row(name, [(model.get('suites') or {}).get(suite) for _, model, _ in models], 'suite')
    return _section('六个维度', 'Six dimensions', f'<div class="scroll"><table><tr><th></th>{head}<th><small>随机 chance</small></th></tr>'
                    f'{rows}</table></div><div class="plots">{plots}</div>', '留出题得分；色带为 95% 区间，虚线为随机水平。 '
                    'Held-out items; bands are 95% intervals, dashed lines are chance.')


def _score_row(title: str, measured: list[dict | None], kind: str = 'dimension') -> str:
    """A table row of one dimension or suite: each model's score over its interval, and what chance would give."""
    cells = ''.join(f'<td>{percent(each["score"])}<small>{100 * each["low"]:.0f}–{100 * each["high"]:.0f}</small></td>' if each else '<td></td>'
                    for each in measured)
    first = next(each for each in measured if each)
    return f'<tr class="{kind}"><th>{title}</th>{cells}<td><small>{percent(first["chance"])}</small></td></tr>'


def _intervals(given: list[tuple[str, dict, str]]) -> str:
    """One dimension on an axis from 0 to 100: for each model its score as a dot on its interval, and the line of chance."""
    marks, bottom, chance = '', 18 * len(given) + 6, 100 * given[0][1]['chance']
    for i, (name, each, colour) in enumerate(given):
        y, low, score, high = 12 + 18 * i, 100 * each['low'], 100 * each['score'], 100 * each['high']
        marks += (f'<g><title>{escape(name)} {percent(each["score"])}</title><line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>'
                  f'<line class="band" x1="{low:.1f}%" x2="{high:.1f}%" y1="{y}" y2="{y}" stroke="{colour}"/>'
                  f'<circle cx="{score:.1f}%" cy="{y}" r="5" fill="{colour}"/></g>')
    ends = ((0, 'start'), (50, 'middle'), (100, 'end'))
    axis = ''.join(f'<text x="{x}%" y="{bottom + 12}" text-anchor="{anchor}">{x}</text>' for x, anchor in ends)
    line = f'<line class="chance" x1="{chance:.1f}%" x2="{chance:.1f}%" y1="0" y2="{bottom}"/>'
    return f'<svg height="{bottom + 16}" role="img" aria-label="scores with intervals">{line}{marks}{axis}</svg>'


def _weights(card: dict) -> str:
    models = [(name, model, colour) for name, model, colour in _models(card) if model.get('bytes')]
    full = next((model['bytes'] for name, model, _ in models if name == 'sft'), None)
    rows = []
    for name, model, colour in models:
        speed = model.get('decode_tokens_per_second')
        text = size(model['bytes']) + (f' <small>{percent(model["bytes"] / full)}</small>' if full and name in ('int4', 'int8') else '')
        rows.append((_named(name, MODELS), model['bytes'], text + (f' <small>{speed:.0f} tok/s</small>' if speed else ''), colour))
    return _section('权重大小', 'Bytes of the weights', _bars(rows))


def _agent(card: dict) -> str:
    body = ''
    for task, numbers in (card.get('agent') or {}).items():
        bars = ''
        for key, zh, en, colour in (('without_tools', '不用', 'without', 'var(--m1)'), ('with_tools', '用', 'with', 'var(--accent)')):
            score = _score(numbers[key])
            bars += f'<div>{_two(zh, en)}</div>{_bar(score, colour)}<div class="value">{percent(score)}</div>'
        body += f'<h3><span>{escape(task.replace("_", " "))}</span><small>n = {numbers["n"]}</small></h3><div class="rows">{bars}</div>'
    return _section('智能体与工具', 'The agent and its tool', body)


def _samples(card: dict) -> str:
    body = ''
    for sample in card.get('samples') or []:
        says = ''.join(f'<div class="say model"><small>{name}</small>{escape(str(sample[name]))}</div>'
                       for name in (*MODELS, 'agent') if sample.get(name) is not None)
        body += f'<div class="chat"><div class="say user">{escape(str(sample["question"]))}</div>{says}</div>'
    return _section('听它说', 'In its own words', body)


def _machine(card: dict) -> str:
    pairs = [*(card.get('machine') or {}).items(), *(card.get('versions') or {}).items(), ('seed', card.get('seed'))]
    rows = ''.join(f'<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>' for key, value in pairs if value not in (None, ''))
    return _section('机器与版本', 'Machine and versions', f'<dl>{rows}</dl>' if rows else '')


def render(card: dict) -> str:
    """The card as one HTML page that needs no other file and no network."""
    style = Path(__file__).with_suffix('.css').read_text('utf-8')
    scale = escape(str(card.get('scale', '')))
    parts = [_tiles, _range, _stages, _funnel, _training, _scores, _weights, _agent, _samples, _machine]
    return ('<!doctype html><html lang="zh"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>InternLM course · {scale}</title><style>{style}</style></head><body><main>'
            f'<h1>一个模型，走完全链路<span class="en" lang="en">One model, the whole chain · {scale}</span></h1>'
            + ''.join(part(card) for part in parts) + '</main></body></html>\n')


def write(card: dict, out: Path) -> None:
    """Writes `out/report.json` and `out/report.html`; each replaces the old one at once, or not at all."""
    card = _finite(card)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (('report.json', json.dumps(card, ensure_ascii=False, indent=1) + '\n'), ('report.html', render(card))):
        fresh = out / f'.{name}.{os.getpid()}'
        fresh.write_text(text, 'utf-8')
        fresh.replace(out / name)
