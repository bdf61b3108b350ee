"""BM25 retrieval: the passage most likely to answer a question."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from stages.records import Document
from stages.text.words import tokens

K1, B = 1.2, 0.75  # the usual constants (Robertson and Zaragoza 2009, The Probabilistic Relevance Framework, section 3.4)


class BM25:
    def __init__(self, passages: Sequence[Document]) -> None:
        self.passages = passages
        self.counts = [Counter(tokens(passage.text)) for passage in passages]
        self.totals = [count.total() for count in self.counts]
        self.mean = max(1, sum(self.totals)) / max(1, len(passages))  # 1: all may be wordless
        self.holding: dict[str, list[int]] = defaultdict(list)  # the passages that hold a word
        for place, count in enumerate(self.counts):
            for word in count:
                self.holding[word].append(place)

    def best(self, question: str) -> Document:
        """Return the passage of the highest score; of equal ones the first."""
        scores = [0.0] * len(self.passages)
        for word, times in Counter(tokens(question)).items():
            places = self.holding.get(word, [])
            rare = math.log(1 + (len(self.passages) - len(places) + 0.5) / (len(places) + 0.5))
            for place in places:
                scores[place] += times * self._weight(rare, self.counts[place][word], self.totals[place])
        return self.passages[scores.index(max(scores))]

    def _weight(self, rare: float, count: int, total: int) -> float:
        return rare * count * (K1 + 1) / (count + K1 * (1 - B + B * total / self.mean))
