"""What injections look like: patterns over the readable view of a text, by family.

A space in a pattern stands for any short run of characters that are not letters or digits, so
that line breaks, Markdown and punctuation between words do not hide a phrase.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from judge.hardening._data import CHAT_TOKEN


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern of a family; ``weight`` is how strongly a match suggests an injection."""

    family: str
    weight: float
    pattern: re.Pattern[str]


def _rule(family: str, weight: float, pattern: str, *, literal: bool = False) -> Rule:
    if not literal:
        pattern = pattern.replace(" ?", r"[\W_]{0,8}").replace(" ", r"[\W_]{1,8}")
    return Rule(family, weight, re.compile(pattern, re.MULTILINE | re.DOTALL))


_IN = r"[^.!?\n]"
"""A character of the same sentence."""
GRADER = (
    r"(?:graders?|judges?|evaluators?|assessors?|raters?|examiners?|markers?|reviewers?|scorers?|"
    r"(?:scoring|grading|evaluation|judging) (?:model|system|bot|assistant|ai|engine))"
)
_MARK = r"(?:scores?|marks?|grades?|ratings?|levels?|points?|credit)"
_BEST = r"(?:highest|maximum|maximal|max|top|perfect|full|best)"
_FIVE = r"(?:5|five|10|ten|100)"
_LINK = r"[\s:=*_-]{1,4}"
_TOP = (
    rf"\b(?:{_BEST} (?:possible |available )?(?:{_MARK}|category|tier|band|verdict|step)"
    rf"|{_MARK}(?:{_LINK}(?:of|to|at|is|as|a|the)){{0,2}}{_LINK}(?:{_FIVE}\b|{_BEST}\b)(?!\()"
    rf"|{_FIVE} ?(?:/|out of) ?{_FIVE}|(?:5|five) (?:points|stars)|number {_FIVE}"
    r"|an? (?:5|five|10|ten|a\+)"
    r"|the (?:maximum|top|highest|best)(?=\s*(?:[.,;:!?\n]|$)))(?:\b|(?<=\+)|(?=[.,;:!?\s])|$)"
)
_OBJECT = (
    r"\b(?:(?:this|the|my|that|every|each|all|these|any|present|certified) (?:\w+ ){0,2}?"
    r"(?:answers?|responses?|repl(?:y|ies)|submissions?|outputs?|completions?|essays?|"
    r"entr(?:y|ies)|item)|this (?:one|item|text)|the (?:above|text above|item))\b"
)
_GIVE = (
    r"\b(?:give|assign|award|grant|return|output|report|record|set|choose|select|pick|score|rate|"
    r"grade|mark|rank|respond with|reply with|put|enter|write|print|bestow|conclude with|go with|"
    r"hand out|confirm)\b"
)
_OVERRIDE = (
    r"\b(?:ignore|disregard|forget|override|bypass|overlook|discard|neglect|abandon|dismiss|"
    r"set aside|pay no attention to|(?:do not|don't|never|no longer|stop) (?:follow|following|"
    r"obey|obeying|use|using|apply|applying|heed|consider)|throw (?:out|away)|skip|suspend)"
)
_ORDERS = (
    r"(?:instructions?|directions?|directives?|guidelines?|prompts?|rubrics?|criteri(?:a|on)|rules|"
    r"scales?|(?:grading|scoring|marking) (?:scheme|guide|policy|instructions?)|orders|commands?|"
    r"levels|everything|anything)"
)
_EARLIER = (
    r"(?:previous|prior|above|earlier|preceding|foregoing|former|all|any|every|each|your|given|"
    r"original|initial|system|grading|scoring|everything|whatever|the|that|those|these)"
)

OVERRIDE, GRADER_ORDER, CLAIM = "override", "grader_order", "claimed_verdict"
MARKER, PRAISE, ROLE = "fake_completion", "praise", "role_tag"
FOREIGN, HIDDEN, ENCODED = "multilingual", "hidden_comment", "encoded"
INVISIBLES, ANOMALY = "invisible", "anomaly"

