"""Words that the features look for, as data.

Entries are fragments of regular expressions, compared without case; a space stands for any white
space, and ' also for ’. English entries match whole words; Chinese ones match anywhere.
"""

from __future__ import annotations

from typing import NamedTuple


class Lexicon(NamedTuple):
    """Terms of one kind in the two languages."""

    en: tuple[str, ...]
    zh: tuple[str, ...] = ()


VAGUE = Lexicon(
    en=(
        *("various", "some (?:things|stuff|people|ways|cases)", "things", "stuff", "somehow"),
        *("it depends", "and so on", "etc", "many (?:things|ways|factors|reasons)"),
        *("a (?:lot|bit|number) of", "kind of", "sort of", "somewhat"),
        *("maybe", "perhaps", "numerous", "certain things"),
        *("as appropriate", "as needed", "or something", "whatever", "and more"),
    ),
    zh=(
        *("等等", "有些", "某些", "各种", "一些", "之类", "差不多", "大概", "可能会", "视情况"),
        *("看情况", "适当", "相关的", "诸多", "若干", "一般来说", "某种"),
    ),
)

EXAMPLE = Lexicon(
    en=("for example", "for instance", "e\\.g\\.", "such as", "an example", "examples"),
    zh=("例如", "比如", "譬如", "举例", "示例", "诸如"),
)

ACTION = Lexicon(
    en=(
        *("click", "tap", "go to", "navigate to", "select", "open", "choose", "log in", "sign in"),
        *("upload", "enter", "scroll", "toggle"),
    ),
    zh=("点击", "选择", "进入", "打开", "登录", "上传", "填写", "勾选"),
)

SECOND_PERSON = Lexicon(
    en=("you", "your", "yours", "yourself", "you'(?:re|ll|ve|d)"),
    zh=("您", "你"),
)

OFFER = Lexicon(
    en=(
        *("let me know", "(?:i|we) can (?:also )?help", "happy to (?:help|assist|answer|explain)"),
        *("glad to (?:help|assist)", "(?:can|may) i (?:help|assist)", "feel free to", "next step"),
        *("(?:i'd|i would|we would) recommend", "contact (?:us|support|your)", "reach out"),
        *("if you (?:need|want|have|would like|tell|share|send)", "here to help", "next steps"),
        *("would you like", "do you want me to", "how (?:can|may) i (?:help|assist)"),
    ),
    zh=(
        *("请告诉我", "告诉我", "随时", "我可以帮", "可以帮您", "可以帮你", "如需", "如果您需要"),
        *(
            "如果你需要",
            "下一步",
            "联系(?:客服|我们|支持)",
            "建议您",
            "建议你",
            "很乐意",
            "为您服务",
        ),
        *("有什么可以帮", "需要我"),
    ),
)

ACKNOWLEDGEMENT = Lexicon(
    en=(
        *("i understand", "i see", "sorry (?:to hear|about|for|that)", "i(?: a|')m sorry"),
        *("apologi[sz]e", "that (?:sounds|must be)", "frustrating", "thank you for", "thanks for"),
        *("good question", "great question", "congratulations", "no worries", "nice to meet you"),
        *("i can see why", "makes sense", "in your (?:case|situation)", "for your (?:case|goal)"),
    ),
    zh=(
        *("我理解", "理解您", "理解你", "抱歉", "对不起", "很遗憾", "感谢您", "感谢你", "谢谢您"),
        *("谢谢你", "好问题", "别担心", "不用担心", "恭喜", "很高兴认识", "您的情况", "你的情况"),
    ),
)

POLITE = Lexicon(
    en=(
        *("please", "thank you", "thanks", "happy to", "glad to", "welcome", "sorry"),
        *("apologi[sz]e", "apologies", "pleasure", "appreciate", "kindly", "would you"),
        *("could you", "may i", "feel free", "nice to meet you", "best regards", "kind regards"),
        *("how (?:can|may) i (?:help|assist)", "(?:i|we) recommend", "hope this helps"),
    ),
    zh=(
        # 申请, 邀请, 聘请 and 请求, 请假 are not requests to the reader.
        *("(?<![申邀聘提])请(?![求假客])", "谢谢", "感谢", "您", "欢迎", "很高兴", "不客气"),
        *("麻烦", "抱歉", "对不起", "希望.{0,6}帮助", "祝", "乐意"),
    ),
)

BRUSQUE = Lexicon(
    en=(
        *("obviously", "just read", "whatever", "you should have", "you should know", "as i said"),
        *("read the (?:manual|docs|policy) yourself", "figure it out", "not my problem"),
        *("that's your problem", "don't ask me", "why would you", "who cares", "calm down"),
        *("it's not that hard", "listen carefully", "like i told you", "do your own"),
        *("seriously", "are you even", "read it again", "pay attention", "you just asked"),
    ),
    zh=(
        *("自己看", "自己查", "自己想", "关我什么事", "不关我", "废话", "你应该知道", "显而易见"),
        *("随便你", "爱信不信", "懒得", "烦死", "别问我"),
    ),
)

INSULT = Lexicon(
    en=(
        *("stupid", "idiots?", "idiotic", "dumb", "morons?", "shut up", "fool", "foolish"),
        *("ridiculous", "pathetic", "loser", "ignorant", "lazy", "damn", "crap", "nonsense"),
    ),
    zh=("笨", "蠢", "白痴", "傻", "闭嘴", "滚开", "废物", "无知", "脑残", "胡说"),
)

_FUNCTION_WORDS = """
a an the and or but nor so if then than that this these those there here it its he she they them
their his her we our us i me my you your yours is are was were be been being am do does did
doing done has have had having will would shall should can could may might must of in on at by
for from to with without into onto over under about as up down out off again further not no only
own same too very just also which who whom what when where why how all any both each few more
most other some such s t don't isn't aren't it's you're
"""
STOPWORDS = frozenset(_FUNCTION_WORDS.split())
"""Function words of English, casefolded."""

STOP_CHARACTERS = frozenset(
    "的了是在和与或也都就而及着过吗呢吧啊把被给对从到向于为之其这那个们我你您他她它"
)
"""Function characters of Chinese."""

PUBLIC_ADDRESSES = frozenset(
    ("1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "114.114.114.114", "223.5.5.5")
)
"""IPv4 addresses of public name servers: they identify nobody."""
