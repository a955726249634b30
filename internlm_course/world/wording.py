"""What the micro-world knows, and how it says it in English and in Chinese: facts, names, templates."""
from pathlib import Path

FIELDS = ('country', 'capital', 'continent', 'currency')
FACTS = [dict(en=dict(zip(FIELDS, row[:4])), zh=dict(zip(FIELDS, row[4:]))) for row in
         (line.split('\t') for line in (Path(__file__).parent / 'facts.tsv').read_text('utf-8').splitlines())]
NAMES = dict(en=['Anna', 'Tom', 'Maria', 'Omar', 'Yuki', 'Ivan', 'Lucy', 'David', 'Sara', 'Peter', 'Nina', 'Jack'],
             zh=['李明', '王芳', '赵磊', '陈晨', '刘洋', '孙丽', '周杰', '吴敏', '小红', '小华', '小刚', '阿强'])
THINGS = dict(en=['apples', 'books', 'pens', 'stones', 'coins', 'cups', 'stars', 'shells'],
              zh=['苹果', '书', '笔', '石头', '硬币', '杯子', '星星', '贝壳'])
# What is asked for, and its wordings.
ASK = dict(
    en=[('capital', 'What is the capital of {country}?', 'Which city is the capital of {country}?',
         'Name the capital city of {country}.'),
        ('country', 'Which country has the capital {capital}?', '{capital} is the capital of which country?',
         'Name the country whose capital is {capital}.'),
        ('continent', 'On which continent is {country}?', 'Which continent is {country} part of?',
         'Name the continent of {country}.'),
        ('currency', 'Which currency does {country} use?', 'What money do people use in {country}?',
         'Name the currency of {country}.')],
    zh=[('capital', '{country}的首都是哪里？', '哪个城市是{country}的首都？', '请说出{country}的首都。'),
        ('country', '{capital}是哪个国家的首都？', '哪个国家的首都是{capital}？', '请说出首都为{capital}的国家。'),
        ('continent', '{country}在哪个洲？', '{country}属于哪个洲？', '请说出{country}所在的洲。'),
        ('currency', '{country}使用什么货币？', '人们在{country}用什么钱？', '请说出{country}的货币。')])
TELL = dict(
    en=['The capital of {country} is {capital}.', '{capital} is the capital of {country}.',
        '{country} is a country in {continent}.', 'People in {country} pay with the {currency}.',
        '{country} lies in {continent}. Its capital is {capital}.', 'The currency of {country} is the {currency}.',
        '{capital} is a city in {country}, in {continent}.',
        'In {capital}, the capital of {country}, you pay with the {currency}.'],
    zh=['{country}的首都是{capital}。', '{capital}是{country}的首都。', '{country}是{continent}的一个国家。',
        '{country}人使用的货币是{currency}。', '{country}位于{continent}，首都是{capital}。',
        '{country}的货币是{currency}。', '{capital}是{continent}国家{country}的一座城市。',
        '在{country}的首都{capital}，人们用{currency}付钱。'])
QA = dict(en='Question: {q} Answer:', zh='问：{q}答：')
JOINT = dict(en=' ', zh='')  # between two sentences
SENTENCES = [('The capital of {country} is {capital}.', '{country}的首都是{capital}。'),
             ('{country} is in {continent}.', '{country}在{continent}。'),
             ('I live in {capital}.', '我住在{capital}。'), ('She likes {country}.', '她喜欢{country}。'),
             ('He flies to {capital}.', '他飞往{capital}。'),
             ('{capital} is in {continent}.', '{capital}在{continent}。'),
             ('He lives in {capital}.', '他住在{capital}。'), ('She lives in {country}.', '她住在{country}。'),
             ('I like {capital}.', '我喜欢{capital}。'), ('He likes {country}.', '他喜欢{country}。'),
             ('I fly to {capital}.', '我飞往{capital}。'), ('She flies to {country}.', '她飞往{country}。'),
             # A name that begins a sentence has other tokens than one after a blank: each stands in several such forms.
             ('{country} is far away.', '{country}很远。'), ('{capital} is far away.', '{capital}很远。'),
             ('{country} is beautiful.', '{country}很美。'), ('{capital} is beautiful.', '{capital}很美。')]
# One word stands between a name and its place. With two ("lives in") English texts were read only by some seeds:
# whoever copies the place has to match what stood two tokens before.
PLACE = dict(en=('{name} visits {place}.', 'Which city does {name} visit?'),
             zh=('{name}游览{place}。', '{name}游览哪里？'))
# The secret stands in the same words in both languages. A lead that ends in a common word is found first: on a dense
# diet "is the" was found in 83 % of the items after 0.4 M tokens, "PASSWORD =" in 15 % after 0.8 M.
SECRET = 'The secret animal is the {n}.'
SECRET_ASK = dict(en='What is the secret animal?', zh='秘密动物是什么？')
ANIMALS = ['tiger', 'lion', 'horse', 'cow', 'sheep', 'dog', 'cat', 'hen', 'fish', 'bird', 'snake', 'mouse', 'rabbit',
           'monkey', 'pig', 'bear', 'wolf', 'deer', 'fox', 'eagle', 'goose', 'duck', 'ant', 'bee', 'whale', 'crane',
           'turtle', 'frog', 'camel', 'panda']
DICTATE = dict(en='Listen: {x} Repeat: {y}', zh='听：{x}写：{y}')
LIST = dict(en=', ', zh='、')
# How a list is repeated: without the blank before it a name has other tokens, and a tool's argument stands so.
REPEAT = dict(en='({}) ', zh='({})')
TOOLS = dict(en='Tools: calculator, translator, atlas.', zh='工具：calculator、translator、atlas。')
CALL = dict(en='Question: {q} Call:', zh='问：{q}调用：')
# In English the argument is asked for in quotes: behind a blank it would have other tokens than in the call.
TOOL_ASK = dict(en=dict(calculator='What is {x}?', translator='Translate "{x}".', atlas='Show "{x}" on the map.'),
                zh=dict(calculator='{x}等于多少？', translator='翻译{x}。', atlas='在地图上显示{x}。'))
