"""Texts of known kinds, written for the tests of the quality scorers."""

import pyarrow as pa

LESSON = """What is photosynthesis?

Photosynthesis is a process in which plants turn light into chemical energy. It is called a redox reaction, because
electrons move from water to carbon dioxide. For example, a leaf that receives light for 12 hours produces about
5 grams of sugar. Therefore the concentration of oxygen around it rises, as experiments in 1779 by Jan Ingenhousz
showed. To understand why, consider the two steps of the process: the light reactions and the Calvin cycle.
"""
NOTICE = """BUY NOW!!! Limited time offer: save up to 70% off our amazing watches, only $19.99!
Click here to order now and get a FREE gift! Risk free, money back, satisfaction guaranteed!
Visit our shop at http://shop.example/deal and http://shop.example/win. Don't miss it!!!
Subscribe to our newsletter for more exclusive discount coupons! Call now, hurry! $5 bonus for the winner!
"""
CODE = '''def mean(values: list[float]) -> float:
    """Arithmetic mean of a list that is not empty."""
    if not values:
        raise ValueError("mean of nothing")
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


class Window:
    def __init__(self, size: int) -> None:
        self.size, self.seen = size, {}

    def push(self, key: str, value: float) -> None:
        self.seen.setdefault(key, []).append(value)
'''
POEM = """The winter river keeps its grey
and says what winter rivers say,
a word for every stone it knows,
a longer one for where it goes,

and I, who came to hear it speak,
have counted stones for half a week
and found no letter that would stay
the winter river's only way.
"""
DIALOGUE = """User: I would like to book a table for two in Bristol.
Assistant: Of course. What time suits you?
User: At half past seven, please, and somewhere quiet.
Assistant: The Old Mill has a table then. Shall I reserve it?
User: Yes, that sounds good. Is there parking nearby?
Assistant: There is a car park across the road.
"""
STATUTE = """(a) A tenant who receives a notice under this section may, within thirty days of it, ask for a hearing.
(b) The Mayor shall hold the hearing within ten days of the request, and shall give notice of it to the tenant.
(c) A person who violates subsection (a) or subsection (b) of this section is liable for a fine of not more than $300.
(d) For the purposes of this section, the term "tenant" means a person who occupies a rental unit under a lease.
"""
DIGITS = "\n".join(f"{i * 7919 % 10007} {i * 104729 % 99991} {i * 31 % 977} 0.00{i}" for i in range(1, 40))
REPEATED = "Home | About | Contact\nAll rights reserved.\n" * 30
FILLER = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore. " * 3
TEXTS = [
    LESSON,
    NOTICE,
    CODE,
    POEM,
    DIALOGUE,
    STATUTE,
    DIGITS,
    REPEATED,
    FILLER,
    "",
    "   \n",
    "一二三四五六七八九十",
    "x",
]


def table_of(texts):
    """A corpus of these texts, with two columns of numbers beside them."""
    ratings = [None if i % 4 == 3 else float(i % 6) for i in range(len(texts))]
    stars = pa.array([i % 6 for i in range(len(texts))], pa.int8())
    return pa.table({"text": texts, "source": ["made"] * len(texts), "rating": ratings, "stars": stars})
