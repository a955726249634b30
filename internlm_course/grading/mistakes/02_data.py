"""Known-wrong answers to the exercises of lab 2."""
from internlm_course.grading.mistakes import Mistake

RATES = """
def rates(before, dropped, bad):
    right = len(dropped & bad)
    precision = {precision}
    recall = {recall}
    return {order}
"""


def rates(precision='right / len(dropped) if dropped else None',
          recall='right / len(before & bad) if before & bad else None', order='precision, recall'):
    return RATES.format(precision=precision, recall=recall, order=order)


RULE = """
import re


def decorated(text):
    lines = {lines}
    separators = [line for line in lines if {separator}]
    return {verdict}
"""


def rule(lines='[line.strip() for line in text.splitlines() if line.strip()]',
         separator='len(line) >= 3 and not any(map(str.isalnum, line))', verdict='len(separators) > len(lines) / 5'):
    return RULE.format(lines=lines, separator=separator, verdict=verdict)


THRESHOLD = """
def lowest_threshold(scores, bad, wanted):
    for threshold in {candidates}:
        gone = [is_bad for score, is_bad in zip(scores, bad) if score {above} threshold]
        if gone and {enough}:
            return threshold
    return {none}
"""


def threshold(candidates='sorted(set(scores))', above='>=', enough='sum(gone) / len(gone) >= wanted', none='None'):
    return THRESHOLD.format(candidates=candidates, above=above, enough=enough, none=none)


DOWNWARD = """
def lowest_threshold(scores, bad, wanted):
    best = None
    for threshold in sorted(set(scores), reverse=True):
        gone = [is_bad for score, is_bad in zip(scores, bad) if score >= threshold]
        if sum(gone) / len(gone) < wanted:
            break
        best = threshold
    return best
"""
ONE_BY_ONE = """
def lowest_threshold(scores, bad, wanted):
    best, right = None, 0
    for place, (score, is_bad) in enumerate(sorted(zip(scores, bad), reverse=True), 1):
        right += is_bad
        if right / place >= wanted:
            best = score
    return best
"""
SIGNATURE = """
def signature(numbers, hashes):
    return {signature}


def resemblance(one, other):
    return {resemblance}
"""


def signature(signature='[min((a * x + b) % own.PRIME for x in numbers) for a, b in hashes]',
              resemblance='sum(a == b for a, b in zip(one, other)) / len(one)'):
    return SIGNATURE.format(signature=signature, resemblance=resemblance)


CUT = """
def found(s, b, r):
    return {found}


def cut(hashes, similarity, wanted):
    for r in {rows}:
        if hashes % r == 0 and found(similarity, hashes // r, r) >= wanted:
            return {pair}
    return {none}
"""


def cut(found='1 - (1 - s**r) ** b', rows='range(hashes, 0, -1)', pair='hashes // r, r', none='None'):
    return CUT.format(found=found, rows=rows, pair=pair, none=none)


ORDER = """
def reading_order(imports):
    placed, waiting = [], sorted(imports)
    while waiting:
        ready = [file for file in waiting if all({settled} for name in imports[file])]
        if not ready:
            break
        for file in {next}:
            placed.append(file)
            waiting.remove(file)
    return {whole}
"""


def order(settled='name in placed or name not in imports', next='ready[:1]', whole='placed + waiting'):
    return ORDER.format(settled=settled, next=next, whole=whole)


DEPTH_FIRST = """
def reading_order(imports):
    placed = []

    def place(file, above):
        for name in sorted(imports[file]):
            if name in imports and name not in above:
                place(name, above | {name})
        if file not in placed:
            placed.append(file)

    for file in sorted(imports):
        place(file, {file})
    return placed
"""
PERPLEXITY = """
import math


def earns_its_length(whole, alone, split):
    def perplexity(losses):
        return {perplexity}

    given, own_ppl = perplexity({second}), perplexity(alone)
    return dict(given=given, alone=own_ppl, keep={keep})
"""


def perplexity(perplexity='math.exp(sum(losses) / len(losses))', second='whole[split:]', keep='given < own_ppl'):
    return PERPLEXITY.format(perplexity=perplexity, second=second, keep=keep)


