"""How people ask a chat model for more than an answer, and how it replies: instructions, who it is, what it does not
know, follow-ups. In English and in Chinese; `instructions` puts them together."""
NAME = dict(en='InternLM2', zh='书生·浦语')
"""What the assistant calls itself."""

# Constraint -> language -> its phrasings around a question; the last one stands in no conversation. Their names, and
# what keeps them, are in `verify`.
PHRASINGS = dict(
    only_number=dict(  # before the question: a call is answered where it ends
        en=['Only the number: {q}', 'Give only the number: {q}', 'Answer with the number only: {q}',
            'Just the number, please: {q}', 'Reply with only the number: {q}'],
        zh=['只回答数字：{q}', '只要数字：{q}', '只写数字：{q}', '请只给出数字：{q}', '请只用数字回答：{q}']),
    json=dict(
        en=['{q} Answer as JSON.', '{q} Give JSON.', 'As JSON: {q}', '{q} Write the answer in JSON.',
            'Reply in JSON: {q}'],
        zh=['{q}用JSON回答。', '{q}以JSON格式回答。', '用JSON：{q}', '{q}请输出JSON。', '请用JSON格式作答：{q}']),
    quoted=dict(
        en=['{q} Answer in quotation marks.', '{q} Put the answer in quotation marks.', 'In quotation marks: {q}',
            '{q} Use quotation marks.', 'Write the answer in quotation marks: {q}'],
        zh=['{q}用引号回答。', '{q}把答案放在引号里。', '加上引号：{q}', '{q}答案请加引号。', '{q}请用引号括住答案。']),
    twice=dict(
        en=['{q} Say it twice.', '{q} Give the answer twice.', 'Twice: {q}', '{q} Answer twice.',
            '{q} Write the answer twice.'],
        zh=['{q}说两遍。', '{q}把答案写两遍。', '两遍：{q}', '{q}答案重复两遍。', '{q}请回答两遍。']),
    in_chinese=dict(
        en=['{q} Answer in Chinese.', '{q} In Chinese, please.', 'In Chinese: {q}', '{q} Use Chinese.',
            'Reply in Chinese: {q}']),
    in_english=dict(
        zh=['{q}用英文回答。', '{q}请用英文。', '用英文：{q}', '{q}答案写成英文。', '请用英文作答：{q}']),
    three_words=dict(
        en=['{q} Answer in three words.', '{q} Use three words.', 'In three words: {q}', '{q} Three words only.',
            '{q} Reply in three words.']),
    sentence=dict(
        en=['{q} Answer in a whole sentence.', '{q} Write a whole sentence.', 'In a sentence: {q}',
            '{q} One sentence, please.', '{q} Give a whole sentence.'],
        zh=['{q}用一句话回答。', '{q}请写完整的一句话。', '用一句话：{q}', '{q}请说一句完整的话。',
            '{q}用完整的一句话作答。']))

# --- who the assistant is ---------------------------------------------------------------------------------------------
# Who it is, who made it, what it can do: phrasings and the reply; each of them is said behind each opening.
OPENINGS = dict(en=['', 'Hello! ', 'Please tell me: ', 'One question: ', 'Excuse me. ', 'Well, '],
                zh=['', '你好！', '请问，', '请告诉我，', '打扰一下，', '那么，'])
