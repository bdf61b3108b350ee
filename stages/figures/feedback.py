"""What became of the feedback of users."""

from stages.figures import Figures


class FeedbackFunnel(Figures):
    """Rows of the file, those that were left out by reason, and those joined with an answer.

    `dropped` counts answers with feedback that nothing is learned from, and corrections that are unfit as rows, by reason.
    `tasks` are training rows, `pairs` the same corrections with the rejected answers, `votes` single answers for KTO.
    """

    rows: int
    left_out: dict[str, int]
    joined: int
    answers: int
    dropped: dict[str, int]
    tasks: int
    pairs: int
    votes: int
