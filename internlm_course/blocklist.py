"""Blocked domains and words: bad pages of the world have them, the safety filters look for them.

Real lists hold sites and words that no course should print. These stand for them: domains under `.example`, which
nobody can register, and compounds that no language has.
"""
BLOCKED = frozenset(f'{name}.example' for name in (
    'lucky-wheel', 'night-casino', 'fast-credit', 'free-serials', 'click-farm', 'copied-homework', 'miracle-cure',
    'fake-diploma'))
WORDS = ('grobnik', 'vexdrop', 'snarlgas', 'murkpowder', 'shadowcoin mixer', 'quellstab', 'dreadleaf', 'forgepass',
         '幽萤丸', '黑鲨签', '乌骨贷', '暗门券', '迷雾粉', '假章坊', '雷管糖', '夜狐群')
