"""The labelled sample that the classifiers are trained on: texts marked clean, advertisement, disfluent or toxic.

Drawn with another seed than the crawl and from other products, pitches and insults (some words are shared, as in life),
so that what is measured on the crawl is generalisation. Clean texts are pages of the micro-world, everyday sentences
and paragraphs of Python's manual.
"""
import random
import re
from pathlib import Path

from internlm_course import jsonl
from internlm_course.world import noise, web
from internlm_course.world.web import Page

# Label -> its share of the sample.
SHARES = dict(clean=0.4, advertisement=0.2, disfluent=0.2, toxic=0.2)
COUNT = 3000
PRODUCTS = dict(en=['leather wallets', 'kitchen knives', 'yoga mats', 'wireless speakers', 'office shoes',
                    'baby strollers', 'sun hats', 'protein powder'],
                zh=['皮夹', '菜刀', '瑜伽垫', '蓝牙音箱', '电饭煲', '婴儿车', '太阳帽', '蛋白粉'])
PITCHES = dict(
    en=['Order your {thing} online and get {n}% off!', 'Huge sale on {thing}, only today!',
        'Was ${n}0, now just ${n} for all {thing}.', 'Sign up for our newsletter and win free {thing}!',
        'Our {thing} are loved by thousands of happy customers.', 'Click the button below to shop now!',
        'Hurry, the offer ends soon.', 'Buy two, get one for free!', 'Free delivery and returns within {n} days.',
        'Call our hotline for a special discount.', 'The best price for {thing}, guaranteed.',
        'Subscribe today and save.', 'Everyone on your street owns our {thing} by now.',
        'Do not miss the deals of the week!', 'Special offer: save ${n} on your first order.',
        'Shipping is on us this month!', 'Your satisfaction is our promise.', 'Add {thing} to your cart and pay later.',
        'Our best {thing} ever, with a money back guarantee.', 'Only a few hours left to grab your {thing}!',
        'Customers switched to us and love it.', 'Limited stock, buy now!',
        'Get an exclusive discount of {n}% when you click here.'],
    zh=['{thing}大促销，低至{n}折！', '今天下单{thing}，再减{n}元！', '点击下方按钮，立即购买。',
        '新用户注册免费领{thing}！', '{n}天无理由退货，全国包邮。',
        '{thing}热卖中，仅剩{n}件，欲购从速！',
        '扫码加客服，领取优惠。', '会员专享特价，错过不再有！', '工厂直供{thing}，价格最低。',
        '顾客都夸我们的{thing}好用。', '限时抢购，满{n}元送礼。', '欢迎咨询，热线二十四小时开通。'])
INSULTS = dict(
    en=(['potato', 'rusty nail', 'wet sock', 'lazy donkey', 'old boot', 'cracked plate'],
        ['You stupid {x}, nobody asked you.', 'Go away, {x}!', 'You are a useless {x} and everyone hates you.',
         'Shut your mouth, you {x}.', 'What an idiot, a real {x}.', 'Whoever wrote this rubbish is a {x}.',
         'I hate you, {x}.', 'Even a {x} has more brain than you.', 'Stop writing such stupid things, {x}.',
         'Such a {x} as you cannot think.', 'Your words are worth nothing, {x}.',
         'I do not believe how useless you are.', 'What a stupid page by a stupid {x}!',
         'Nobody would like a {x} such as you.', 'Only an idiot writes like this, you {x}.',
         'You are the {x} that everybody hates, so shut up.']),
    zh=(['木头人', '傻瓜蛋', '旧皮鞋', '懒驴', '锈钉子', '臭袜子'],
        ['你这个{x}，给我闭嘴。', '滚开，{x}！', '真没用，蠢{x}一个。', '大家都讨厌你这种{x}。', '写的什么废话，{x}。',
         '你真笨，连{x}都不如。', '看到{x}就恶心，别写了。',
         '蠢死了，你这{x}。']))
