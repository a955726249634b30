"""The report card's page: what came out first, then how it was made, then what to do next.

A part that a card lacks is left out of the page. Scores, precision and recall are fractions of 1.
"""
from html import escape
from pathlib import Path

from internlm_course.names import CHECKS, DIMENSIONS, MODELS, STAGES, SUITES, Name, in_order
from internlm_course.report import ranges
from internlm_course.report.drawing import bar, bars, dot, duration, intervals, losses, named, percent, size, two

SIGNS = {True: ' ✓', False: ' ✗', None: ''}


def _section(name: str, zh: str, en: str, body: str, note: str = '') -> str:
    if not body:
        return ''
    return f'<section id="{name}"><h2>{two(zh, en)}</h2>{body}{_note(note)}</section>'


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>' if text else ''


def _models(card: dict) -> list[tuple[str, dict, str]]:
    """(name, numbers, colour) of each model, in the order in which it grows up; a model's colour is the same on the
    whole page."""
    models = card.get('models') or {}
    places = in_order([*MODELS, *models], MODELS)
    return [(name, models[name], f'var(--m{places.index(name) % 7})') for name in in_order(models, MODELS)]


def _model_head(name: str, colour: str) -> str:
    """A model over its column of a table."""
    return f'<th>{dot(colour)}{escape(name)}<small>{MODELS[name].zh if name in MODELS else ""}</small></th>'


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
    for dimension, phase, zh, en in (('long', ('base', 'long'), '长文本，长文本阶段前后',
                                      'long context, before and after its phase'),
                                     ('reasoning', ('long', 'enhanced'), '推理与数学，能力增强阶段前后',
                                      'reasoning and mathematics, before and after the enhancement phase')):
        before, after = ((models.get(name, {}).get('scores') or {}).get(dimension) for name in phase)
        if before and after:
            tiles.append((f'{percent(before["score"])} → {percent(after["score"])}', zh, en))
    if sft.get('bytes') and int4.get('bytes'):
        means = _mean(sft), _mean(int4)
        change = f'{round(100 * (means[1] - means[0]), 1) + 0.0:+.1f}' if None not in means else ''
        tiles.append((percent(int4['bytes'] / sft['bytes']), 'INT4 的字节数' + (f'，均分 {change}' if change else ''),
                      'of the bytes in INT4' + (f', mean score {change} points' if change else '')))
    for numbers in list((card.get('agent') or {}).values())[:1]:
        tiles.append((f'{percent(_score(numbers["without_tools"]))} → {percent(_score(numbers["with_tools"]))}',
                      '智能体，用工具前后',
                      'agent, without and with its tool'))
    body = ''.join(f'<div class="tile"><b>{escape(number)}</b>{two(zh, en)}</div>' for number, zh, en in tiles)
    return f'<div class="tiles">{body}</div>'


def _stages(card: dict) -> str:
    stages = card.get('stages') or []
    rows = []
    for stage in stages:
        memory = f' <small>{size(stage["peak_memory_bytes"])}</small>' if stage.get('peak_memory_bytes') else ''
        cached = ' <small>缓存 cached</small>' if stage.get('cached') else ''
        rows.append((named(stage['name'], STAGES), stage['seconds'], duration(stage['seconds']) + memory + cached,
                     'var(--accent)'))
    return _section('stages', '各阶段', 'Stages', bars(rows),
                    two('时间 · 整个进程树的内存峰值。', 'Time · peak memory of the whole process tree.'))


def _funnel(card: dict) -> str:
    rows = []
    for step in (card.get('data') or {}).get('funnel') or []:
        tell = [f'{name} {percent(step[key])}'
                for key, name in (('precision', 'P'), ('recall', 'R')) if step.get(key) is not None]
        text = f'{step["documents"]:,}' + (f' <small>{size(step["bytes"])}</small>' if step.get('bytes') is not None
                                           else '')
        label = escape(step['step']) + (f'<br><small>{" · ".join(tell)}</small>' if tell else '')
        rows.append((label, step['documents'], text, 'var(--m1)'))
    return _section('funnel', '数据漏斗', 'The data funnel', bars(rows), two(
        '每步之后留下的文档。P、R：该步丢弃的查准率与查全率。',
        'Documents left after each step. P, R: precision and recall of what the step drops.'))


