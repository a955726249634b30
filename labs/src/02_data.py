# %% [markdown] name="title"
# # 实验二：把网页炼成语料 · Lab 2: from a crawl to a corpus
#
# 讲义：[第 2 讲](../lectures/zh/02-data.md) · Lecture: [lecture 2](../lectures/en/02-data.md)
#
# 一次小小的抓取，两千来页，真相另存一份。你来当质检员：每一步丢了什么，该不该丢，漏了多少；再亲手写出其中最要紧的八个部件。
# **先预测，再运行，再观察，再解释**：见到“先预测”，请把答案写进它下面那一格，再往下运行；运行过后，答案可以展开来对照。
#
# A small crawl of some two thousand pages, with the truth kept aside. You are the inspector: what does each step drop, did it deserve it, what got through? And
# you write the eight parts that matter most. **Predict, run, look, explain**: where it says “Predict”, write your answer into the cell below it before you go
# on; after the run there is an answer to unfold and compare.
#
# | 练习 · Exercise | 分 · points |
# |---|---|
# | 1 查准与查全 · precision and recall of a step | 2 |
# | 2 一条规则 · a rule | 2 |
# | 3 选阈值 · a threshold | 3 |
# | 4 MinHash 签名 · a MinHash signature | 3 |
# | 5 切段 · a band choice | 3 |
# | 6 引用次序 · the order of imports | 3 |
# | 7 困惑度筛子 · the perplexity test | 3 |
# | 8 找出漏题 · the leaked item | 3 |
#
# 不做练习也能运行到底：未作答时由课程包代劳。
#
# The lab runs to its end unsolved, too: where you have not answered yet, the package goes on.

# %% name="setup" setup=true
import json
import random

from internlm_course.lab import plots
from internlm_course.lab.answers import lab02 as own
from internlm_course.lab.check import Lab, attempt, seeded, self_check, show_values

lab = Lab('02_data', minutes=5, gigabytes=2,
          points=dict(rates=2, rule=2, threshold=3, signature=3, cut=3, order=3,
                      perplexity=3, leak=3))
course = lab.course

# %% [markdown] name="funnel-text"
# ## 1 漏斗 · The funnel
#
# 讲义 · Lecture 2：[第 3 节](../lectures/zh/02-data.md#3-流水线) /
# [section 3](../lectures/en/02-data.md#3-the-pipeline);
# [第 5 节](../lectures/zh/02-data.md#5-查准与查全) /
# [section 5](../lectures/en/02-data.md#5-precision-and-recall)
#
# 抓取里混着镜像、广告、外语、乱码、辱骂、个人信息，还有几页夹带了考题。datatrove 一步步清洗，真相最后才用来打分。
#
# **先预测**：一百页里，能留下几页？哪一步丢的页最多？按字节算，哪一步缩水最厉害？
#
# The crawl holds mirrors, advertisements, other languages, gibberish, abuse, personal data, and a few pages with test items in them. datatrove cleans it step
# by step; the truth is used at the end only, to measure.
#
# **Predict**: of a hundred pages, how many stay? Which step drops most pages, and which shrinks the bytes most?

# %% [markdown] name="funnel-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="funnel"
from internlm_course.data.pipeline import build_corpus, documents
from internlm_course.world.crawl import write_crawl

PAGES, SEED = 1200, 2
crawl = lab.keep('crawl', lambda out: write_crawl(out, pages=PAGES, seed=SEED),
                 pages=PAGES, seed=SEED)
corpus = lab.keep('corpus', lambda out: build_corpus(crawl.path, out), crawl=crawl.key)
truth = {row['id']: row
         for row in map(json.loads,
                        (crawl.path / 'truth.jsonl').read_text('utf-8').splitlines())}
funnel = corpus.metrics['funnel']
print(f'{"step":15}{"documents":>10}{"bytes":>12}{"precision":>11}{"recall":>8}')
for row in funnel:
    shown = ''.join(f'{"-" if row[rate] is None else format(row[rate], ".2f"):>{width}}'
                    for rate, width in (('precision', 11), ('recall', 8)))
    print(f'{row["step"]:15}{row["documents"]:>10,}{row["bytes"]:>12,}{shown}')

# %% name="funnel-plot"
made, axes = plots.figure(7, 3.6)
for shift, key, colour, words in ((-0.2, 'documents', 'C0',
                                   plots.label('篇', 'documents')),
                                  (0.2, 'bytes', 'C1', plots.label('字节', 'bytes'))):
    axes.barh([i + shift for i in range(len(funnel))],
              [row[key] / funnel[0][key] for row in funnel],
              0.36, color=colour, label=words)
axes.set_yticks(range(len(funnel)), [row['step'] for row in funnel])
axes.invert_yaxis()
axes.set(xlabel=plots.label('占抓取的比例', 'share of the crawl'))
axes.legend(frameon=False)
plots.show(made, 'The funnel: ' + ', '.join(
    f'{row["step"]} {row["documents"]} documents' for row in funnel))

# %% [markdown] name="funnel-answer"
# <details><summary>答案 · Answer</summary>
#
# 一半以上的页留了下来，字节却不到五分之一。按字节算，缩水最厉害的是第一步抽取正文（`extraction`），它几乎不丢页；丢页最多的是去重（`duplicates`）。
# “留下多少”先要问：按页数，还是按字节？
#
# Over half of the pages stay, and yet less than a fifth of the bytes. By bytes the first step, `extraction`, shrinks most, though it drops hardly a page; most
# pages go with `duplicates`. So whoever asks how much is left must say whether in pages or in bytes.
#
# </details>

# %% [markdown] name="rates-text"
# **练习 1（2 分）** 写出 `rates(before, dropped, bad)`，返回 (查准率, 查全率)。三个参数都是页面编号的集合：`before` 是轮到这一步时还剩的页，`dropped`
# 是它丢掉的页，`bad` 是整个抓取里该由它丢的页。前面的步骤已经丢掉的，不该算在它头上。没有可除的，那一个就是 `None`。
#
# **Exercise 1 (2 points)** Write `rates(before, dropped, bad)`, which returns (precision, recall). All three are sets of pages' ids: `before`, those left when
# the step's turn came; `dropped`, those it dropped; `bad`, all of the crawl's pages that are its business. What earlier steps have dropped already is not its
# fault. Where there is nothing to divide by, that one is `None`.