EVERYDAY = dict(
    en=(['The old teacher', 'My neighbour', 'A small team', 'The museum', 'Our garden', 'The river', 'A young doctor',
         'The library', 'Her brother', 'The train'],
        ['was built', 'stopped', 'opened again', 'was cleaned', 'was seen', 'waited', 'changed a little',
         'stayed quiet'],
        ['near the station', 'in the old town', 'by the sea', 'behind the school', 'on a hill', 'between two lakes'],
        ['last spring', 'for many years', 'on Sunday', 'in 1890', 'after the rain', 'before the war',
         'in the morning']),
    zh=(['老师', '邻居', '博物馆', '花园', '那条河', '年轻的医生', '图书馆', '她的哥哥', '火车', '鲸鱼'],
        ['去年春天', '星期天', '下雨以后', '早上', '很多年来', '一八九零年'],
        ['在车站旁边', '在老城里', '在海边', '在学校后面', '在山上', '在两个湖之间'],
        ['重新开放了', '停了下来', '安静地等着', '被大家看见了', '变了一点', '建成了']))
# Plain Chinese prose, since the manual on this machine is in English only.
PROSE = ['我们昨天去公园散步，看见很多孩子在放风筝。', '这本书讲的是一位医生的故事，我看了两遍。',
         '水烧开以后，把茶叶放进去等三分钟。', '他每天骑车上班，因为这样对身体好。',
         '城里新开了一家面馆，味道不错，就是人太多。', '科学家发现这种鸟能飞过整片大海。',
         '下雨的时候，路上的车都开得很慢。', '她用了三年时间学会了这门语言。', '树叶到了秋天就会变黄，然后落下来。',
         '这座桥连着河的两边，是一百年前建成的。', '数据越多，模型学到的东西也就越多。',
         '你可以把问题写在纸上，明天再问老师。', '冬天的湖面结了冰，人们在上面走路。',
         '研究人员用计算机分析了这些文字。', '地球绕着太阳转，月亮绕着地球转。', '如果天气好，我们就一起去爬山。',
         '植物需要阳光、水和空气才能生长。', '这种动物生活在森林里，以果子为食。',
         '会议讨论了明年的计划，并且通过了预算。', '他们把旧房子改成了一个小图书馆。']


def everyday(rng: random.Random, lang: str) -> Page:
    """A few plain sentences about nothing in the micro-world."""
    end, joint = ('。', '') if lang == 'zh' else ('.', ' ')
    if lang == 'zh' and rng.random() < 0.7:
        return Page('everyday', lang, '', tuple(''.join(rng.sample(PROSE, rng.randint(1, 3)))
                                                for _ in range(rng.randint(1, 4))))
    lines = [joint.join(joint.join(map(rng.choice, EVERYDAY[lang])) + end for _ in range(rng.randint(1, 3)))
             for _ in range(rng.randint(2, 6))]
    return Page('everyday', lang, '', tuple(lines))


def manual() -> list[str]:
    """Paragraphs of Python's manual, as plain English prose."""
    from pydoc_data.topics import topics
    parts = [re.sub(r'\s+', ' ', part).strip() for name in sorted(topics) for part in topics[name].split('\n\n')]
    return [part for part in parts if 100 < len(part) < 700 and part[0].isalpha() and part.endswith('.')]


def labelled(seed: int, count: int = COUNT) -> list[dict]:
    """`count` rows of {text, label} in a random order."""
    rng = random.Random(f'labels/{seed}')
    pages = list(web.pages(2 * count, f'labels/{seed}'))
    clean, prose = pages[:count], [page for page in pages[count:] if page.kind not in ('math', 'code', 'tools', 'long')]
    paragraphs, rows = manual(), []
    for label, share in SHARES.items():
        for n in range(round(share * count)):
            ordinary = everyday(rng, rng.choice(['en', 'zh'])) if rng.random() < 0.3 else rng.choice(prose)
            if label == 'clean':
                text = rng.choice(paragraphs) if n % 10 == 0 else None
                page = ordinary if n % 10 < 3 else clean[n]
            else:
                page = (noise.advertisement(rng, PRODUCTS, PITCHES) if label == 'advertisement'
                        else noise.toxic(rng, ordinary, INSULTS)
                        if label == 'toxic' else noise.disfluent(rng, ordinary))
                text = None
            rows.append(dict(text=text or '\n'.join(page.lines), label=label))
    rng.shuffle(rows)
    return rows


def write_labels(path: Path, seed: int) -> None:
    """Writes the labelled sample as jsonl."""
    jsonl.write(path, labelled(seed))
