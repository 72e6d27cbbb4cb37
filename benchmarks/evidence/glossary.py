"""Words that the pages use without saying what they mean, and what they mean."""

import re

from markupsafe import Markup, escape

from benchmarks.evidence import mathematics

GLOSSARY = {
    "mode": (
        "a direction of the inputs and the direction of the answers that goes with it, from the singular value "
        "decomposition of what is to be learned; its strength $s$ is the singular value"
    ),
    "half time": "the number of steps after which a mode has gone half of its way from the start to its strength",
    "null": "what the same quantity would be without the effect that is asked for",
    "to first order": (
        "trained with the network replaced by its linear expansion in the weights around their start, which cannot "
        "learn features (the lazy limit, or the tangent kernel's)"
    ),
    "richness": (
        "how far a network is from learning to first order: the factor by which its outputs are divided, $\\gamma$, "
        "with the learning rate moved along; large is rich"
    ),
    "linear twin": "the same network without its nonlinearities, started at the same scale and trained alike",
    "order": "prediction: strong modes are learned before weak ones, so ln(half time) falls with ln(strength)",
    "one at a time": (
        "prediction: few modes move at once. $N_{\\mathrm{act}}$ counts them; it is at least 1, its value for one at "
        "a time"
    ),
    "rank": "prediction: the rank of the weights' change starts small and grows while the network learns",
    "alignment": "prediction: the directions in which neighbouring layers change come to coincide",
    "linear first": "prediction: what a linear predictor knows of the labels is learned before all else",
    "path": "prediction: the network goes through the same maps as its linear twin, whatever its speed",
    "law": "prediction: the half times of the modes are those of the linear twin, times one factor for all",
    "share": "where a quantity lies from its null, 0, to its value in a deep linear network from small weights, 1",
    "ladder": "the study that changes one thing at a time from the textbook's setting to practice; a step is a rung",
    "Kendall's tau": "a rank correlation: 1 where two orders agree in every pair, -1 where they disagree in every pair",
    "95 % interval": (
        "Student's t over seeds: symmetric about the mean, and so it may pass the end of what a quantity can be "
        "(1 for a correlation). It is shown as computed; what lies beyond the end is impossible and may be cut off"
    ),
    "Holm's correction": (
        "a claim's checks are several chances to be wrong: with Holm's method the smallest of their $m$ p-values is "
        "multiplied by $m$, the next by $m - 1$, and so on, before one of them may say that it is not reproduced"
    ),
}
# Why open checks stay open, where seeds are counted that would decide them.
NOT_RUN = (
    "Some of these seeds would take seconds. They are not run, because to look, and then to add seeds to whatever is "
    "nearly decided, is to choose when to stop, which makes wrong verdicts likelier. So a claim's seeds are added to "
    "once at most, by a number fixed before they run; a check that is open after that stays open, and one that does "
    "not decide its claim gets no seeds of its own. The counts are for whoever measures anew, on fresh seeds."
)
_BY_TEXT = {str(escape(word)): word for word in GLOSSARY}
_WORD = re.compile(rf"\b({'|'.join(map(re.escape, sorted(_BY_TEXT, key=len, reverse=True)))})(s?)\b")
# Words that mean something else in other sentences, to be marked only where predictions are listed.
_COMMON = {"order", "rank", "path", "law", "alignment", "share", "null", "mode", "ladder", "95 % interval"}


def place(word: str) -> str:
    """The HTML anchor of a word of the glossary."""
    return "word-" + re.sub(r"\W+", "-", word).strip("-")


class Marker:
    """Sets text for a page; the first time that it has a word of the glossary, the word leads to its meaning."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, text: str, common: bool = False) -> Markup:
        """The text as HTML.

        Args:
            common: whether words are marked that are only sometimes meant as the glossary has them.
        """

        def lead(match: re.Match) -> str:
            word = _BY_TEXT[match[1]]
            if word in self.seen or (word in _COMMON and not common):
                return match[0]
            self.seen.add(word)
            return f'<a class="word" href="#{place(word)}">{match[0]}</a>'

        parts = re.split(r"(<[^>]*>)", mathematics.html(text))
        return Markup("".join(part if part.startswith("<") else _WORD.sub(lead, part) for part in parts))