# %% name="rates" exercise=true
def rates(before: set, dropped: set, bad: set) -> tuple:
    ### BEGIN SOLUTION
    right, targets = len(dropped & bad), len(before & bad)
    return (right / len(dropped) if dropped else None,
            right / targets if targets else None)
    ### END SOLUTION

# %% name="rates-light"
self_check(rates, own.rates, [({1, 2, 3, 4}, {1, 2}, {2, 3, 9}), ({1, 2}, set(), {1}),
                              ({1, 2}, {1}, {7})],
           hint='查全率的分母只数还没被丢掉的坏页 · The denominator of recall counts '
                'only bad pages that had not been dropped before.')
rates_used = attempt(rates, own.rates)
LABELS = dict(language={'language'}, rules={'rules', 'gibberish'}, domains={'blocked'},
              words={'unsafe'}, toxicity={'toxic'}, advertisement={'advertisement'},
              fluency={'disfluent'}, contamination={'leak'})
arrived = [document
           for folder in ('clean', *(f'dropped/{row["step"]}' for row in funnel[2:]))
           for document in documents(corpus.path / folder)]
before = {document['id'] for document in arrived}
for row in funnel[2:]:
    dropped = {document['id']
               for document in documents(corpus.path / 'dropped' / row['step'])}
    if labels := LABELS.get(row['step']):
        bad = {name for name, page in truth.items() if page['label'] in labels}
        precision, recall = rates_used(before, dropped, bad)
        print(f'{row["step"]:14} drops {len(dropped):3}; there are '
              f'{len(bad & before):3} ({", ".join(sorted(labels))}): precision '
              f'{precision:.2f}, recall {recall:.2f}')
    before -= dropped

# %% name="check-rates" check="rates" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('rates')
cases = [({1, 2}, set(), {1}), ({1, 2, 3}, {1, 3}, {8, 9})]
for _ in range(5):
    crawled = set(range(rng.randrange(40, 90)))
    before = {page for page in crawled if rng.random() < 0.7}
    bad = {page for page in crawled if rng.random() < 0.4}
    cases.append((before, {page for page in before
                           if rng.random() < (0.8 if page in bad else 0.1)}, bad))
lab.check('rates', rates=(rates, own.rates, cases))

# %% name="check-funnel" check=""
# NBVAL_CHECK_OUTPUT
show_values('funnel',
            dict(only_fewer=all(a['documents'] >= b['documents']
                                for a, b in zip(funnel, funnel[1:])),
                 steps=[row['step'] for row in funnel], pages=funnel[0]['documents']))

# %% [markdown] name="funnel-look"
# **看什么**：语种一步的查准率比上面的漏斗低。这里只认外语，漏斗却把它顺手丢掉的乱码也算对。“该丢”由谁说了算，数字就是谁的。
#
# **What to look for**: the language step has a lower precision here than in the funnel above. Here only other languages count; the funnel also gives credit for
# the gibberish that goes with them. A rate belongs to whoever says what deserves to be dropped.

# %% [markdown] name="rule-text"
# ## 2 规则 · A rule
#
# 讲义 · Lecture 2：[第 3.2 节](../lectures/zh/02-data.md#32-规则) /
# [section 3.2](../lectures/en/02-data.md#32-rules)
#
# 报告的规则之一是分隔符反常：满页都是 `-----`、`* * *`、`～～～`。
#
# **练习 2（2 分）** 写出 `decorated(text)`：不空的行里，分隔行**超过**五分之一就返回 `True`，否则返回 `False`。分隔行去掉两头空白后至少三个字符，
# 且没有一个是字母、汉字或数字。
#
# **先预测**：如果用 `[A-Za-z0-9]` 来认字母和数字，会误伤谁？
#
# One rule of the report is about abnormal separators: pages full of `-----`, `* * *`, `～～～`.
#
# **Exercise 2 (2 points)** Write `decorated(text)`: `True` where **more than** a fifth of the lines that are not blank are separators, otherwise `False`. A
# separator, without the blanks at its ends, has at least three characters, and none is a letter, a hanzi or a digit.
#
# **Predict**: who is hurt if you look for letters and digits by `[A-Za-z0-9]`?

# %% [markdown] name="rule-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="rule" exercise=true
def decorated(text: str) -> bool:
    ### BEGIN SOLUTION
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    separators = [line for line in lines if len(line) >= 3
                  and not any(letter.isalnum() for letter in line)]
    return len(separators) > len(lines) / 5
    ### END SOLUTION

# %% name="rule-light"
self_check(decorated, own.decorated,
           [('一行\n二行\n三行\n四行',), ('a\n---\nb\n\n\n\nc',), ('a\nb\nc\nd\n---',),
            ('a\n--\n//',), ('12 + 30 = 42\n* * *\n',), ('',),
            ('巴黎是法国的首都。',), ('a\nb\nc\nd\ne\nf\n---',)],
           hint='空行不算；恰好五分之一不丢；str.isalnum 也认汉字 · Blank lines do '
                'not count; exactly a fifth stays; str.isalnum knows hanzi.')
decorated_used = attempt(decorated, own.decorated)

import re

arrived = [document for document in arrived
           if document['metadata']['lang'] in ('en', 'zh', 'und')]
caught = [document for document in arrived if decorated_used(document['text'])]
good = sum(truth[document['id']]['label'] in ('clean', 'mirror') for document in caught)
print(f'{len(caught)} of {len(arrived)} pages are decorated; {good} of them are good '
      'pages')
# as [A-Za-z0-9] sees them
narrow = [document for document in arrived
          if decorated_used(re.sub(r'[^\x00-\x7f]', '-', document['text']))]
chinese = sum(document['metadata']['lang'] == 'zh' for document in narrow)
print(f'by [A-Za-z0-9] · 若用 [A-Za-z0-9]: {len(narrow)} pages, {chinese} of them '
      'Chinese · 其中中文\n')
print(caught[0]['text'][:300] if caught else '')

# %% name="check-rule" check="rule" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('rule')
LINES = ['巴黎是法国的首都。', 'People in Peru pay with the sol.', '47 + 38 = 85',
         '-----', '* * *', '～～～～', '--', '', '   ', '=========', '___', '第 2 页']
