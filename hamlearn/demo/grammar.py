"""The words of a post, and the best that words alone can do.

A sentence for a visual cue is drawn without regard to the type, so it says which question the
picture answers and nothing of the answer. A sentence for the text cue is drawn for one type.
In a sentence `{x}` is the name; tokens are what spaces separate.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from hamlearn.demo.decisions import CUES, DECISIONS, TYPES, probability
from hamlearn.demo.names import draw_name

# Each begins a post or ends it with the probability beside it; the empty one stands for nothing.
PREFIXES = {
    "": 0.52, "RT @user{n} :": 0.16, "@user{n}": 0.12, "Wow ,": 0.06, "Monday :": 0.04,
    "Honestly ,": 0.05, "Happy weekend !": 0.05,
}  # fmt: skip
SUFFIXES = {
    "": 0.4, "!": 0.12, "today": 0.1, "#weekend": 0.1, "lol": 0.08, "again": 0.08,
    "at last": 0.06, "#Sunday": 0.06,
}  # fmt: skip
HANDLES = 30

QUESTIONS = {
    "stadium_or_ice": (
        "what a final for {x} and all the fans",
        "the season of {x} starts in this place",
        "we cheered for {x} until the very end",
        "{x} made the fans shout all evening",
        "a great score and {x} is on top",
        "best seats in years to watch {x} with dad",
        "the match with {x} went to extra time",
        "every fan here came to see {x}",
        "three tickets for {x} and a warm coat",
        "half time and {x} looks strong",
        "nobody expected {x} to win this season",
        "my brother filmed {x} from the second row",
        "the coach talked a lot about {x}",
        "first win of the year with {x}",
        "loud fans and {x} , what a game",
    ),
    "stage_or_beach": (
        "a summer evening with {x} and good music",
        "we waited all year for {x}",
        "the sun went down and {x} was lovely",
        "nothing beats {x} in the month of June",
        "our holiday began with {x} this time",
        "so many people took photos of {x}",
        "the whole crowd adores {x} in summer",
        "from our blanket we could hear {x}",
        "mum still dreams about {x} every summer",
        "{x} looks wonderful in this light",
        "warm air , cold drinks and {x}",
        "the holiday photo of {x} turned out well",
        "I could stay with {x} until midnight",
        "the best of this summer was {x}",
        "an unforgettable evening thanks to {x}",
    ),
    "person_or_dog": (
        "look who came along , it is {x}",
        "{x} waited for me at the door",
        "long walk with {x} this morning",
        "{x} did not want to go home",
        "say hello to {x} everybody",
        "breakfast with {x} makes me smile",
        "I have known {x} for three years",
        "{x} turned five and got a cake",
        "sleepy {x} after the long walk",
        "my neighbour brought {x} to the party",
        "{x} loves the snow more than anyone",
        "please meet my best friend {x}",
        "{x} ate the whole breakfast alone",
        "a cuddle from {x} is all I need",
        "{x} is afraid of thunder , poor thing",
    ),
    "car_or_boat": (
        "on our way thanks to {x}",
        "the trip with {x} was smooth",
        "grandpa always trusted {x} for a trip",
        "we saved two years for {x}",
        "a short ride and {x} felt brand new",
        "you get there faster with {x} nearby",
        "the engine noise reminds me of {x}",
        "so proud of what {x} has become",
        "the old advert for {x} still hangs here",
        "travel tip of the month : {x}",
        "they are repairing everything at {x}",
        "fuel is cheap these days at {x}",
        "my uncle worked for years at {x}",
        "good brakes , good wind and {x}",
        "we passed {x} on the long trip",
    ),
    "guitar_and_cup": (
        "left or right , the table tells {x}",
        "the way it lies on the table means {x}",
        "look at the order on the table for {x}",
        "my table always shows {x} somehow",
        "I put it this way round for {x}",
        "same table , same things and {x}",
        "tidy table in honour of {x}",
        "the side of the table matters with {x}",
    ),
    "kite_and_balloon": (
        "up there in the wind it says {x}",
        "which one flies higher for {x}",
        "the wind decides about {x}",
        "look up and guess {x}",
        "the sky shows what {x} is",
        "one floats over the other for {x}",
        "strong wind for {x} over the field",
        "the higher one in the sky means {x}",
    ),
    "ball_and_crate": (
        "packed or not , it belongs to {x}",
        "the delivery shows where {x} stands",
        "put it away in honour of {x}",
        "still unpacking because of {x}",
        "the storage room tells of {x}",
        "is it stored yet , asks {x}",
        "we sorted the delivery for {x}",
        "open the lid and think of {x}",
    ),
    "hoop_and_flower": (
        "a trick in the garden for {x}",
        "the garden trick shows {x}",
        "through it or past it , dear {x}",
        "blossom season and {x} in the garden",
        "the bloom lines up for {x}",
        "try this garden trick with {x}",
        "our garden is a sign of {x}",
        "a petal trick about {x}",
    ),
}
STATEMENTS = {
    "PER": (
        "{x} told reporters that she is retiring",
        "happy birthday to the singer {x} and her husband",
        "{x} and his wife had a baby girl",
        "the actor {x} won an award for his role",
        "I interviewed {x} about her childhood",
        "{x} broke his leg while skiing",
        "doctor {x} explained her new method",
        "{x} says he will marry next spring",
        "the poet {x} read from her diary",
        "thank you {x} for your kind speech , madam",
        "{x} wrote his mother a letter",
        "young {x} lost her first tooth",
    ),
    "LOC": (
        "the mayor of {x} opened a new bridge",
        "flying to {x} tomorrow with two suitcases",
        "it rains in {x} since Tuesday",
        "the population of {x} doubled in ten years",
        "a road between {x} and the coast is closed",
        "we rent a flat in the centre of {x}",
        "the river near {x} is flooding",
        "trains to {x} are late because of frost",
        "born and raised in {x} , a quiet town",
        "a map of {x} hangs over the sofa",
        "the old bridges of {x} at dawn",
        "moving to {x} for a cheaper flat",
    ),
    "ORG": (
        "shares of {x} fell after the report",
        "{x} hires two hundred engineers",
        "the board of {x} chose a new director",
        "{x} announced its profit for the quarter",
        "workers at {x} went on strike for wages",
        "{x} signed a contract with its supplier",
        "the court fined {x} over its taxes",
        "investors left {x} after the merger",
        "{x} opens its third office and hires staff",
        "the customer service of {x} never replies",
        "{x} merged with its largest rival",
        "an audit of {x} found missing invoices",
    ),
    "MISC": (
        "I read the novel {x} in two nights",
        "the second season of the series {x} is boring",
        "downloading the {x} update for my phone",
        "chapter nine of {x} made me cry",
        "the film {x} won three awards",
        "we finished level twelve of {x}",
        "the {x} soundtrack is on repeat",
        "the plot of {x} makes no sense",
        "my copy of {x} lost its cover",
        "the trailer for {x} is finally out",
        "a board game called {x} for six players",
        "the recipe {x} needs four eggs",
    ),
}


@dataclass(frozen=True)
class Sentence:
    """The words of one post and its one entity.

    Attributes:
        words: the tokens.
        start: index of the first word of the name.
        end: index past its last word.
        frame: the sentence with `{x}` for the name, without prefix and suffix.
    """

    words: tuple[str, ...]
    start: int
    end: int
    frame: str


def frames(cue: str, decision: str, kind: str) -> tuple[str, ...]:
    """Return the sentences that are drawn, all equally often, for a cue, a question and a type."""
    return STATEMENTS[kind] if cue == "text" else QUESTIONS[decision]


def _pick(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return list(shares)[int(rng.choice(len(shares), p=list(shares.values())))]


def draw_sentence(
    rng: np.random.Generator, cue: str, decision: str, kind: str, pool: str, training: bool
) -> Sentence:
    """Draw the words of a post.

    Args:
        rng: the source of all variation.
        cue: one of CUES.
        decision: name of the question that the picture answers.
        kind: the entity's type.
        pool: the stock of names.
        training: leave out the names that are withheld from training.
    """
    choices = frames(cue, decision, kind)
    frame = choices[int(rng.integers(len(choices)))]
    prefix = _pick(rng, PREFIXES).replace("{n}", str(int(rng.integers(HANDLES))))
    suffix = _pick(rng, SUFFIXES)
    name = draw_name(rng, pool, training).split(" ")
    words = [*prefix.split(), *frame.split(" "), *suffix.split()]
    start = words.index("{x}")
    words[start : start + 1] = name
    return Sentence(tuple(words), start, start + len(name), frame)


def text_ceiling() -> dict[str, float]:
    """Return the best expected F1 of any reader that sees words and no picture.

    Every post has one entity, and the words give its span away with certainty. A reader who names
    in each post the likelier type predicts one entity a post, so precision, recall and F1 are all
    its share of right types: the expectation of max_t P(t | words). Saying nothing where the odds
    are even never pays: it gives up half a hit to save half a false alarm, and
    F1 = 2·hits / (predicted + gold) then falls. Prefix, suffix and name are drawn independently of
    the type given the stock of names, so P(t | words) = P(t | frame, stock); it is found by
    enumerating cue, question, type and frame with their probabilities.

    Returns:
        The ceiling by cue, and under "overall" that of all posts together.
    """
    joint: dict[tuple[str, str], dict[tuple[str, str], float]] = {}  # words -> (cue, type) -> P
    for cue, decision in product(CUES, DECISIONS):
        for kind in decision.types:
            choices = frames(cue, decision.name, kind)
            for frame in choices:
                odds = joint.setdefault((frame, decision.pool), {})
                share = probability(cue, decision) / 2 / len(choices)
                odds[cue, kind] = odds.get((cue, kind), 0.0) + share
    hits = dict.fromkeys(CUES, 0.0)
    for odds in joint.values():
        best = max(TYPES, key=lambda t: sum(p for (_, kind), p in odds.items() if kind == t))
        for cue in CUES:
            hits[cue] += odds.get((cue, best), 0.0)
    return {"overall": sum(hits.values())} | {cue: hits[cue] / CUES[cue] for cue in CUES}