LEAK = """
import unicodedata


def overlap(item, page, n):
    def normal(text):
        return {normal}

    item, page = normal(item), normal(page)
    n = {n}
    grams = {{item[i:i + n] for i in range(len(item) - n + 1)}}
    theirs = {{page[i:i + n] for i in range(len(page) - n + 1)}}
    return {share}
"""


def leak(normal="''.join(unicodedata.normalize('NFKC', text).casefold().split())", n='min(n, len(item))',
         share='len(grams & theirs) / len(grams)'):
    return LEAK.format(normal=normal, n=n, share=share)


MISTAKES = dict(
    rates=dict(rates=[
        Mistake('recall-over-the-whole-crawl', rates(recall='right / len(bad) if bad else None'),
                'Look at the denominator of recall: can a step drop a page that never reached it?',
                '看看查全率的分母：没到这一步的页，这一步丢得了吗？'),
        Mistake('precision-over-arrivals', rates(precision='right / len(before) if before else None'),
                'Say in words of which pages precision is the share, and look at its denominator again.',
                '用一句话说出查准率是“哪些页”里的比例，再看看它的分母。'),
        Mistake('precision-and-recall-exchanged', rates(order='recall, precision'),
                'Compare the order of the two numbers that you return with the order in the exercise.',
                '核对返回的两个数的次序和题目是否一致。'),
        Mistake('accuracy-for-precision', rates(precision='(right + len(before - dropped - bad)) / len(before) if '
                                                          'dropped else None'),
                'You count pages that were rightly kept, too: look about which pages precision asks.',
                '你把留得对的页也算进去了：看看查准率只问哪些页。'),
        Mistake('perfect-where-nothing-was-dropped', rates(precision='right / len(dropped) if dropped else 1.0'),
                'Try a step that drops nothing: is there anything a share of which could be right?',
                '试试一页也没丢的一步：这时还有什么可以算比例吗？')]),
    rule=dict(decorated=[
        Mistake('blank-lines-count', rule(lines='[line.strip() for line in text.splitlines()]'),
                'Put ten empty lines into a page: may the verdict change because of them?',
                '往页面里加十个空行：结论可以因此改变吗？'),
        Mistake('a-fifth-is-too-much', rule(verdict='bool(lines) and len(separators) >= len(lines) / 5'),
                'Try five lines of which one is a separator, and read the condition once more.',
                '拿五行里一行是分隔线的页试一试，再读一遍条件。'),
        Mistake('hanzi-are-no-letters', rule(separator="len(line) >= 3 and not re.search('[A-Za-z0-9]', line)"),
                'Try a page that is all in Chinese: which of its lines do you take for separators?',
                '拿一页纯中文试一试：哪些行被你当成了分隔线？'),
        Mistake('two-signs-are-a-separator', rule(separator='len(line) >= 2 and not any(map(str.isalnum, line))'),
                'Try a line of two signs, and read again how long a separator is at least.',
                '拿只有两个符号的一行试一试，再读一遍分隔线至少要多长。'),
        Mistake('one-separator-is-enough', rule(verdict='len(separators) > 0'),
                'Take a long page with a single separator: does the rule mean such a page?',
                '一页长文里只有一条分隔线：规则要丢的是这样的页吗？')]),
    threshold=dict(lowest_threshold=[
        Mistake('stops-at-the-first-failure', DOWNWARD,
                'Precision is not monotone: where one threshold fails, can a lower one not succeed again?',
                '查准率不是单调的：一个阈值不行，更低的就一定不行吗？'),
        Mistake('splits-equal-scores', ONE_BY_ONE,
                'Try two pages of the same score: can any threshold drop the one and keep the other?',
                '拿分数相同的两页试一试：有哪个阈值能只丢其中一页吗？'),
        Mistake('highest-threshold', threshold(candidates='sorted(set(scores), reverse=True)'),
                'Several thresholds are precise enough: which of them drops most of the bad pages?',
                '够准的阈值不止一个：哪一个丢掉的坏页最多？'),
        Mistake('threshold-itself-stays', threshold(above='>'),
                'Look at a page whose score is exactly the threshold: does it go, or does it stay?',
                '看看分数恰好等于阈值的页：该丢还是该留？'),
        Mistake('asks-for-recall', threshold(candidates='sorted(set(scores), reverse=True)',
                                             enough='sum(gone) >= wanted * sum(bad)'),
                'Say of which pages wanted is the share: of those that are dropped, or of those that are bad?',
                '说一说 wanted 是在哪些页里占的比例：丢掉的页，还是坏页？'),
        Mistake('highest-score-where-there-is-none', threshold(none='max(scores)'),
                'Try pages none of which is bad: what shall be returned where no threshold will do?',
                '拿一页坏页也没有的情形试一试：没有合适的阈值时该返回什么？')]),
    signature=dict(
        signature=[
            Mistake('largest-hash', signature(signature='[max((a * x + b) % own.PRIME for x in numbers) for a, b in '
                                                        'hashes]'),
                    'Look which one of the hashes over the set is to be kept.',
                    '看看整个集合的哈希值里，要留下的是哪一个。'),
            Mistake('hash-of-the-smallest-number', signature(signature='[(a * min(numbers) + b) % own.PRIME for a, b '
                                                                       'in hashes]'),
                    'Work through three numbers by hand: has the smallest number the smallest hash, too?',
                    '拿三个数手算一遍：最小的数，哈希值也最小吗？'),
            Mistake('no-modulus', signature(signature='[min(a * x + b for x in numbers) for a, b in hashes]'),
                    'Look how large a hash can become, and where p comes into the formula.',
                    '看看哈希值最大能有多大，p 用在公式的哪里。'),
            Mistake('sorted-signature', signature(signature='sorted(min((a * x + b) % own.PRIME for x in numbers) for '
                                                            'a, b in hashes)'),
                    'Each place of a signature belongs to one hash function: does your order still tell to which?',
                    '签名的每个位置属于一个哈希函数：按你的次序还看得出是哪一个吗？')],
        resemblance=[
            Mistake('signatures-as-sets', signature(resemblance='len(set(one) & set(other)) / len(set(one) | '
                                                                'set(other))'),
                    'Look what is compared: two heaps of values, or two values that the same hash function gave?',
                    '看看比的是什么：两堆数，还是同一个哈希函数给出的两个数？'),
            Mistake('values-in-common-anywhere', signature(resemblance='sum(a in other for a in one) / len(one)'),
                    'Try [1, 2] and [2, 1]: at how many places do they agree?',
                    '拿 [1, 2] 和 [2, 1] 试一试：有几个位置上相等？')]),
    cut=dict(
        found=[
            Mistake('bands-in-the-exponent-of-s', cut(found='1 - (1 - s**b) ** r'),
                    'Ask how many values must agree within one band, and how many bands there are to try.',
                    '想一想一段之内要有几个值相等，一共又有几段可试。'),
            Mistake('chance-of-one-band', cut(found='s**r'),
                    'This is the chance of one given band: how many bands may the pair try?',
                    '这是指定一段全同的概率：这一对有几段可试？'),
            Mistake('all-bands-must-agree', cut(found='(s**r) ** b'),
                    'Read again what makes a pair a candidate: how many of its bands must agree?',
                    '再读一遍怎样的一对才要比：要有几段全同？')],
        cut=[
            Mistake('shortest-bands', cut(rows='range(1, hashes + 1)'),
                    'Several cuts find the pair: look which one is preferred, and in which order you try them.',
                    '找得到这一对的切法不止一种：看看题目要哪一种，你又按什么次序试。'),
            Mistake('rows-and-bands-exchanged', cut(pair='r, hashes // r'),
                    'Compare the order of the two numbers that you return with the one asked for.',
                    '核对返回的两个数：哪个是段数，哪个是段长？'),
            Mistake('a-cut-where-there-is-none', cut(none='(hashes, 1)'),
                    'Try two hashes and a similarity of 0.1: with what chance does your cut find the pair?',
                    '拿 2 个哈希函数、相似度 0.1 试一试：你给的切法有多大机会找到这一对？')]),
    order=dict(reading_order=[
        Mistake('importer-first', order(whole='(placed + waiting)[::-1]'),
                'One reads from the front: when a file imports another, which of the two should come earlier?',
                '读者从前往后读：一个文件引用另一个，谁该在前？'),
        Mistake('alphabetical', order(settled='True'),
                'Let a file import one that comes later in the alphabet: does your order take any notice?',
                '让一个文件引用字母排在它后面的：你的次序理会这一点吗？'),
        Mistake('in-layers', order(next='ready'),
                'A file that was just placed may have made another one ready: when do you look again?',
                '刚放下一个文件，也许就有新的可以放了：你什么时候再看一遍？'),
        Mistake('waits-for-what-is-outside', order(settled='name in placed'),
                'Try a file that imports os: for whom does it wait?',
                '拿一个引用 os 的文件试一试：它在等谁？'),
        Mistake('loses-circles', order(whole='placed'),
                'Try two files that import each other: are all files in your list?',
                '拿互相引用的两个文件试一试：你的列表里文件齐了吗？'),
        Mistake('depth-first', DEPTH_FIRST,
                'Look how you choose the next among all that are ready: by the alphabet, or by who was just asked for?',
                '看看下一个是怎么选的：在所有可以放的里按字母选，还是谁刚被引用就选谁？')]),
    perplexity=dict(earns_its_length=[
        Mistake('averages-the-whole-document', perplexity(second='whole'),
                'Look over which tokens you average: of which text is PPL(S2 | S1) the perplexity?',
                '看看你对哪些词元取平均：PPL(S2 | S1) 是哪一段文本的困惑度？'),
        Mistake('mean-of-exponentials', perplexity(perplexity='sum(map(math.exp, losses)) / len(losses)'),
                'Look at the order of your two steps, mean and exponential, and at the order in the definition.',
                '看看取平均和取指数谁先谁后，再对照定义里的次序。'),
        Mistake('sum-for-mean', perplexity(perplexity='math.exp(sum(losses))'),
                'Take a text twice as long with the same loss at each token: should its perplexity grow?',
                '文本长一倍，每个词元的损失不变：困惑度该变大吗？'),
        Mistake('keeps-what-does-not-help', perplexity(keep='given > own_ppl'),
                'Look at keep: does the perplexity of S2 fall or rise when S1 helps?',
                '看看 keep：S1 有帮助时，S2 的困惑度是变小还是变大？'),
        Mistake('first-half', perplexity(second='whole[:split]'),
                'Look on which side of split the tokens of S2 stand.',
                '看看 S2 的词元在 split 的哪一边。'),
        Mistake('bits-for-nats', perplexity(perplexity='2 ** (sum(losses) / len(losses))'),
                'The losses are in nats: which base belongs to that unit?',
                '损失的单位是奈特：这个单位对应的底数是什么？')]),
    leak=dict(overlap=[
        Mistake('pages-pieces-in-the-denominator', leak(share='len(grams & theirs) / max(len(theirs), 1)'),
                'Make the page ten times as long: is less of the item given away by that?',
                '把页面加长十倍：题目泄漏的部分会因此变少吗？'),
        Mistake('jaccard', leak(share='len(grams & theirs) / max(len(grams | theirs), 1)'),
                'Take a long page that holds the whole item: which share do you get, and which should it be?',
                '拿包含整道题的一长页试一试：你得到多大的比例，应该是多大？'),
        Mistake('full-width-letters-stay', leak(normal="''.join(text.casefold().split())"),
                'Try ２＋３ and 2+3: which step of the normalisation makes them the same?',
                '拿“２＋３”和“2+3”试一试：规范化的哪一步让它们相同？'),
        Mistake('capitals-stay', leak(normal="''.join(unicodedata.normalize('NFKC', text).split())"),
                'Try WHAT and what: which step of the normalisation makes them the same?',
                '拿 WHAT 和 what 试一试：规范化的哪一步让它们相同？'),
        Mistake('white-space-stays', leak(normal="unicodedata.normalize('NFKC', text).casefold()"),
                'Try 2 + 3 and 2+3: what still makes them differ?',
                '拿“2 + 3”和“2+3”试一试：它们还差在哪里？'),
        Mistake('short-item-is-never-found', leak(n='n', share='len(grams & theirs) / len(grams) if grams else 0.0'),
                'Try an item that is shorter than n: how many pieces has it by the exercise?',
                '拿比 n 还短的题目试一试：按规定它有几个片段？')]))