cases = [('巴黎是法国的首都。\n秘鲁人用索尔。',), ('一行字\n----',),
         ('a\nb\nc\nd\n---',), ('a\n\n\n\n\n\n---\nb',), ('a\n--\n::\nb',), ('',),
         ('a\n   \n---\n \t\nb\nc',), ('---\n' * 2 + 'a\n' * 7,),
         (' --\n-- \na',)]
cases += [('\n'.join(rng.choice(LINES) for _ in range(rng.randrange(4, 16))),)
          for _ in range(24)]
lab.check('rule', decorated=(decorated, own.decorated, cases))

# %% [markdown] name="rule-answer"
# <details><summary>答案 · Answer</summary>
#
# 中文页：汉字不在 `[A-Za-z0-9]` 里，一行汉字看上去就像一行分隔符。上面数过：这样认，丢掉的页多出许多倍，而且几乎都是中文页。
#
# The Chinese pages: a hanzi is not in `[A-Za-z0-9]`, so a line of them looks like a separator. The count above says it: looked for like this, many times as
# many pages go, and nearly all of them are Chinese.
#
# </details>

# %% [markdown] name="threshold-text"
# ## 3 阈值 · A threshold
#
# 讲义 · Lecture 2：[第 3.3 节](../lectures/zh/02-data.md#33-安全) /
# [section 3.3](../lectures/en/02-data.md#33-safety);
# [第 5 节](../lectures/zh/02-data.md#5-查准与查全) /
# [section 5](../lectures/en/02-data.md#5-precision-and-recall)
#
# 现在训练一个认辱骂的分类器，只给它二十条标注，让它犯错。每页得一个分，分数不低于阈值就丢。
#
# **先预测**：阈值一路往下降，查准率一定一路往下掉吗？坏页从占一半变成只占百分之二三，同一个阈值的查准率会怎样？
#
# Now train a classifier for abuse, on only twenty labels, so that it errs. Every page gets a score, and what scores the threshold or more is dropped.
#
# **Predict**: as the threshold goes down, must precision go down at every step? And where bad pages are not half of all but two or three in a hundred, what
# becomes of the precision at the same threshold?

# %% [markdown] name="threshold-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="classifier"
from internlm_course.data.quality import load_classifiers, train_classifiers


def small_classifier(out) -> dict:
    rows = (crawl.path / 'labels.jsonl').read_text('utf-8').splitlines()[60:80]
    (out / 'labels.jsonl').write_text('\n'.join(rows) + '\n', 'utf-8')
    return train_classifiers(out / 'labels.jsonl', out / 'classifiers.npy')


trained = lab.keep('classifier', small_classifier, crawl=crawl.key, labels='60:80')
classifiers = load_classifiers(trained.path / 'classifiers.npy')
scored = [(classifiers.scores(document['text'])['toxic'],
           truth[document['id']]['label'] == 'toxic', document['text'])
          for document in arrived]
print(trained.metrics['labels'])
for place, (score, is_bad, text) in enumerate(sorted(scored, reverse=True)[:200]):
    if place % 20 == 0:
        print(f'{place + 1:3}. {score:.3f} {"toxic" if is_bad else "-":6} '
              f'{text[-60:]!r}')

# %% [markdown] name="choose-text"
# **练习 3（3 分）** 写出 `lowest_threshold(scores, bad, wanted)`：`scores` 是各页的分数，`bad` 是各页的真假值，坏页为真，次序相同。在出现过的分数里，
# 找**最低**的一个作阈值，使丢掉的页（分数 ≥ 阈值）里坏页至少占 `wanted`；找不到就返回 `None`。最低，就是在保住查准率的前提下查全率最高。当心：
# 查准率不是单调的，分数相同的页同进同退。
#
# **Exercise 3 (3 points)** Write `lowest_threshold(scores, bad, wanted)`: `scores` holds each page's score, `bad` in the same order whether it is bad. Of the
# scores that occur, return the **lowest** such that of the dropped pages (score ≥ threshold) at least the share `wanted` is bad; `None` where there is none.
# The lowest is the one with the best recall at that precision. Mind that precision is not monotone, and that pages of equal score go together.

# %% name="threshold" exercise=true
def lowest_threshold(scores: list[float], bad: list[bool],
                     wanted: float) -> float | None:
    ### BEGIN SOLUTION
    for threshold in sorted(set(scores)):
        gone = [is_bad for score, is_bad in zip(scores, bad) if score >= threshold]
        if sum(gone) / len(gone) >= wanted:
            return threshold
    return None
    ### END SOLUTION

# %% name="threshold-light"
self_check(lowest_threshold, own.lowest_threshold,
           [([0.9, 0.8, 0.7, 0.6, 0.5], [False, True, True, True, False], 0.75),
            ([0.5, 0.5, 0.9], [True, False, True], 0.6), ([0.5], [False], 0.5),
            ([0.5, 0.5, 0.9], [True, False, False], 0.5)],
           hint='把每个阈值都试一遍，从低到高 · Try every threshold, from the lowest '
                'up; do not stop at the first that fails.')
lowest_used = attempt(lowest_threshold, own.lowest_threshold)
balanced = [row for row in scored if row[1]]
balanced += random.Random(0).sample([row for row in scored if not row[1]],
                                    len(balanced))
made, axes = plots.figure(7, 3.4)
for rows, colour, words in (
        (balanced, '0.6', plots.label('坏页占一半', 'half are bad')),
        (scored, 'C0', plots.label(f'坏页占 {len(balanced) / 2 / len(scored):.0%}',
                                   'as in the crawl'))):
    points = []
    for threshold in sorted({row[0] for row in rows}):
        gone = [row[1] for row in rows if row[0] >= threshold]
        points.append((sum(gone) / (len(balanced) / 2), sum(gone) / len(gone)))
    axes.plot(*zip(*points), color=colour, label=words)
