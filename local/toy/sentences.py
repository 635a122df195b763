"""Sentences of the default corpus: a small grammar over everyday words."""

from collections.abc import Iterator

import numpy as np


def _phrases(text: str) -> list[str]:
    return [phrase for line in text.split("\n") if line for phrase in line.split("|")]


def _words(text: str) -> list[str]:
    return text.split()


_OPENINGS = _phrases("""
After dinner|Before the storm|On a cold morning|Last winter|In the old town|Near the harbour|At noon
During the meeting|Without a word|Under the bridge|Every other week|For seven years|By the open window|Once again
Behind the church|To our surprise|Long ago|Just before sunrise|Across the valley|In spite of the rain|Tomorrow
Between two trains|Early in spring|As far as I know""")
_DETERMINERS = _words("the a my her our this that their his every")
_ADJECTIVES = _words("""
quiet young tired honest clumsy famous careful lonely cheerful northern wooden yellow broken heavy
gentle stubborn hungry golden narrow silent curious distant faithful blue brave rusty frozen clever tiny strange""")
_PEOPLE = _words("""
farmer doctor teacher sailor neighbour painter widow baker soldier singer judge visitor driver gardener
child uncle stranger poet nurse hunter tailor captain student lawyer miller shepherd queen cousin juggler pilot""")
_ACTIONS = _words("""
carried painted forgot repaired noticed borrowed sold hid described measured followed washed opened
counted chose moved dropped admired photographed wrapped found watched promised lifted guarded collected weighed""")
_THINGS = _words("""
basket letter bicycle ladder violin mirror kettle lantern garden engine blanket picture candle suitcase
bottle hammer jacket pumpkin river castle window machine orange feather carpet button whistle journal anchor piano""")
_PLACES = _phrases("""
across the frozen field|beside the river|in the kitchen|behind the station|on the highest shelf
near the village school|under a wide sky|at the edge of the forest|through the crowded market|outside the museum
in front of the theatre|below the stairs|on the other side|by the lighthouse|towards the mountain|from a small boat
inside the empty house|around the corner|among the apple trees|over the garden wall""")
_ENDINGS = _phrases("""
because nobody else could|while the others slept|and then went home|without saying why|as usual
although it was late|before anyone noticed|with great pleasure|and nobody complained|until the bells rang
to make her brother laugh|for no good reason|again and again|if I remember well|with both hands""")


def sentences(rng: np.random.Generator) -> Iterator[str]:
    """Yield sentences without end, each about three seconds long when spoken, none twice."""
    said = set()
    while True:
        sentence = _sentence(rng)
        if sentence not in said:
            said.add(sentence)
            yield sentence


def _sentence(rng: np.random.Generator) -> str:
    def pick(words: list[str]) -> str:
        return words[rng.integers(len(words))]

    who = f"{pick(_DETERMINERS)} {pick(_ADJECTIVES)} {pick(_PEOPLE)}"
    what = f"{pick(_DETERMINERS)} {pick(_THINGS)}" if rng.random() < 0.5 else f"{pick(_ADJECTIVES)} {pick(_THINGS)}s"
    shape = rng.integers(3)
    if shape == 0:
        return f"{pick(_OPENINGS)}, {who} {pick(_ACTIONS)} {what}."
    if shape == 1:
        return f"{who} {pick(_ACTIONS)} {what} {pick(_PLACES)}.".capitalize()
    return f"{who} {pick(_ACTIONS)} {what}, {pick(_ENDINGS)}.".capitalize()
