"""Known-wrong answers to the exercises of lab 2, each a mistake that students make: {exercise: {the mistake: the
cell}}."""

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


WRONG = dict(
    rates={
        'recall over all bad pages of the crawl': rates(recall='right / len(bad) if bad else None'),
        'precision over the pages that arrived': rates(precision='right / len(before) if before else None'),
        'the two exchanged': rates(order='recall, precision'),
        'accuracy instead of precision': rates(precision='(right + len(before - dropped - bad)) / len(before) if '
                                                         'dropped else None'),
        'perfect where nothing was dropped': rates(precision='right / len(dropped) if dropped else 1.0')},
    rule={
        'blank lines count': rule(lines='[line.strip() for line in text.splitlines()]'),
        'a fifth is too much': rule(verdict='bool(lines) and len(separators) >= len(lines) / 5'),
        'hanzi are no letters': rule(separator="len(line) >= 3 and not re.search('[A-Za-z0-9]', line)"),
        'two signs are a separator': rule(separator='len(line) >= 2 and not any(map(str.isalnum, line))'),
        'one separator is enough': rule(verdict='len(separators) > 0')},
    threshold={
        'stops at the first that fails, from above': DOWNWARD,
        'splits pages of equal score': ONE_BY_ONE,
        'the highest, with the least recall': threshold(candidates='sorted(set(scores), reverse=True)'),
        'the threshold itself stays': threshold(above='>'),
        'asks for recall': threshold(candidates='sorted(set(scores), reverse=True)',
                                     enough='sum(gone) >= wanted * sum(bad)'),
        'the highest score where there is none': threshold(none='max(scores)')},
    signature={
        'the largest hash': signature(signature='[max((a * x + b) % own.PRIME for x in numbers) for a, b in hashes]'),
        'the hash of the smallest': signature(signature='[(a * min(numbers) + b) % own.PRIME for a, b in hashes]'),
        'no modulus': signature(signature='[min(a * x + b for x in numbers) for a, b in hashes]'),
        'sorted, so that places are lost': signature(
            signature='sorted(min((a * x + b) % own.PRIME for x in numbers) for a, b in hashes)'),
        'Jaccard of the signatures as sets': signature(
            resemblance='len(set(one) & set(other)) / len(set(one) | set(other))'),
        'values in common, wherever they stand': signature(resemblance='sum(a in other for a in one) / len(one)')},
    cut={
        'the shortest bands': cut(rows='range(1, hashes + 1)'),
        'rows and bands exchanged': cut(pair='r, hashes // r'),
        'bands in the exponent of s': cut(found='1 - (1 - s**b) ** r'),
        'the chance of one band only': cut(found='s**r'),
        'all bands must agree': cut(found='(s**r) ** b'),
        'a cut where there is none': cut(none='(hashes, 1)')},
    order={
        'the importer first': order(whole='(placed + waiting)[::-1]'),
        'alphabetical': order(settled='True'),
        'in layers': order(next='ready'),
        'waits for what is outside': order(settled='name in placed'),
        'loses circles': order(whole='placed'),
        'depth first': DEPTH_FIRST},
    perplexity={
        'averages the whole document': perplexity(second='whole'),
        'the mean of exponentials': perplexity(perplexity='sum(map(math.exp, losses)) / len(losses)'),
        'the sum instead of the mean': perplexity(perplexity='math.exp(sum(losses))'),
        'keeps what S1 does not help': perplexity(keep='given > own_ppl'),
        'the first half': perplexity(second='whole[:split]'),
        'bits for nats': perplexity(perplexity='2 ** (sum(losses) / len(losses))')},
    leak={
        "the page's pieces in the denominator": leak(share='len(grams & theirs) / max(len(theirs), 1)'),
        'Jaccard': leak(share='len(grams & theirs) / max(len(grams | theirs), 1)'),
        'full-width letters stay': leak(normal="''.join(text.casefold().split())"),
        'capitals stay': leak(normal="''.join(unicodedata.normalize('NFKC', text).split())"),
        'white space stays': leak(normal="unicodedata.normalize('NFKC', text).casefold()"),
        'a short item is never found': leak(n='n', share='len(grams & theirs) / len(grams) if grams else 0.0')},
)