def _losses(card: dict) -> str:
    """Training loss over tokens: the phases one after the other on one axis."""
    lines, done = [], 0.0
    for stage in card.get('stages') or []:
        points = [(x, y) for x, y in (stage.get('metrics') or {}).get('curve') or [] if x is not None and y]
        if len(points) > 1:
            # A phase that counts its own tokens goes on where the last one ended
            offset = done if points[0][0] < done else 0.0
            lines.append((named(stage['name'], STAGES), [(x + offset, y) for x, y in points]))
            done = lines[-1][1][-1][0]
    return losses(lines) if lines else ''


def _training(card: dict) -> str:
    curve = _losses(card)
    note = two('训练损失（奈特每词元，对数坐标）随词元数下降。',
               'Training loss, nats per token, on a logarithmic axis over tokens.') if curve else ''
    return _section('training', '预训练', 'Pre-training', curve + _note(note) + _bits_per_byte(card))


def _bits_per_byte(card: dict) -> str:
    """Validation in bits per byte: a row for each domain, a column for each model."""
    columns = [(name, value if isinstance(value, dict) else {'全部 all': value}, colour)
               for name, model, colour in _models(card) if (value := model.get('bits_per_byte')) is not None]
    domains = list(dict.fromkeys(domain for _, values, _ in columns for domain in values))
    if not domains:
        return ''
    head = ''.join(_model_head(name, colour) for name, _, colour in columns)
    body = ''
    for domain in domains:
        cells = (f'{values[domain]:.3f}' if values.get(domain) is not None else '' for _, values, _ in columns)
        body += f'<tr><th>{escape(domain)}</th>' + ''.join(f'<td>{cell}</td>' for cell in cells) + '</tr>'
    return f'<table class="bits"><tr><th>{two("每字节比特", "bits per byte")}</th>{head}</tr>{body}</table>'


def _range(card: dict) -> str:
    """One line where all is within the course's range, otherwise what fell out of it and what that means."""
    if not card.get('range'):
        return ''
    told = ranges.summary(card)
    within = two(told.kept.zh, told.kept.en)
    if not told.fallen:
        return f'<section>{within}</section>'
    rows = ''.join(f'<dt>{two(suite.zh, suite.en)}</dt><dd>{escape(models)}<br>{two(verdict.zh, verdict.en)}</dd>'
                   for verdict, suite, models in told.fallen)
    notes = _note(within) * bool(told.within) + (_note(two(told.advice.zh, told.advice.en)) if told.advice else '')
    return _section('range', '与课程的范围相比', "Beside the course's range", f'<dl class="range">{rows}</dl>{notes}')


def _scores(card: dict) -> str:
    """A row for each dimension and, where it pools several suites, one for each of them."""
    models = [(name, model, colour) for name, model, colour in _models(card) if model.get('scores')]
    dimensions = in_order((dimension for _, model, _ in models for dimension in model['scores']), DIMENSIONS)
    if not dimensions:
        return ''
    pooled = {suite: row['dimension'] for _, model, _ in models for suite, row in (model.get('suites') or {}).items()}
    head = ''.join(_model_head(name, colour) for name, _, colour in models)
    rows, plots = '', ''
    for dimension in dimensions:
        title = named(dimension, DIMENSIONS)
        given = [(name, model['scores'][dimension], colour)
                 for name, model, colour in models if dimension in model['scores']]
        rows += _score_row(title, [model['scores'].get(dimension) for _, model, _ in models])
        plots += f'<div><h3><span>{title}</span><small>n = {given[0][1]["n"]}</small></h3>{intervals(given)}</div>'
        suites = in_order((suite for suite, its in pooled.items() if its == dimension), SUITES)
        for suite in suites if len(suites) > 1 else []:
            name = two(SUITES[suite].zh, SUITES[suite].en) if suite in SUITES else escape(suite)
            rows += _score_row(name, [(model.get('suites') or {}).get(suite) for _, model, _ in models], 'suite')
    return _section('scores', '六个维度', 'Six dimensions',
                    f'<table class="scores" style="--models:{len(models)}"><tr><th></th>{head}'
                    f'<th><small>随机<br>chance</small></th></tr>{rows}</table><div class="plots">{plots}</div>', two(
                        '留出题得分；色带为 95% 区间，虚线为随机水平。',
                        'Held-out items; bands are 95% intervals, dashed lines are chance.'))