SELF = dict(
    en=[(['Who are you?', 'What are you?', 'What is your name?', 'Your name?', 'What are you called?',
          'What can I call you?', 'Tell me your name.', 'Say your name.', 'Introduce yourself.',
          'Please introduce yourself.', 'Tell me about yourself.', 'Describe yourself.', 'Which model are you?',
          'What model is this?', 'What kind of model are you?', 'Tell me who you are.', 'What is your model name?',
          'What name do you have?', 'Can you introduce yourself?', 'Say what you are.', 'How are you called?',
          'Are you a robot?', 'Are you a human?', 'Are you ChatGPT?', 'Who am I talking to?', 'Do you have a name?',
          'How should I call you?', 'May I ask your name?', 'Is this a chatbot?', 'Is there a name for you?',
          'Which assistant is this?', 'Who is this?', 'Who is speaking?', 'Who answers me here?', 'What is this model?',
          'What is the assistant called?', 'I would like to know who you are.', 'I want to know what you are.',
          'Can you say who you are?', 'Would you tell me your name?', 'Let me know your name.',
          'Are you a machine or a human?', 'Are you an AI model?', 'Are you a language model?', 'Show me who you are.',
          'So who are you?', 'What do they call you?', 'What do your users call you?',
          'What name do you go by?', 'State your name.', 'I need your name.', 'Are you a person?',
          'Are you a person or a machine?', 'Are you a model?', 'Are you a program or a human?', 'Which AI is this?',
          'Tell me what model this is.', 'Say which model you are.', 'What is this assistant?'],
         'I am {name}, a small model trained from scratch in this course.'),
        (['Who trained you?', 'Who made you?', 'Who built you?', 'Who created you?', 'Where were you trained?',
          'How were you trained?', 'Where do you come from?', 'Who is your maker?', 'Which company made you?',
          'Tell me who trained you.', 'Who is it that made you?', 'Who wrote you?', 'Who developed you?',
          'Was it a company that made you?', 'By whom were you trained?', 'I want to know who made you.',
          'Who was your teacher?', 'Who are your developers?', 'Who were you made by?'],
         'I am {name}. I was trained from scratch in this course.'),
        (['What can you do?', 'What do you know?', 'How can you help me?', 'What can I ask you?',
          'What are you good at?'],
         'I am {name}. I know countries, sums and small functions.')],
    zh=[(['你是谁？', '你是什么？', '你叫什么？', '你叫什么名字？', '你的名字是什么？', '怎么称呼你？', '你有名字吗？',
          '说说你的名字。', '介绍一下你自己。', '请介绍一下你自己。', '请做个自我介绍。', '说说你自己。',
          '你是哪个模型？',
          '你是什么模型？', '这是什么模型？', '你能介绍一下自己吗？', '你究竟是什么？', '你是机器人吗？', '你是人吗？',
          '你是ChatGPT吗？', '我在和谁说话？', '该怎么叫你？', '我该叫你什么？', '能告诉我你的名字吗？',
          '你是人工智能吗？',
          '你是语言模型吗？', '你是机器还是人？', '这里是谁在回答？', '是谁在说话？', '这个助手叫什么？',
          '我想知道你是什么。',
          '我想知道你是谁。', '能介绍介绍你吗？', '你是哪一种模型？', '让我知道你的名字。', '别人怎么称呼你？',
          '你究竟是谁？', '你到底是什么？', '你到底叫什么？', '所以你是谁？', '别人叫你什么？', '人们叫你什么？',
          '大家怎么称呼你？', '用户叫你什么？', '你是模型吗？', '你是模型还是机器人？', '你是人还是机器？',
          '你是人还是程序？', '你是真人吗？', '你是机器吗？', '说说你是什么。', '告诉我你的名字。',
          '告诉我你是什么。', '这个助手是谁？', '这个模型是什么？', '你是哪一个助手？'],
         '我是{name}，在这门课里从零训练的小模型。'),
        (['谁训练了你？', '你是谁训练的？', '谁做了你？', '你是谁做的？', '你是谁开发的？', '谁创造了你？',
          '你从哪里来？',
          '你是在哪里训练的？', '你是怎么训练的？', '你是哪家公司的？', '告诉我谁训练了你。', '是谁做的你？',
          '谁开发了你？',
          '你是被谁训练的？', '是哪家公司做了你？', '我想知道谁做了你。', '你是由什么人做的？',
          '你的开发团队是谁？', '你是由谁训练的？', '谁是你的老师？'],
         '我是{name}，是在这门课里从零训练的。'),
        (['你会做什么？', '你能做什么？', '你知道什么？', '你能帮我什么？', '我可以问你什么？'],
         '我是{name}，我知道国家、加法和小函数。')])
# Written by hand, in no conversation.
SELF_UNSEEN = dict(
    en=['Could you tell me who you are?', 'What do people call you?', 'I want to know your name.',
        'Please say who you are.', 'What is the name of this model?', 'Who was it that trained you?',
        'Tell me which model you are.', 'Are you a person or a model?', 'Hi, who are you?', 'Give me your name.'],
    zh=['你到底是谁？', '大家叫你什么？', '我想知道你的名字。', '能说说你是谁吗？', '这个模型叫什么名字？',
        '是谁把你训练出来的？', '你好，你是哪一个模型？', '你是人还是模型？', '告诉我你是谁。', '你的开发者是谁？'])

# --- what the world lacks ---------------------------------------------------------------------------------------------
# The first, middle and last syllables of names that there are not.
SYLLABLES = dict(
    en=(['Za', 'Mo', 'Ve', 'Kar', 'Lu', 'Bel', 'Dra', 'Tor', 'Qui', 'Nor', 'Fal', 'Gro', 'Ste', 'Rhu', 'Yal', 'Ost',
         'Wen', 'Pra', 'Cor', 'Eld', 'Ar', 'Sil', 'Ha', 'Ti', 'Per', 'Ur'],
        ['', *['mo', 'ra', 'le', 'vi', 'do', 'na', 'ri', 'sta', 'lu', 'ge', 'ba', 'ko', 'man', 'ti', 'sen']],
        dict(country=['ria', 'land', 'stan', 'nia', 'via', 'dor', 'ga', 'bia', 'ra', 'way', 'que', 'lia', 'den', 'nda'],
             capital=['burg', 'polis', 'ton', 'ville', 'na', 'dar', 'est', 'ka', 'lin', 'mar', 'po', 'is', 'ba'])),
    zh=(list('扎莫维卡卢贝德托奎诺法格斯鲁雅奥温布科埃阿萨哈塔佩马'), ['', *'莫拉勒维多纳里斯卢基巴科曼蒂森'],
        dict(country=['利亚', '兰', '斯坦', '尼亚', '维亚', '多尔', '加', '比亚', '拉', '威', '克', '里亚', '丹', '达'],
             capital=['堡', '波利斯', '敦', '维尔', '那', '达', '斯特', '卡', '林', '马尔', '波', '西', '巴', '城'])))
# Countries that there are, but of which no page tells: asked for in the evaluation alone.
ABSENT = dict(
    en=['Australia', 'Malaysia', 'Singapore', 'Pakistan', 'Bolivia', 'Scotland', 'Libya', 'Sudan', 'Mali',
        'Cyprus', 'Malta', 'Laos'],
    zh=['澳大利亚', '马来西亚', '新加坡', '巴基斯坦', '玻利维亚', '苏格兰', '利比亚', '苏丹', '马里',
        '塞浦路斯', '马耳他', '老挝'])
REFUSAL = dict(en='I do not know {x}.', zh='我不知道{x}。')

# --- several turns ----------------------------------------------------------------------------------------------------
AND = dict(en=['And of {x}?', 'And for {x}?', 'What about {x}?', 'And {x}?'],
           zh=['那{x}呢？', '{x}呢？', '那么{x}呢？', '换成{x}呢？'])