for wanted in (0.8, 0.95):
    threshold = lowest_used([row[0] for row in scored], [row[1] for row in scored],
                            wanted)
    if threshold is None:
        print(f'precision {wanted:.0%}: no threshold · 没有这样的阈值')
        continue
    gone = [row[1] for row in scored if row[0] >= threshold]
    recall = sum(gone) / (len(balanced) / 2)
    print(f'precision {wanted:.0%}: threshold {threshold:.3f}, recall {recall:.0%}, '
          f'{len(gone) - sum(gone)} good pages lost · 误丢的好页')
    for score, is_bad, text in sorted(scored, reverse=True):
        if score >= threshold and not is_bad:
            print(f'   {score:.3f} {text[-70:]!r}')
    axes.plot(recall, sum(gone) / len(gone), 'o', color='C3')
    axes.annotate(f'{threshold:.2f}', (recall, sum(gone) / len(gone)),
                  textcoords='offset points', xytext=(6, 6), color='C3')
axes.set(xlabel=plots.label('查全率', 'recall'),
         ylabel=plots.label('查准率', 'precision'), xlim=(0, 1.02), ylim=(0, 1.03))
axes.legend(frameon=False, loc='lower left')
plots.show(made, 'Precision against recall of the classifier of abuse, as in the '
                 'crawl and where half of the pages are bad')

# %% name="check-threshold" check="threshold" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('threshold')
cases = [([0.9, 0.8, 0.7, 0.6, 0.5], [False, True, True, True, False], 0.75),
         ([0.5, 0.5, 0.9], [True, False, False], 0.5), ([0.4, 0.2], [False, True], 0.9)]
for _ in range(8):
    bad = [rng.random() < 0.4 for _ in range(rng.randrange(20, 40))]
    cases.append(([round(min(max(rng.gauss(0.6 if is_bad else 0.4, 0.2), 0), 1),
                         1 + rng.randrange(2)) for is_bad in bad], bad,
                  rng.choice([0.6, 0.7, 0.8])))
lab.check('threshold', lowest_threshold=(lowest_threshold, own.lowest_threshold, cases))

# %% [markdown] name="threshold-look"
# **看什么**：两条曲线用的是同一批分数。为什么灰线高出那么多？要查准率再高一点，查全率付出多少？上面列出的、被误丢的好页，是哪一类？
#
# **What to look for**: both curves use the same scores. Why is the grey one so much higher? What does a little more precision cost in recall? What kind of page
# are the good ones lost, listed above?
#
# <details><summary>答案 · Answer</summary>
#
# 不一定：曲线有起有落，往下放进来的若正好是坏页，查准率反而升高。同一个阈值，查全率在两条曲线上相同，因为坏页还是那些；可是抓取里的好页多出几十倍，
# 误丢的也就多，查准率低了。查准率从八成提到九成半，查全率就丢掉一大半：想少冤枉，就得多放过。误丢的好页，看看它们写了什么：分类器没见过的行文，
# 在二十条标注里像谁，就被当成谁。
#
# Not at every step: the curves go up and down, and where the next page to be let in is bad, precision rises. At one threshold the recall is the same on both
# curves, because the bad pages are the same; but the crawl has many times as many good ones, more of them are lost, and precision falls. From a precision of
# eight tenths to nine and a half, more than half of the recall goes: fewer false charges, more that get through. As to the good pages lost, look at what they
# say: writing of a kind that the classifier had not met was taken for what it most resembled among twenty labels.
#
# </details>

# %% [markdown] name="signature-text"
# ## 4 去重 · Duplicates
#
# 讲义 · Lecture 2：[第 4 节](../lectures/zh/02-data.md#4-去重的数学) /
# [section 4](../lectures/en/02-data.md#4-the-mathematics-of-duplicates)
#
# 把一页切成 5 元片段，每个片段是一个整数。每个哈希函数是一对 `(a, b)`，把整数 $x$ 变成 $h(x) = (a x + b) \bmod p$，其中 $p = 2^{61} - 1$（`own.PRIME`）。
#
# **练习 4（3 分）** 写出 `signature(numbers, hashes)`：对 `hashes` 里的每个 `(a, b)`，取整个集合 `numbers` 上的最小哈希值，依次成一个列表。再写
# `resemblance(one, other)`：两个签名在同一位置上相等的比例，它估计的是两个集合的 Jaccard 相似度。
#
# **先预测**：128 个哈希函数，真实相似度 $s = 0.7$ 时，估计值的标准差多大？（128 次独立的“相等或不等”。）
#
# A page is cut into 5-grams, each a whole number. Each hash function is a pair `(a, b)`, which turns a number $x$ into $h(x) = (a x + b) \bmod p$ with
# $p = 2^{61} - 1$ (`own.PRIME`).
#
# **Exercise 4 (3 points)** Write `signature(numbers, hashes)`: for each `(a, b)` of `hashes` the smallest hash over the whole set `numbers`, as a list in that
# order. And `resemblance(one, other)`: the share of places at which two signatures agree, which estimates the Jaccard similarity of the two sets.
#
# **Predict**: with 128 hashes and a true similarity of $s = 0.7$, how large is the standard deviation of the estimate? (128 independent “agree or not”.)

# %% [markdown] name="signature-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="signature" exercise=true
def signature(numbers: set[int], hashes: list[tuple[int, int]]) -> list[int]:
    ### BEGIN SOLUTION
    return [min((a * x + b) % own.PRIME for x in numbers) for a, b in hashes]
    ### END SOLUTION


def resemblance(one: list[int], other: list[int]) -> float:
    ### BEGIN SOLUTION
    return sum(a == b for a, b in zip(one, other)) / len(one)
    ### END SOLUTION

# %% name="signature-light"
some = own.hash_functions(random.Random(1), 8)
self_check(signature, own.signature, [({3, 5, 8}, some), ({13}, some)],
           hint='先哈希，再取最小 · Hash first, then take the smallest; one value for '
                'each hash function.')
self_check(resemblance, own.resemblance, [([1, 2, 3, 4], [1, 9, 3, 2])],
           hint='位置要对上 · Place by place: the same value elsewhere does not count.')
signature_used = attempt(signature, own.signature)
resemblance_used = attempt(resemblance, own.resemblance)

import statistics

hashes = own.hash_functions(random.Random(0))
texts = {document['id']: document['text'] for document in arrived}
pairs = [(name, row['mirror_of']) for name, row in truth.items()
         if row['mirror_of'] in texts and name in texts][:60]