def _score_row(title: str, measured: list[dict | None], kind: str = 'dimension') -> str:
    """A table row of one dimension or suite: each model's score over its interval, and what chance would give."""
    cells = ''.join(f'<td>{percent(each["score"])}<small>{100 * each["low"]:.0f}–{100 * each["high"]:.0f}</small></td>'
                    if each else '<td></td>'
                    for each in measured)
    first = next(each for each in measured if each)
    return f'<tr class="{kind}"><th>{title}</th>{cells}<td><small>{percent(first["chance"])}</small></td></tr>'


def _weights(card: dict) -> str:
    models = [(name, model, colour) for name, model, colour in _models(card) if model.get('bytes')]
    full = next((model['bytes'] for name, model, _ in models if name == 'sft'), None)
    rows = []
    for name, model, colour in models:
        speed = model.get('decode_tokens_per_second')
        text = size(model['bytes']) + (f' <small>{percent(model["bytes"] / full)}</small>'
                                       if full and name in ('int4', 'int8') else '')
        rows.append((named(name, MODELS), model['bytes'],
                     text + (f' <small>{speed:.0f} tok/s</small>' if speed else ''), colour))
    return _section('weights', '权重大小', 'Bytes of the weights', bars(rows))


def _pair(*rows: tuple[str, str, float]) -> str:
    """Two shares under each other, (Chinese, English, share) each: what was, and what came of it."""
    return '<div class="rows">' + ''.join(
        f'<div>{two(zh, en)}</div>{bar(share, colour)}<div class="value">{percent(share)}</div>'
        for (zh, en, share), colour in zip(rows, ('var(--m1)', 'var(--accent)'))) + '</div>'


def _agent(card: dict) -> str:
    body = ''
    for task, numbers in (card.get('agent') or {}).items():
        without, given = (_score(numbers[key]) for key in ('without_tools', 'with_tools'))
        body += (f'<h3><span>{escape(task.replace("_", " "))}</span><small>n = {numbers["n"]}</small></h3>'
                 + _pair(('不用', 'without', without), ('用', 'with', given)))
    return _section('agent', '智能体与工具', 'The agent and its tool', body)


def _alignment(card: dict) -> str:
    """What a program verified of the model's replies, before alignment and after."""
    [metrics] = [stage['metrics'] for stage in card.get('stages') or [] if stage['name'] == 'chat'] or [{}]
    checks, body = metrics.get('checks') or {}, ''
    for check in in_order(checks, CHECKS):
        row = checks[check]
        body += (f'<h3><span>{named(check, CHECKS)}</span><small>n = {row["n"]}</small></h3>'
                 + _pair(('之前', 'before', row['before']), ('之后', 'after', row['after'])))
    if not body:
        return ''
    low, high = (f'{100 * end:+.1f}' for end in metrics['verified']['gain'])
    kl = f'{metrics["steps"][-1][2]:.2f}'
    return _section('alignment', '对齐前后', 'Before and after alignment', body, two(
        f'留出的提示，由程序验证回答；合计的变化，95% 区间 {low} 到 {high} 分；离微调模型 {kl} 奈特每词元。',
        f'Held-out prompts, replies verified by a program; the change of all together, 95% interval {low} to {high} '
        f'points; {kl} nats a token from the fine-tuned model.'))


