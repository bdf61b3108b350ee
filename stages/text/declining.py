"""Whether an answer declines to answer."""

import re

from stages.text.words import sentences

# An answer declines if its first two sentences contain one of these (’ is read as '). A model writes them about itself or
# its source. "Customers who cannot log in" does not decline, nor does an apology alone. "That is not stated" counts only at
# the start of a sentence ("costs that are not stated"), 无法确定 only at the start of a clause (如果无法确定尺寸).
DECLINES = re.compile(
    "(?<![a-z])(?:"
    "i don't know|i do not know|i'm not sure|i am not sure|"
    "i (?:can't|cannot|can not)(?! (?:wait|stress|overstate|emphasi[sz]e|help but))|i must decline|i refuse to|"
    "i (?:won't|will not) (?:be able|help|assist|provide|answer|give|share|write|support|do (?:that|this|so))|"
    "i'm unable|i am unable|i'm not able|i am not able|"
    "i have no information|i (?:don't|do not) have (?:enough|(?:any |that |this |the |such )?info)|"
    "no information about|cannot be answered|can't be answered|unanswerable(?! question)|"
    "outside the scope|beyond the scope|not something i|"
    "not (?:covered|mentioned|stated|specified) in|not found in the|(?:does not|doesn't) (?:say|mention|state|specify)|"
    "(?<![a-z] )(?:that|this|it)(?: is|'s) not (?:mentioned|stated|specified)|"
    "不知道|我不清楚|我不确定|我不確定|我不能|我无法|我無法|无法回答|無法回答|不能回答|无法提供|無法提供|不能提供|"
    "(?:抱歉|对不起|對不起)[，, ]*(?:不能|无法|無法)(?:帮|幫|协助|協助)|(?<![\u4e00-\u9fff])(?:无法确定|無法確定)|"
    "(?:文|文档|文檔|资料|資料|手册|手冊)[中里裡]?(?:没有|沒有|未)(?:说明|說明)|"
    "没有相关信息|沒有相關資訊|未提及|没有提到|沒有提到|超出了|不在我的)"
)


def declines(text: str) -> bool:
    """Return whether the answer declines in its first two sentences; see DECLINES."""
    return bool(DECLINES.search(" ".join(sentences(text)[:2]).lower().replace("’", "'")))