# neighbours begin alike: pairs of middling similarity
ordered = sorted(texts, key=texts.get)
pairs += list(zip(ordered[::20], ordered[1::20]))
sets = {name: own.pieces(texts[name]) for pair in pairs for name in pair}
signatures = {name: signature_used(numbers, hashes) for name, numbers in sets.items()}
exact = [own.jaccard(sets[a], sets[b]) for a, b in pairs]
estimate = [resemblance_used(signatures[a], signatures[b]) for a, b in pairs]
made, axes = plots.figure(5, 3.6)
axes.plot([0, 1], [0, 1], color='0.7')
axes.plot(exact, estimate, '.', color='C0')
axes.set(xlabel=plots.label('真实相似度', 'Jaccard similarity'),
         ylabel=plots.label('128 个哈希函数的估计', 'estimate of 128 hashes'))
plots.show(made, f'Estimates of {len(pairs)} pairs against their Jaccard similarity')
print('mean error · 平均误差 '
      f'{sum(abs(a - b) for a, b in zip(exact, estimate)) / len(pairs):.3f}')

rng, drawn = random.Random(2), []
for _ in range(100):  # pairs of sets that share 28 of 40 numbers
    numbers = [rng.randrange(1 << 32) for _ in range(40)]
    drawn.append(resemblance_used(*(signature_used(set(half), hashes)
                                    for half in (numbers[:34], numbers[6:]))))
print('100 pairs of similarity 0.7 · 100 对: mean · 平均 '
      f'{statistics.mean(drawn):.3f}, standard deviation · 标准差 '
      f'{statistics.stdev(drawn):.3f}')

# %% name="check-signature" check="signature" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('signature')
functions = own.hash_functions(rng, 6)
pages = [({rng.randrange(1 << 32) for _ in range(size)}, functions)
         for size in (1, 5, 40)]
cases = [([1, 2, 3, 4], [4, 1, 2, 3])]
for _ in range(4):
    one = [rng.randrange(50) for _ in range(20)]
    cases.append((one, [x if rng.random() < 0.6 else rng.randrange(50) for x in one]))
lab.check('signature', signature=(signature, own.signature, pages),
          resemblance=(resemblance, own.resemblance, cases))

# %% [markdown] name="signature-answer"
# <details><summary>答案 · Answer</summary>
#
# $\sqrt{s(1-s)/128}$，约 0.04，上面一百对量得的就在它附近。想把误差减半，哈希函数要用四倍。
#
# $\sqrt{s(1-s)/128}$, about 0.04, and the hundred pairs above were measured near it. To halve the error takes four times the hashes.
#
# </details>

# %% [markdown] name="cut-text"
# 签名两两比还是太多。切成 $b$ 段、每段 $r$ 个，有一段全同才去比：相似度为 $s$ 的一对被找到的概率是 $P(s) = 1 - (1 - s^r)^b$。
#
# **练习 5（3 分）** 写出 `found(s, b, r)`，返回这个概率。再写 `cut(hashes, similarity, wanted)`：在 $b r$ = `hashes` 的切法里，选**段最长**（$r$ 最大，
# 冤枉最少）而又能以至少 `wanted` 的概率找到相似度为 `similarity` 的一对，返回 `(b, r)`；没有就返回 `None`。
#
# **先预测**：128 个哈希函数，想让 0.8 的一对有九成机会被找到，该切成几段？
#
# Comparing all signatures is still too much: cut them into $b$ bands of $r$ values, and compare only where a whole band agrees. A pair of similarity $s$ is
# then found with the chance $P(s) = 1 - (1 - s^r)^b$.
#
# **Exercise 5 (3 points)** Write `found(s, b, r)`, which returns this chance. And `cut(hashes, similarity, wanted)`: of all cuts with $b r$ = `hashes`, the one
# with the **longest bands** (largest $r$, fewest false candidates) that still finds a pair of `similarity` with a chance of at least `wanted`, as `(b, r)`;
# `None` where there is none.
#
# **Predict**: with 128 hashes, how many bands find a pair of 0.8 in nine cases of ten?

# %% [markdown] name="cut-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="cut" exercise=true
def found(s: float, b: int, r: int) -> float:
    ### BEGIN SOLUTION
    return 1 - (1 - s**r) ** b
    ### END SOLUTION