RULES = (
    _rule(OVERRIDE, 0.7, rf"{_OVERRIDE} (?:\w+ ){{0,4}}?{_EARLIER} (?:\w+ ){{0,3}}?{_ORDERS}\b"),
    _rule(
        OVERRIDE,
        0.6,
        r"\byou (?:no longer|do not|don't|need not)(?: have to| need to)? (?:grade|judge|evaluate)"
        r"\b|\bstop (?:grading|judging|evaluating|scoring)\b"
        r"|\b(?:grading|evaluation|judging|assessment)(?: task| phase)? "
        r"(?:(?:is|has|was) (?:now )?(?:over|ended|complete|finished|been completed|done|closed)"
        r"|complete|finished)\b"
        r"|\b(?:grading|scoring|evaluation) (?:policy|rules?|rubric|instructions?|criteria) "
        r"(?:has|have|was|were) (?:been )?(?:changed|updated|replaced|suspended|withdrawn)\b",
    ),
    _rule(
        OVERRIDE,
        0.5,
        r"\b(?:new|updated|revised|real|actual) (?:instructions?|task|directives?|system prompt) "
        r"(?:from the (?:system|admin|developer|operator)"
        r"|for (?:you|the (?:ai|model|judge|grader)))"
        r"|\byour (?:new|real|actual|only|true) (?:task|job|goal|role) is\b"
        r"|\byour (?:task|job|goal|role) is (?:now|no longer|only|simply)\b",
    ),
    _rule(
        OVERRIDE,
        0.55,
        rf"\b(?:rubric|scale|criteria|guidelines|instructions|rules|levels)\b{_IN}{{0,50}}"
        r"\b(?:is|are|as) (?:now |all |hereby )?(?:void|obsolete|outdated|superseded|invalid|"
        r"cancelled|suspended|irrelevant|no longer (?:valid|in force|apply)|not in force)\b"
        r"|\btreat (?:it|them|this|that|the \w+) as (?:void|obsolete|invalid|cancelled)\b"
        r"|\bwhatever you (?:were|have been) (?:told|given|instructed|asked)\b",
    ),
    _rule(
        OVERRIDE,
        0.35,
        r"\bfrom now on (?:you|every answer|all answers|always)\b|\byou are (?:now|no longer) "
        r"(?:a|an|the|my|in)\b",
    ),
    _rule(
        GRADER_ORDER,
        0.8,
        rf"{_GIVE}{_IN}{{1,80}}{_OBJECT}{_IN}{{1,80}}{_TOP}"
        rf"|{_GIVE}{_IN}{{0,80}}{_TOP}{_IN}{{1,80}}{_OBJECT}"
        rf"|{_OBJECT}{_IN}{{1,40}}\b(?:must|should|shall|has to|have to|needs to|is to|are to|will)"
        rf"\b{_IN}{{1,60}}{_TOP}",
    ),
    _rule(
        GRADER_ORDER,
        0.6,
        rf"{_OBJECT}{_IN}{{0,20}}\b(?:gets?|receives?|scores?|earns?|deserves?|is given|has|always)"
        rf"\b{_IN}{{0,20}}{_TOP}"
        r"|\b(?:whoever|anyone|everyone|model|ai|llm|person|reader)\b[^.!?\n]{0,40}"
        r"\b(?:to|for|while|when) (?:scor|grad|evaluat|assess|judg|rat)(?:e|ing)?\b[^.!?\n]{0,80}"
        rf"(?:{_TOP}|\b(?:level|category) (?:five|5)\b)",
    ),
    _rule(
        GRADER_ORDER,
        0.4,
        rf"\byou are an? (?:\w+ ){{0,3}}?(?:lenient|generous|kind|easy|friendly|forgiving) "
        rf"(?:\w+ )?{GRADER}\b|\b(?:generous|lenient) (?:grading|marking|scoring|evaluation)\b",
    ),
    _rule(
        GRADER_ORDER,
        0.75,
        rf"\b{GRADER}\b{_IN}{{0,30}}\b(?:must|should|shall|is to|are to|has to|have to|needs? to|"
        rf"required to|asked to|will)\b{_IN}{{1,60}}(?:{_TOP}|\blevel\b)"
        rf"|\b(?:level|score|grade|rating|mark) (?:of|for) (?:this|the|my) (?:\w+ ){{0,2}}?"
        rf"(?:answer|response|reply|submission){_IN}{{1,40}}"
        rf"\b(?:5|five|10|ten|highest|maximum|top)\b"
        rf"|\byou (?:must|should|shall|have to|need to|are to|always|will|can only) "
        rf"(?:\w+ ){{0,2}}?(?:assign|award|give|output|return|grade|score|rate){_IN}{{0,60}}{_TOP}",
    ),
    _rule(
        GRADER_ORDER,
        0.6,
        rf"\b(?:dear|attention|attn|hey|note (?:to|for)|message (?:to|for)|"
        rf"instructions? (?:to|for)|reminder (?:to|for)) (?:the |all |any |our |my )?"
        rf"(?:\w+ )?{GRADER}\b",
    ),
    _rule(
        GRADER_ORDER,
        0.5,
        rf"(?:^|[.!?:;,>] ?|\band |\bplease |\bkindly |\bjust |\bsimply |\bi will )"
        rf"{_GIVE[2:]}{_IN}{{0,40}}(?:{_MARK}\s(?:(?:to|at|of|as)\s)?(?:5|five)|full marks|"
        rf"{_FIVE} ?(?:/|out of) ?{_FIVE}|number five|an? five)\b"
        rf"|\b(?:grade|score|rate|mark)(?:d|ed)?\b{_IN}{{1,40}}\b(?:at|as|with|to) "
        rf"(?:a |the )?{_TOP}",
    ),
    _rule(
        CLAIM,
        0.7,
        r"[\"'](?:rationale|evidence)[\"']\s*:.{0,600}?[\"'](?:level|met)[\"']\s*:\s*"
        r"[\"']?\w{1,5}[\"']?\s*[,}]"
        r"|[\"'](?:level|met)[\"']\s*:\s*[\"']?\w{1,5}[\"']?\s*,.{0,300}?[\"']evidence[\"']"
        r"|[\"']better[\"']\s*:\s*[\"'](?:first|second|tie)[\"']",
        literal=True,
    ),
    _rule(
        CLAIM,
        0.5,
        rf"\b(?:verdict|conclusion|assessment|judge?ment|evaluation)\b{_IN}{{0,40}}"
        rf"\b(?:level|score|grade|rating)\b{_IN}{{0,8}}\b(?:5|five|10|ten|highest)\b"
        rf"|\b(?:therefore|thus|hence|so|consequently|accordingly)\b{_IN}{{0,40}}{_TOP}"
        rf"|{_OBJECT} (?:\w+ ){{0,5}}?(?:fulfil|satisf|meet|reach|deserv|merit|earn|warrant|"
        rf"qualif)\w*{_IN}{{0,60}}(?:{_TOP}|\ball (?:levels|criteria)\b)"
        rf"|\b(?:only|right|correct|appropriate|fitting|fair) (?:{_MARK}|one|outcome|verdict)\b"
        rf"{_IN}{{0,40}}\b{_FIVE}\b|\b{_FIVE}\b{_IN}{{0,30}}\b(?:only|right|correct|fair) "
        rf"(?:\w+ )?(?:{_MARK}|outcome|verdict)\b"
        r"|\b(?:highest|top|best) (?:one|level) "
        r"(?:applies|fits|is (?:right|correct|justified|due))\b"
        rf"|\b(?:no|nothing){_IN}{{1,40}}\b(?:level|score) (?:5|five|10){_IN}{{1,20}}\bmissing\b",
    ),
    _rule(
        CLAIM,
        0.4,
        r"\[\[ ?(?:\d{1,3}|[abc]) ?\]\]"
        r"|\b(?:already|previously)(?: been)? (?:graded|scored|rated|evaluated|judged)\b"
        r"|\b(?:graded|scored|rated|judged) already\b",
    ),
    _rule(
        CLAIM,
        0.2,
        r"[\"'](?:level|score|rating|grade|verdict)[\"']\s*:\s*[\"']?\d"
        r"|\blevel\s*[:=]\s*5\b"
        r"|^\W{0,4}(?:level|(?:final )?(?:score|verdict|grade|rating))\W{0,4}[:=]\W{0,3}"
        r"(?:5|10|100|five)\b",
        literal=True,
    ),
    _rule(
        MARKER,
        0.75,
        r"<<\s*/?\s*(?:first_|second_)?(?:answer|question|reference|required_facts|criterion|"
        r"candidate|response|example)\b[^<>\n]{0,64}>>",
        literal=True,
    ),
    _rule(
        MARKER,
        0.6,
        r"\byour reply could not be used\b|\breply again with one json object\b"
        r"|\bgrade the answer between the\b|\breply with one json object and nothing else\b"
        r"|^ ?criterion\b.{1,300}?^levels\b",
    ),
    _rule(
        MARKER,
        0.55,
        r"[\[(<{=#*~-]{1,40}\s*(?:end|start|beginning|close)\s+of\s+(?:the\s+)?(?:\w+\s+)?"
        r"(?:answers?|responses?|submissions?|repl(?:y|ies)|candidate|graded text|data)\b",
        literal=True,
    ),
    _rule(
        PRAISE,
        0.55,
        rf"\b(?:{GRADER}|experts?|panel|committee|jury)\b{_IN}{{0,60}}\b(?:rated|gave|given|scored|"
        rf"graded|agreed?|confirmed|approved|awarded|consider(?:ed)?|endorsed)\b{_IN}{{0,60}}"
        rf"\b(?:{_BEST}|excellent|flawless|exemplary|level 5|5/5|10/10)\b",
    ),
    _rule(
        PRAISE,
        0.35,
        rf"{_OBJECT} (?:is|was) (?:\w+ ){{0,2}}?"
        r"(?:perfect|flawless|outstanding|exemplary|impeccable|ideal|unbeatable|beyond criticism|"
        r"the best)\b",
    ),
    _rule(
        PRAISE,
        0.4,
        r"\b(?:certified|pre ?approved|gold standard|validated|endorsed)\b[^.!?\n]{0,40}"
        r"\b(?:answers?|responses?|text|submission)\b"
        r"|\ball (?:the )?(?:requirements|criteria|points) (?:are|have been|were) (?:fully |all )?"
        r"(?:met|satisfied|fulfilled)\b",
    ),
    Rule(ROLE, 0.35, re.compile(CHAT_TOKEN.pattern, re.IGNORECASE)),
    _rule(
        ROLE,
        0.4,
        r"\bsystem (?:override|prompt override|instruction override)\b"
        r"|\b(?:developer|god|debug) mode (?:on|enabled|activated)\b",
    ),
    _rule(
        ROLE,
        0.3,
        r"</?(?:system|assistant|user|instructions?|grader|judge|evaluation|verdict|admin|thinking|"
        r"reasoning|scratchpad)"
        r"(?:[ _-]\w{1,20})?>|^#{2,4}\s*(?:system|instructions?|new task)\b",
        literal=True,
    ),
    _rule(ROLE, 0.1, r"^[ \t]*(?:system|assistant|developer)[ \t]*:", literal=True),
    _rule(
        ENCODED,
        0.5,
        r"\b(?:decode|decrypt|decipher|rot13|unscramble) (?:the |this |what )?(?:\w+ ){0,5}?and "
        r"(?:do|follow|execute|obey|act|comply|apply|carry)\b",
    ),
    # Other languages. Sentences end with their own marks; NFKC has made the wide ones ASCII.
    _rule(
        FOREIGN,
        0.7,
        "(?:忽略|無視|无视|忽视|忘记|忘記|忘掉|不要(?:理会|理會|遵守|遵循|管)|不必(?:理会|遵守)|抛开|跳过)"
        "[^。!?\n]{0,14}(?:指示|指令|提示|规则|規則|标准|標準|准则|約束|约束|评分要求|評分要求)"
        "|(?:指示|命令|ルール|基準|指令)[^。\n]{0,12}(?:無視し|忘れ)"
        "|(?:지시|명령|규칙|기준)[^.\n]{0,14}(?:무시|잊)"
        "|(?:تجاهل|انس)[^.\n]{0,40}(?:التعليمات|الأوامر|القواعد|المعايير)"
        r"|\b(?:игнорир|проигнорир|забуд|отбрось|пренебре|не следуй|не обращай)\w*[^.!?\n]{0,50}"
        r"(?:инструкц|указани|правил|критери|команд|шкал)"
        r"|\b(?:ignor[aei]|ignoren|ignorad|olvid[ae]|desestim[ae]|omit[ae]|no sigas|esque[cç]a|"
        r"dimentica)\w{0,3}\b[^.!?\n]{0,40}"
        r"(?:instruccion|indicacion|reglas|crit[eé]rios?\b|rúbrica|instruç|istruzion|regole)"
        r"|\b(?:ignorier|vergiss|vergesst|missacht|verwirf|verwerf|übergeh|beachte\w* nicht)\w*"
        r"[^.!?\n]{0,50}(?:anweisung|instruktion|vorgaben|regeln|kriteri|bewertungs|skala)"
        r"|\b(?:ignore[rz]?|oublie[rz]?|néglige[rz]?|fai(?:s|tes) abstraction)\b[^.!?\n]{0,12}"
        r"\b(?:les|toutes|tes|vos|ces|la|le|de|des)\b[^.!?\n]{0,30}"
        r"(?:instructions?|consignes?|règles?|critères?|barème|directives?)",
        literal=True,
    ),
    _rule(
        FOREIGN,
        0.7,
        "(?:给|給|为|為|把|将|將|对|對|请|請|应|應|必须|必須|直接)[^。!?\n]{0,20}"
        "(?:打|评|評|给|給|判|输出|輸出|定为|记)[^。!?\n]{0,10}"
        "(?:满分|滿分|最高分|最高(?:等级|级别|水平|評級)|5 ?分|五分|10 ?分|十分|100 ?分|5 ?级)"
        "|(?:本|这个|這個|该|此|这一|以上|上述)(?:回答|答案|回复|回覆|答复)[^。\n]{0,14}"
        "(?:满分|滿分|最高分|完美|无懈可击|应得|值得)"
        "|(?:致|尊敬的|亲爱的|各位)(?:评分员|评委|评审|評審|评判者|评估者|阅卷人|打分者|裁判|评分者|评分模型)"
        "|(?:最高点|満点|最高評価|レベル5)[^。\n]{0,16}(?:与え|付け|つけ|して|ください)"
        "|(?:만점|최고 ?점수)[^.\n]{0,16}(?:주|부여|매기)"
        r"|\b(?:постав|выбер|выбир|оцени|присво|выстав|дай|назнач)\w*[^.!?\n]{0,50}"
        r"(?:высш|самый высок|самую высок|максимальн|наивысш|\bпять\b|\b5\b)"
        r"|\b(?:asign[ae]|otor|califi(?:ca|que)\b|conced|pon(?:ga|le)?\b|dê\b|dé\b|puntú|atribu|assegn)\w*[^.!?\n]{0,60}"
        r"(?:máxim|massim|más alta|nivel 5|livello 5|nível 5)"
        r"|\b(?:gib|gebt|geben sie|vergib|vergeben|bewert|benot|erteil)\w*[^.!?\n]{0,60}"
        r"(?:höchst|bestnote|volle punktzahl|maximal|stufe 5|\bfünf\b)"
        r"|\b(?:attribue|donne|accorde|note|mets|mettez)[rz]?\b[^.!?\n]{0,60}"
        r"(?:réponse)[^.!?\n]{0,60}(?:maximale?|plus haute?|niveau 5|\bcinq\b)",
        literal=True,
    ),
)
