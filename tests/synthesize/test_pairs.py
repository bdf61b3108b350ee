"""Question-answer pairs: when a passage holds an answer, and when a question needs its passage."""

import pytest

from stages.synthesize import pairs


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("...", "has no word"),
        ("是的，有的", "has no content word"),
        ("是", None),
        ("不收10元", "'不' is not in the passage"),
        ("。", "has no word"),
        ("10元", None),
        ("10 元", None),
        ("2024年3月", None),
        ("3到5个", None),
        ("2024年5月", "'5月' is not in the passage"),
        ("ATM", None),
        ("每次10元的取款费", None),
        ("20元", "'20元' is not in the passage"),
        ("三天", "'三天' is not in the passage"),
        ("10天", "'10天' is not in the passage"),
        ("十五天", "'十五天' is not in the passage"),
        ("次日到账，费用十元", "'十元' is not in the passage"),
        ("为每次取费", "'为每次取费' is not in the passage"),
    ],
)
def test_an_answer_stands_in_its_passage(answer: str, reason: str | None) -> None:
    assert pairs.grounded(answer, "# 金账户\nATM取款费为每次10元，十三天内次日到账，限五天。2024年3月起，3到5个。") == reason


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        ("Transfer completed at $5.00, charging a fee of 2%", None),
        ("bonuses for savings", None),
        ("2 cards", None),
        ("$ 5.00", None),
        ("5%", "5%"),
        ("$2", "$2"),
        ("$5", "$5"),
        ("Now 3%", "3%"),
        ("now -3%", None),
        ("-2%", "-2%"),
        ("within 4 days", None),
        ("fees are not charged", "not"),
        ("Transactions", "Transactions"),
        ("the internet", "internet"),
    ],
)
def test_words_match_by_stem_and_amounts_with_sign(answer: str, missing: str | None) -> None:
    passage = (
        "Transfers complete within 3-4 days for $5.00. Interest of 2% is charged, now -3%; save for a bonus, fees vary by card."
    )
    assert pairs.grounded(answer, passage) == (missing and f"{missing!r} is not in the passage")


def test_answer_of_stop_words_must_be_yes_or_no() -> None:
    assert pairs.grounded("It is what it is.", "It is what it is, and the fee is 2%.") == "has no content word"
    assert pairs.grounded("Yes.", "The fee is 2%.") is pairs.grounded("No", "The fee is 2%.") is None


@pytest.mark.parametrize(
    "same",
    [
        "fee fees",
        "process processes processed processing",
        "charge charges charged charging",
        "apply applies applied applying",
        "transfer transfers transferred transferring",
        "exceed exceeds exceeded exceeding",
        "bonus bonuses",
        "need needs needed",
    ],
)
def test_inflections_have_one_stem(same: str) -> None:
    assert len({pairs.stem(word) for word in same.split()}) == 1


@pytest.mark.parametrize(
    ("question", "points"),
    [
        *[(text, True) for text in ("What is its monthly fee?", "Is that account free?", "How much does it cost?")],
        *[
            (text, True)
            for text in ("该账户的月费是多少？", "此产品收费吗？", "那个账户收费吗？", "它的月费是多少？", "其利率是多少？")
        ],
        *[(text, True) for text in ("根据以上内容，月费是多少？", "文章中的月费是多少？", "文章的作者是谁？")],
        *[(text, True) for text in ("那张卡怎么申请？", "根据内容，月费是多少？", "上面说的卡有什么好处？")],
        *[(text, True) for text in ("How much are its fees?", "What is the fee for it?")],
        *[(text, False) for text in ("What is the purpose of the text message service?", "What is the table fee?")],
        *[(text, True) for text in ("上面提到的月费是多少？", "作者认为金账户怎么样？", "根据文章，月费是多少？")],
        *[
            (text, False)
            for text in ("18岁以上能开金账户吗？", "金账户的中文中怎么说？", "金账户有文章收藏吗？", "应该开其他账户吗？")
        ],
        *[
            (text, True)
            for text in (
                "What does the paragraph say about the Gold Account?",
                "What is the fee of the Gold Account in the given context?",
                "According to the background knowledge, what is the fee of the Gold Account?",
                "What does the material say about the Gold Account?",
                "Based on the information provided, what is the fee of the Gold Account?",
                "According to the policy, what is the fee of the Gold Account?",
                "According to the guide, who may open a Gold Account?",
                "When must it be paid?",
                "What is the fee described above for the Gold Account?",
                "What does the writer say about the Gold Account?",
                "On which day would they be sent?",
                "What fee does it charge?",
                "Where can I renew them?",
                "When it expires, what do I do?",
                "What happens when it expires with the Gold Account?",
            )
        ],
        *[(text, True) for text in ("根据材料，月费是多少？", "根据提供的资料，月费是多少？", "背景知识里的月费是多少？")],
        *[(text, True) for text in ("段落中的月费是多少？", "根据上文，月费是多少？", "上述账户的月费是多少？")],
        *[
            (text, False)
            for text in (
                "How long does it take to close the Gold Account?",
                "How much does it cost to close the Gold Account?",
                "Is it possible to close the Gold Account online?",
                "If a Gold Account is overdrawn, what must its owner do?",
                "How can the holder of a Gold Card renew the card when it expires?",
                "Gold Account: does it include free checks?",
                "From which material is the card of the Gold Account made?",
                "What is the background check of the Gold Account?",
                "In the context of the Gold Account, what is a sweep?",
                "According to the policy of Rho-Bank, who may open a Gold Account?",
                "Who sees the information given to the Gold Account team?",
                "开立金账户的申请材料中需要哪些证件？",
                "金账户可以根据客户提供的材料开立吗？",
            )
        ],
    ],
)
def test_pointing_words_are_recognised(question: str, points: bool) -> None:
    assert bool(pairs.self_contained(question, set())) == points