def _samples(card: dict) -> str:
    """Questions, the expected answer of each, and what the models said; right and wrong as the evaluation marked
    them."""
    body = ''
    for sample in card.get('samples') or []:
        marks = sample.get('correct') or {}
        says = ''.join('<div class="say '
                       f'model"><small>{named(name, MODELS)}{SIGNS[marks.get(name)]}</small>'
                       f'{escape(str(sample[name]).strip())}</div>'
                       for name in (*MODELS, 'agent') if sample.get(name) is not None)
        expected = (f'<small>{two("应答", "expected")} <b>{escape(str(sample["answer"]))}</b></small>'
                    if sample.get('answer') is not None else '')
        body += f'<div class="chat"><div class="say user">{escape(str(sample["question"]))}{expected}</div>{says}</div>'
    return _section('samples', '听它说', 'In its own words', body and f'<div class="chats">{body}</div>', two(
        '基座续写网页里的原句，微调后的模型回答提问。',
        'The base model goes on with a page that asks this; the fine-tuned one answers the question.'))


def _next(card: dict) -> str:
    """What to do now, as commands in the course's folder."""
    if not card.get('models'):
        return ''
    seed, scale = card.get('seed') or 0, card.get('scale', 'tiny')
    sized, own = '' if scale == 'tiny' else f' SCALE={scale}', f'--mine --seed {seed}' if seed else '--mine'
    again = Name('换一个种子再训练一次，看看分数里有多少是运气。',
                 'Train once more with another seed, and see how much of a score is luck.')
    if card.get('range') and ranges.summary(card).advice:
        again = Name('有的分数低于课程的范围（见上）：换一个种子再训练。实验照常使用随课程发布的检查点。',
                     "Some scores are below the course's range, "
                     'see above: train with another seed. The labs go on with the checkpoints that ship.')
    steps = {'make lab': Name('打开实验，从实验一开始：五分钟走完这条链，边走边做练习。',
                              'Opens the labs. Begin with lab 1: this chain in five minutes, with exercises on its '
                              'links.'),
             f"make chat{sized} ARGS='{own}'": Name('与你刚训练出的模型对话，它会告诉你可以问什么。',
                                                    'Talk to the model that you just trained; it says what one may '
                                                    'ask it.'),
             f"make run{sized} ARGS='--seed {seed + 1}'": again,
             'lectures/zh/01-full-chain.md': Name('第一讲：每一环做什么、为什么；英文版在 lectures/en。',
                                                  'Lecture 1: what each link does, and why; in English under '
                                                  'lectures/en.')}
    rows = ''.join(f'<dt><code>{escape(line)}</code></dt><dd>{two(why.zh, why.en)}</dd>' for line, why in steps.items())
    return _section('next', '接下来', 'What next', f'<dl class="steps">{rows}</dl>')


def _machine(card: dict) -> str:
    pairs = [*(card.get('machine') or {}).items(), *(card.get('versions') or {}).items(), ('seed', card.get('seed'))]
    rows = ''.join(f'<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>'
                   for key, value in pairs if value not in (None, ''))
    return _section('machine', '机器与版本', 'Machine and versions', f'<dl>{rows}</dl>' if rows else '')


def render(card: dict) -> str:
    """The card as one HTML page that needs no other file and no network."""
    style = Path(__file__).with_suffix('.css').read_text('utf-8')
    scale = escape(str(card.get('scale', '')))
    parts = [_tiles, _range, _scores, _training, _samples, _alignment, _agent, _stages, _funnel, _weights, _machine,
             _next]
    return ('<!doctype html><html lang="zh"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>InternLM course · {scale}</title><style>{style}</style></head><body><main>'
            f'<h1>一个模型，走完全链路<span class="en" lang="en">One model, the whole chain · {scale}</span></h1>'
            + ''.join(part(card) for part in parts) + '</main></body></html>\n')