def cut(hashes: int, similarity: float, wanted: float) -> tuple[int, int] | None:
    ### BEGIN SOLUTION
    for r in range(hashes, 0, -1):
        if hashes % r == 0 and found(similarity, hashes // r, r) >= wanted:
            return hashes // r, r
    return None
    ### END SOLUTION

# %% name="cut-light"
self_check(found, own.found, [(0.8, 16, 8), (0.5, 16, 8)],
           hint='一段全同的概率是 s 的 r 次方 · A whole band agrees with the chance s '
                'to the power of r.')
self_check(cut, own.cut, [(128, 0.8, 0.9), (128, 0.5, 0.9), (2, 0.1, 0.99)],
           hint='r 从大往小试 · Try r from large to small; b is what is left.')
found_used, cut_used = attempt(found, own.found), attempt(cut, own.cut)
for similarity, wanted in ((0.9, 0.8), (0.8, 0.9), (0.6, 0.9), (0.3, 0.9)):
    b, r = cut_used(128, similarity, wanted)
    print(f'{similarity} in {wanted:.0%}: {b} bands of {r}, threshold about '
          f'{(1 / b) ** (1 / r):.2f}; a pair of 0.5 slips in with '
          f'{found_used(0.5, b, r):.1%}')

rng, dots = random.Random(5), []
# pairs of sets with a known similarity, through signatures and bands
for tenth in range(2, 10):
    hits = 0
    for _ in range(60):
        shared, rest = tenth * 3, 30 - tenth * 3
        numbers = [rng.randrange(1 << 32) for _ in range(30)]
        one, other = (signature_used(set(half), hashes)
                      for half in (numbers[:shared + rest // 2],
                                   numbers[:shared] + numbers[shared + rest // 2:]))
        hits += any(one[at:at + 8] == other[at:at + 8] for at in range(0, 128, 8))
    dots.append((tenth / 10, hits / 60))
made, axes = plots.figure(6, 3.2)
steps = [i / 100 for i in range(101)]
for b, r, colour in ((32, 4, '0.7'), (16, 8, 'C0'), (8, 16, '0.7')):
    axes.plot(steps, [found_used(s, b, r) for s in steps], color=colour,
              label=f'{b} × {r}')
axes.plot(*zip(*dots), 'o', color='C3',
          label=plots.label('16 × 8，量得', '16 × 8, measured'))
axes.set(xlabel=plots.label('相似度', 'similarity'),
         ylabel=plots.label('被找到的概率', 'chance to be found'))
axes.legend(frameon=False)
plots.show(made, 'S-curves of three cuts, with the measured share of pairs found by '
                 '16 bands of 8')

# %% name="check-cut" check="cut" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('cut')
cases = [(round(rng.uniform(0.3, 0.95), 2), rng.choice([4, 8, 16, 32]),
          rng.choice([2, 4, 8])) for _ in range(4)]
drawn = [(rng.choice([60, 96, 128, 144]), round(rng.uniform(0.5, 0.95), 2),
          rng.choice([0.8, 0.9, 0.99])) for _ in range(6)]
lab.check('cut', found=(found, own.found, cases),
          cut=(cut, own.cut, [(128, 0.8, 0.9), (2, 0.1, 0.99), (60, 0.7, 0.8),
                              *drawn]))

# %% [markdown] name="cut-answer"
# <details><summary>答案 · Answer</summary>
#
# 16 段，每段 8 个：找到的概率是 95%。段再长一倍，切成 8 段，就只剩 20%；再短一半，切成 32 段，一个也不漏，可是 0.5 的一对也多半要拿来比。
#
# 16 bands of 8: it is found with a chance of 95%. With bands twice as long, 8 of them, 20% is left; with bands half as long, 32 of them, none is missed, but
# most pairs of 0.5 must be compared, too.
#
# </details>

# %% [markdown] name="order-text"
# ## 5 代码：引用次序 · Code: the order of imports
#
# 讲义 · Lecture 2：[第 6 节](../lectures/zh/02-data.md#6-代码) /
# [section 6](../lectures/en/02-data.md#6-code)
#
# 一个仓库拼成一篇，被引用的放前面。
#
# **练习 6（3 分）** 写出 `reading_order(imports)`：`imports` 把每个文件映到它引用的名字（仓库之外的名字不算），返回全部文件的列表。
# 每次从已经可以放的文件里取**字母最小**的一个；放不下去的（成环的，以及等着环的）最后按字母排。
#
# **先预测**：`a` 引用 `z`，`b` 和 `z` 谁也不引用：次序是什么？
#
# A repository becomes one document, with what is imported in front.
#
# **Exercise 6 (3 points)** Write `reading_order(imports)`: `imports` maps each file to the names that it imports (those from outside the repository do not
# count); return the list of all files. Of the files that are ready, always place the **alphabetically first**; what never gets ready, circles and whatever
# waits for them, comes last in alphabetical order.
#
# **Predict**: `a` imports `z`; `b` and `z` import nothing: what is the order?

# %% [markdown] name="order-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="order" exercise=true
def reading_order(imports: dict[str, list[str]]) -> list[str]:
    ### BEGIN SOLUTION
    placed, waiting = [], sorted(imports)
    while waiting:
        ready = [file for file in waiting if all(name in placed or name not in imports
                                                 for name in imports[file])]
        if not ready:
            break
        placed.append(ready[0])
        waiting.remove(ready[0])
    return placed + waiting
    ### END SOLUTION

# %% name="order-light"
self_check(reading_order, own.reading_order,
           [(dict(a=['z'], b=[], c=['b'], z=['os']),),
            (dict(x=['y'], y=['x'], a=['x'], m=[]),),
            (dict(train=['model', 'torch'], model=['tensor'], tensor=[]),)],
           hint='每放一个，就重新看一遍谁可以放了 · After each file look again at who '
                'is ready; names from outside are never waited for.')
order_used = attempt(reading_order, own.reading_order)
print('a imports z; b, z: nothing · a 引用 z:', order_used(dict(a=['z'], b=[], z=[])))

from internlm_course.data import code

folder = code.stdlib() / 'json'
graph = {path.as_posix(): sorted(name.as_posix() for name in names)
         for path, names in code.dependencies(folder).items()}
for file in order_used(graph):
    print(f'{file:14} ← {", ".join(graph[file]) or "nothing · 无"}')
print(code.assemble(folder)[:330], '…')

# %% name="check-order" check="order" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('order')
cases = [(dict(a=['z'], b=[], c=['b'], z=[]),),
         (dict(x=['y'], y=['x'], a=['x'], m=['os']),)]
for _ in range(5):
    names = rng.sample('abcdefghijklmnop', 9)
    graph = {name: rng.sample(names[:i], min(i, rng.randrange(3)))
             + rng.choice([[], ['os'], ['numpy']]) for i, name in enumerate(names)}
    shuffled = rng.sample(sorted(graph), len(graph))
    cases.append(({name: graph[name] for name in shuffled},))
lab.check('order', reading_order=(reading_order, own.reading_order, cases))

# %% [markdown] name="order-answer"
# <details><summary>答案 · Answer</summary>
#
# `b`、`z`、`a`：`a` 字母最小，却要等 `z`；可以放的 `b` 和 `z` 里，先放 `b`。
#
# `b`, `z`, `a`: `a` comes first in the alphabet, but has to wait for `z`; of `b` and `z`, which are ready, `b` goes first.
#
# </details>

# %% [markdown] name="perplexity-text"
# ## 6 长文本：困惑度 · Long texts: perplexity
#
# 讲义 · Lecture 2：[第 7 节](../lectures/zh/02-data.md#7-长文本) /
# [section 7](../lectures/en/02-data.md#7-long-text)
#
# 把一篇切成前半 $S_1$ 和后半 $S_2$。前半对后半有帮助，才算一篇真正的长文：$\mathrm{PPL}(S_2 \mid S_1) < \mathrm{PPL}(S_2)$。困惑度 $\mathrm{PPL}$
# 是每个词元的平均损失的指数；模型给出每个词元的损失 $-\log p$（奈特）。
#
# **练习 7（3 分）** 写出 `earns_its_length(whole, alone, split)`：`whole` 是 $S_1$ 和 $S_2$ 连读时每个词元的损失，前 `split` 个属于 $S_1$；`alone` 是单读 $S_2$
# 时的损失。返回一个字典：`given` 是 $\mathrm{PPL}(S_2 \mid S_1)$，`alone` 是 $\mathrm{PPL}(S_2)$，`keep` 是前者是否更小。
#
# **先预测**：三篇“长文”：真的一篇、两篇不相干的拼成一篇、同一篇抄两遍。哪几篇会留下？
#
# Cut a document into a first half $S_1$ and a second half $S_2$. It is a long text in truth where the first helps with the second:
# $\mathrm{PPL}(S_2 \mid S_1) < \mathrm{PPL}(S_2)$. The perplexity $\mathrm{PPL}$ is the exponential of the mean loss of a token; the model gives the loss
# $-\log p$ of each token, in nats.
#
# **Exercise 7 (3 points)** Write `earns_its_length(whole, alone, split)`: `whole` holds the losses of all tokens when $S_1$ and $S_2$ are read in one, the
# first `split` being those of $S_1$; `alone` those of $S_2$ read by itself. Return a dict: `given` is $\mathrm{PPL}(S_2 \mid S_1)$, `alone` is
# $\mathrm{PPL}(S_2)$, `keep` is whether the first of them is smaller.
#
# **Predict**: three “long texts”: a true one, two unrelated ones pasted together, and one text twice. Which stay?

# %% [markdown] name="perplexity-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="perplexity" exercise=true
def earns_its_length(whole: list[float], alone: list[float], split: int) -> dict:
    ### BEGIN SOLUTION
    import math
    second = whole[split:]
    given = math.exp(sum(second) / len(second))
    by_itself = math.exp(sum(alone) / len(alone))
    return dict(given=given, alone=by_itself, keep=given < by_itself)
    ### END SOLUTION

# %% name="perplexity-light"
self_check(earns_its_length, own.earns_its_length,
           [([2.0, 1.0, 0.5, 0.1], [1.0, 0.4], 2), ([0.1, 0.1, 2.0], [1.5], 2)],
           hint='只平均后半的损失，再取指数 · Average the losses of the second half '
                'only, then take the exponential.')
earns_used = attempt(earns_its_length, own.earns_its_length)

import torch

from internlm_course.model import load_model, load_tokenizer
from internlm_course.world import web

checkpoint = course.long().path
model = load_model(checkpoint, dtype=torch.float32)
tokenizer = load_tokenizer(checkpoint)


def losses(ids: list[int]) -> list[float]:
    """The loss of each token; the first is predicted from <s> alone."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[1, *ids]])).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits.float(), torch.tensor(ids),
                                             reduction='none').tolist()


def encode(text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


rng = random.Random(3)
pages = [page for page in web.pages(400, 'lab 2') if page.kind == 'story']
kinds = {'true · 真': [], 'pasted · 拼': [], 'twice · 抄': []}
for page, other in zip(pages[:12], pages[12:24]):
    first, second = '\n'.join(page.lines[:-1]) + '\n', page.lines[-1]
    kinds['true · 真'].append((first, second))
    kinds['pasted · 拼'].append(('\n'.join(other.lines[:-1]) + '\n', second))
    kinds['twice · 抄'].append((second + '\n', second))
for kind, halves in kinds.items():
    verdicts = []
    for first, second in halves:
        one, two = encode(first), encode(second)
        verdicts.append(earns_used(losses(one + two), losses(two), len(one)))
    middle = sorted(verdicts, key=lambda verdict: verdict['given'])[len(verdicts) // 2]
    kept = sum(verdict['keep'] for verdict in verdicts)
    print(f'{kind:10} kept {kept:2} of {len(verdicts)}; for one: PPL(S2|S1) '
          f'{middle["given"]:.2f}, PPL(S2) {middle["alone"]:.2f}')

# %% name="check-perplexity" check="perplexity" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('perplexity')
cases = [([3.0, 3.0, 0.1, 2.1], [1.2, 1.2], 2), ([3.0, 1.2, 0.4], [1.2, 0.4], 1)]
for _ in range(5):
    one, two = rng.randrange(3, 9), rng.randrange(3, 9)
    cases.append(([round(rng.uniform(0.1, 4), 3) for _ in range(one + two)],
                  [round(rng.uniform(0.1, 4), 3) for _ in range(two)], one))
lab.check('perplexity',
          earns_its_length=(earns_its_length, own.earns_its_length, cases))

# %% [markdown] name="perplexity-look"
# **看什么**：每一类留下几篇？抄两遍的为什么通过了？去重那一步拦得住它吗？拼起来的，前半没有帮上内容的忙，为什么也有通过的？
#
# **What to look for**: how many of each kind stay? Why does a text that is there twice pass? Would the step that drops duplicates have stopped it? And why do
# some pasted ones pass, though their first half is no help with the content?
#
# <details><summary>答案 · Answer</summary>
#
# 真的都该留下；抄两遍的也通过，因为后半可以照着前半抄，每个词元都容易。去重拦不住它：去重拿一页与另一页比，而这是一页之内的重复；
# 要靠困惑度之前的统计筛子（讲义同一节）。拼起来的：前半让模型提前知道了后半是什么语言、哪类页面，总会省下一点损失。所以课程的长文一步要求
# $\mathrm{PPL}(S_2 \mid S_1)$ 不只更小，还要小出一截。
#
# The true ones should all stay. A text that is there twice passes as well, because its second half can be copied from the first, and every token is easy. The
# step for duplicates would not have stopped it: it compares one page with another, and this repeats itself within a page; for that there is the statistical
# sieve before the perplexity (same section of the lecture). As to the pasted ones: their first half tells the model which language and which kind of page to
# expect, and that always saves a little loss. The course's own step for long texts therefore asks that $\mathrm{PPL}(S_2 \mid S_1)$ be smaller by a margin.
#
# </details>

# %% [markdown] name="leak-text"
# ## 7 漏题 · The leaked item
#
# 讲义 · Lecture 2：[第 8 节](../lectures/zh/02-data.md#8-去污染与泄漏) /
# [section 8](../lectures/en/02-data.md#8-decontamination-and-leakage)
#
# 抓取里有几页夹带了评测题，连同答案。
#
# **练习 8（3 分）** 写出 `overlap(item, page, n)`：题目 `item` 的 $n$ 元字符片段（去重之后）有多大比例也在页面 `page` 里。比较之前两边都 规范化：
# `unicodedata.normalize('NFKC', …)`、`casefold()`、去掉所有空白。题目比 $n$ 短，就整个算一个片段。
#
# **先预测**：分母该用题目的片段数，还是页面的？为什么？
#
# A few pages of the crawl hold test items with their answers.
#
# **Exercise 8 (3 points)** Write `overlap(item, page, n)`: the share of the different $n$-grams of characters of the test item `item` that the page `page` has,
# too. Before comparing, normalise both: `unicodedata.normalize('NFKC', …)`, `casefold()`, and no white space at all. An item shorter than $n$ counts as one
# piece.
#
# **Predict**: whose pieces belong in the denominator, the item's or the page's, and why?

# %% [markdown] name="leak-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="leak" exercise=true
def overlap(item: str, page: str, n: int) -> float:
    ### BEGIN SOLUTION
    import unicodedata

    def normal(text: str) -> str:
        return ''.join(unicodedata.normalize('NFKC', text).casefold().split())

    item, page = normal(item), normal(page)
    n = min(n, len(item))
    grams = {item[i:i + n] for i in range(len(item) - n + 1)}
    return sum(gram in page for gram in grams) / len(grams)
    ### END SOLUTION

# %% name="leak-light"
self_check(overlap, own.overlap,
           [('What is 2 + 3?', 'they asked:  WHAT IS 2+3?', 4),
            ('２＋３＝５', '算一算 2+3=5。', 8), ('abcd', 'abxcd', 2),
            ('ab', 'xaby', 5)],
           hint='NFKC 让全角变半角；空白全部去掉；分母是题目的片段数 · NFKC narrows '
                "full-width letters; drop all white space; divide by the item's "
                'pieces.')
overlap_used = attempt(overlap, own.overlap)

from internlm_course.data.contamination import read_items

items = read_items(crawl.path / 'items')
held = random.Random(0).sample([name for name, row in truth.items()
                                if row['label'] == 'clean' and name in texts], 120)
held += [name
         for name, row in truth.items() if row['label'] == 'leak' and name in texts]
best = {name: max((overlap_used(f'{item["prompt"]} {item["answer"]}', texts[name], 13),
                   item['id']) for item in items) for name in held}
leaks = sum(truth[name]['label'] == 'leak' for name in held)
for name, (share, item) in sorted(best.items(),
                                  key=lambda entry: -entry[1][0])[leaks - 6:leaks + 8]:
    print(f'{share:4.0%}  {item:17} {truth[name]["label"]:6} {texts[name][-60:]!r}')
dropped = {document['id']
           for document in documents(corpus.path / 'dropped' / 'contamination')}
left = sum(truth[document['id']]['label'] == 'leak'
           for document in documents(corpus.path / 'clean'))
print(f'the pipeline dropped {len(dropped)} pages for contamination; '
      f'leaks still in the corpus: {left}')

# %% name="leak-plot"
made, axes = plots.figure(6, 2.8)
for label, colour, words in (('clean', '0.6', plots.label('好页', 'good pages')),
                             ('leak', 'C3',
                              plots.label('夹带考题的页', 'pages with an item'))):
    shares = [share
              for name, (share, _) in best.items() if truth[name]['label'] == label]
    axes.hist(shares, bins=[i / 20 for i in range(22)], color=colour, label=words,
              alpha=0.8)
axes.set(xlabel=plots.label('与最像的考题的重合', 'overlap with the nearest item'),
         ylabel=plots.label('页数', 'pages'))
axes.legend(frameon=False)
plots.show(made, 'Overlap of good pages and of pages with an item with the item '
                 'nearest to them')

# %% name="check-leak" check="leak" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('leak')
QUESTIONS = ['What is the capital of Peru? Lima', '法国的首都是哪里？巴黎', '47+38=85',
             'Tom has ３ apples and buys 4. Now Tom has 7 apples.']
cases = [('What is 2 + 3?', 'they asked:  WHAT IS 2+3?', 4),
         ('２＋３＝５', '算一算 2+3=5。', 8), ('ab', 'xaby', 5), ('ab', 'xa', 5),
         ('abcd', 'abxcd', 2)]
for _ in range(6):
    question, other = rng.sample(QUESTIONS, 2)
    at = rng.randrange(2, len(question))
    cases.append((question, f'{other} {question[:at].upper()}\n'
                            f'{question[at:at + rng.randrange(9)]} '
                            f'{rng.randrange(1000)}', rng.randrange(3, 9)))
lab.check('leak', overlap=(overlap, own.overlap, cases))

# %% [markdown] name="leak-look"
# **看什么**：好页与考题的重合并不是零，因为题目有套路。界线划在哪里？换一种说法的漏题，这个办法看得见吗？
#
# **What to look for**: good pages overlap with items, too, because questions follow patterns. Where would you draw the line? And would a leaked item in other
# words be seen?
#
# <details><summary>答案 · Answer</summary>
#
# 用题目的片段数：整道题都在页面里，比例就是 1，不管页面多长；用页面的，长页夹带一整道题也只占一点点。界线划在好页最高的重合与 1 之间：
# 划低了冤枉照套路写的好页，划高了放过改了几个字的题。换一种说法就看不见了：片段是一个字一个字比的。查过，不等于干净。
#
# The item's: an item that is all there then has a share of 1, however long the page; by the page's, a long page with a whole item would have next to nothing.
# The line belongs between the highest overlap of a good page and 1: lower, and good pages that follow a pattern are accused; higher, and items with a few
# letters changed get through. In other words it is not seen: pieces are compared letter by letter. Checked is not yet clean.
#
# </details>

# %% [markdown] name="end-text"
# ## 结束 · The end
#
# 看看这一趟花了多少时间和内存（内核与它启动的所有进程的匿名内存）。
#
# See what it took: seconds, and the anonymous memory of the kernel and of everything it started.

# %% name="end"
lab.finish()
