"""A synthetic evaluation set for the detection of personal data, with texts that only look like it.

Two families of carrier sentences in English and Chinese: the *development* family, on which the
detector was tuned, and the *held-out* one, with other sentences, other seeds and many more forms,
which was written before the detector and not looked at when it was tuned. Everything in here is
invented.

The figures are an upper bound of what a stranger's data would show: the forms are those that public
specifications name. They are exact about forms, check digits and neighbouring characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Literal, NamedTuple

from tests.personal_data_forms import FORMS, Make, grouped, luhn, number

Family = Literal["development", "held-out"]
LANGUAGES = ("en", "zh")


class Planted(NamedTuple):
    """Where personal data of a kind stands in a text."""

    kind: str
    start: int
    end: int


class Case(NamedTuple):
    """A text with the personal data planted in it: one stretch, or none in a hard negative."""

    text: str
    language: str
    form: str
    planted: Planted | None


def cases(family: Family) -> list[Case]:
    """Texts with one planted stretch each: every form in several sentences of both languages."""
    draw = Random(f"personal data, {family}")
    carriers = _DEVELOPMENT if family == "development" else _HELD_OUT
    made = []
    for form in FORMS:
        if family == "development" and not form.in_both:
            continue
        for language in LANGUAGES:
            sentences = carriers[language].get(form.kind, carriers[language]["any"])
            for sentence in sentences:
                text, start, end = _planted(sentence, form.make(draw))
                planted = Planted(form.kind, start, end)
                made.append(Case(text, language, f"{form.kind}/{form.name}", planted))
    return made


def hard_negatives(family: Family) -> list[Case]:
    """Texts without personal data that a careless detector takes for some."""
    draw = Random(f"hard negatives, {family}")
    made = []
    for language, name, sentences, make in _NEGATIVES[family]:
        for sentence in sentences:
            text = sentence.format(make(draw)) if make else sentence
            made.append(Case(text, language, name, None))
    return made


def _planted(sentence: str, written: str) -> tuple[str, int, int]:
    """The sentence with the form in it, and where its personal part stands."""
    if "⟨" not in written:
        written = f"⟨{written}⟩"
    marked = sentence.replace("{}", written)
    start, end = marked.index("⟨"), marked.index("⟩") - 1
    return marked.replace("⟨", "").replace("⟩", ""), start, end


_DEVELOPMENT: dict[str, dict[str, Sequence[str]]] = {
    "en": {
        "any": (
            "Here is what I have on file: {}. Can you check it?",
            "{} is mine, please update the record.",
            "Hello, I need help with order 48213. My details: {}, thanks!",
        ),
        "phone": (
            "You can call me at {} after 6 pm.",
            "My number changed, it is now {}.",
            "Tel: {} (mornings only)",
        ),
        "email": (
            "Please reply to {}.",
            "I wrote from {}, but nobody answered.",
            "Contact: {}; subject: refund",
        ),
        "card": (
            "I paid with {} on 12 May.",
            "Card number: {}, expires 04/27",
            "The charge went to {}.",
        ),
        "ip": (
            "The last login came from {}.",
            "Blocked client {} after 5 attempts.",
            "My home address on the net is {} today.",
        ),
        "key": (
            "I put {} into my config and it fails.",
            "Here is the setting:\n{}\nWhat is wrong?",
            "Use this: {} for the demo.",
        ),
        "passport": (
            "My passport number is {}.",
            "Passport No. {}, issued in 2019",
            "passport: {}",
        ),
        "birth_date": (
            "Date of birth: {}",
            "My date of birth is {}.",
            "DOB {}, female",
        ),
    },
    "zh": {
        "any": (
            "我的信息是{}，请帮我核对一下。",
            "资料如下：{}。订单号48213。",
            "麻烦把{}改成新的，谢谢",
        ),
        "phone": (
            "我的电话是{}，晚上联系。",
            "手机号：{}",
            "有问题打{}找我",
        ),
        "email": (
            "请发到{}，谢谢。",
            "我的邮箱是{}",
            "邮箱:{}主题写退款",
        ),
        "card": (
            "我用{}付款的。",
            "银行卡号：{}，有效期04/27",
            "钱从{}里扣了",
        ),
        "ip": (
            "最近一次登录来自{}。",
            "我家的IP是{}，请解封",
            "服务器{}无法连接",
        ),
        "key": (
            "我在配置里写了{}，但是报错",
            "配置如下：\n{}\n哪里不对？",
            "先用{}测试",
        ),
        "passport": (
            "我的护照号是{}。",
            "护照号码：{}",
            "护照{}，2019年签发",
        ),
        "birth_date": (
            "出生日期：{}",
            "我的出生日期是{}。",
            "生日：{}，女",
        ),
    },
}

_HELD_OUT: dict[str, dict[str, Sequence[str]]] = {
    "en": {
        "any": (
            "Our new colleague sent this by chat ({}) and asked us to delete it.",
            "I think {} was stored twice, once in March 2023 and once today.",
            "Verification failed for {} - reason 14, attempt 2 of 3.",
            "fields\tvalue\nentry\t{}\nstatus\topen",
            "Sure! I have noted {} and will forward 2 copies to the team.",
        ),
        "phone": (
            "Ring {} and ask for Petra, we close at 17:30.",
            "For the delivery on 3 June use {} as contact phone.",
            "mobile {}",
            "Sorry I missed you, text me back on {}!",
            "Signature:\nM. Novak\nSales\n{}",
        ),
        "email": (
            "cc {} on the 2nd thread, please",
            "The account of {} was locked at 09:14.",
            "“{}” bounces since Monday.",
            "Write an e-mail from {} that declines the offer of $450.",
            "From: {}\nSubject: invoice 2023-118",
        ),
        "card": (
            "Why was {} declined twice? The amount was $1,299.00.",
            "Please refund to my Visa or Mastercard {} as before.",
            "pan={} cvv=*** zip=94107",
            "Is {} a valid credit card?",
            "He typed {} into the chat by mistake.",
        ),
        "ip": (
            "sshd[2211]: Failed password for root from {} after 3 tries",
            "Can you tell where {} is located?",
            "ping {} shows 20% packet loss",
            "visitor={} agent=curl/8.5.0",
            "My router says its WAN side is {}, is that normal?",
        ),
        "key": (
            "curl fails with 401. I used\n{}\nas in the docs.",
            "I accidentally pushed {} to the public repo, what now?",
            ".env contains {} and nothing else",
            "Explain the error; my settings: {}",
            "'{}' does not work any more since version 2.3.1",
        ),
        "passport": (
            "Travelling on passport {} via Doha.",
            "Full name as in passport, passport number {}, valid until 2031.",
            "Passport #{}",
            "The applicant's passport ({}) was scanned.",
            "Visa form: nationality, passport no: {}, purpose",
        ),
        "birth_date": (
            "Patient, date of birth {}, was admitted at night.",
            "I was born on {} in Leeds.",
            "D.O.B.: {}",
            "Birth date: {}, sex: M",
            "Please correct my birthday to {}.",
        ),
    },
    "zh": {
        "any": (
            "新同事在群里发了{}让我们删掉。",
            "系统里{}存了两遍，一次是2023年3月，一次是今天。",
            "校验失败（{}），原因代码14，第2次尝试",
            "字段：内容\n记录：{}\n状态：未完成",
            "好的，已记录{}并转发2份给相关同事。",
        ),
        "phone": (
            "请打{}找王经理，17:30下班。",
            "6月3日送货，联系电话{}",
            "手机{}微信同号",
            "不好意思没接到，请回拨{}！",
            "签名：\n李娜\n销售部\n{}",
        ),
        "email": (
            "把{}也抄送一下",
            "用户{}在09:14被锁定。",
            "“{}”从周一开始退信。",
            "以{}的名义写一封邮件，拒绝450元的报价。",
            "发件人：{}\n主题：发票2023-118",
        ),
        "card": (
            "为什么{}被拒付了两次？金额是1299.00元。",
            "请原路退回到我的银行卡{}。",
            "卡号{}密码不记得了",
            "{}是有效的信用卡吗？",
            "他误把{}发到了聊天里",
        ),
        "ip": (
            "日志显示{}登录失败3次",
            "能查到{}在哪个城市吗？",
            "ping {}丢包20%",
            "访客={}，浏览器=curl/8.5.0",
            "路由器显示外网地址为{}正常吗？",
        ),
        "key": (
            "请求返回401，我用的是\n{}\n和文档一样。",
            "我不小心把{}提交到公开仓库了，怎么办？",
            ".env里只有{}这一行",
            "帮我看看错误，设置：{}",
            "升级到2.3.1之后‘{}’就失效了",
        ),
        "passport": (
            "持护照{}经多哈转机。",
            "姓名与护照一致，护照号码为{}，有效期到2031年。",
            "护照号：{}签证类型：商务",
            "申请人的护照（{}）已扫描。",
            "签证表：国籍、护照编号：{}、目的",
        ),
        "birth_date": (
            "患者出生日期{}，夜间入院。",
            "我出生于{}，在南京长大。",
            "出生年月日：{}",
            "生日：{}，性别：男",
            "请把我的生日改成{}。",
        ),
    },
}

Negatives = Iterable[tuple[str, str, Sequence[str], Make | None]]


def _no_luhn(draw: Random) -> str:
    body = f"4{number(draw, 14)}"
    return grouped(f"{body}{(int(luhn(body)) + draw.randint(1, 9)) % 10}", (4, 4, 4, 4), " ")


def _isbn(draw: Random) -> str:
    body = f"978{draw.randint(0, 7)}{number(draw, 8)}"
    total = sum(int(digit) * (1, 3)[index % 2] for index, digit in enumerate(body))
    return grouped(f"{body}{-total % 10}", (3, 1, 4, 4, 1), draw.choice(("", "-")))


def _uuid(draw: Random) -> str:
    return grouped("".join(draw.choices("0123456789abcdef", k=32)), (8, 4, 4, 4, 12), "-")


def _hash(draw: Random) -> str:
    return "".join(draw.choices("0123456789abcdef", k=draw.choice((32, 40, 64))))


def _order(draw: Random) -> str:
    return number(draw, draw.choice((9, 10, 12, 14, 18)), "123456789")


def _false_id(draw: Random) -> str:
    """As a Chinese resident id, but with a month that does not exist."""
    return f"440305{draw.randint(1950, 1999)}{draw.randint(13, 19)}{number(draw, 6)}"


_NEGATIVES: dict[Family, Negatives] = {
    "development": [
        ("en", "order number", ("Order number {} has shipped.", "order #{}"), _order),
        ("zh", "order number", ("订单号{}已发货。", "订单编号：{}"), _order),
        ("en", "isbn", ("ISBN {}",), _isbn),
        ("en", "luhn fails", ("The sample {} is not valid.",) * 3, _no_luhn),
        ("en", "uuid", ("id: {}",) * 3, _uuid),
        ("en", "hash", ("commit {}",) * 3, _hash),
        ("zh", "false id", ("编号{}不存在",) * 3, _false_id),
        ("en", "date", ("Between 2021-03-04 and 2021-05-06.", "It was 12/31/1999 23:59:59.",
                        "2023-01-15T08:30:00Z"), None),
        ("zh", "date", ("截至2023年12月31日，共1234567人。", "2023.01.15-2023.02.20"), None),
        ("en", "version", ("Upgrade to version 10.2.3.4 now.", "numpy 1.26.4, torch 2.1.0.1"), None),
        ("en", "ip", ("Listen on 127.0.0.1:8000 or 0.0.0.0.", "gateway 192.168.1.1, dns 8.8.8.8",
                      "Use 203.0.113.7 in examples.", "::1 and fe80::1"), None),
        ("en", "decorator", ("@property\ndef area(self):", "Use @staticmethod here.",
                             "@media (max-width: 600px)"), None),
        ("en", "ssh", ("git clone git@github.com:acme/tool.git", "ssh root@localhost"), None),
        ("en", "placeholder", ("Write to [EMAIL_1] or <email>.", "xxx-xxx-xxxx",
                               "user@example.com", "password: ********"), None),
        ("en", "numbers", ("1 2 3 4 5 6 7 8 9 10", "3.14159265358979", "1,234,567,890 people",
                           "10 000 000 000"), None),
        ("en", "toll free", ("Call 1-800-555-0199 for support.",), None),
        ("zh", "service line", ("客服热线400-820-8820", "请拨打10086或95588"), None),
        ("en", "password prose", ("The password must contain 8 characters.",
                                  'password = os.environ["DB_PASSWORD"]'), None),
        ("en", "history", ("Einstein was born on 14 March 1879.",), None),
    ],
    "held-out": [
        ("en", "order number", ("Your tracking number is {}.", "Invoice no. {} is overdue.",
                                "Ticket {}: closed", "SKU {} is sold out", "ref={}"), _order),
        ("zh", "order number", ("运单号{}正在派送。", "发票号码：{}", "工单{}已关闭",
                                "流水号 {} 查询失败", "商品编码{}缺货"), _order),
        ("en", "isbn", ("See {} for the second edition.", "Knuth, TAOCP, {}, p. 214",
                        "isbn={}"), _isbn),
        ("zh", "isbn", ("书号{}，定价59.00元", "ISBN：{}", "参考{}第3章"), _isbn),
        ("en", "luhn fails", ("Why does {} fail the checksum?", "Serial {}",
                              "Print {} in groups of four."), _no_luhn),
        ("zh", "luhn fails", ("为什么{}通不过校验？", "序列号{}", "把{}每四位分组"), _no_luhn),
        ("en", "uuid", ("GET /v1/items/{}", "The UUID {} is random.", '{{"id": "{}"}}'), _uuid),
        ("zh", "uuid", ("标识符{}是随机的", "接口/items/{}返回404"), _uuid),
        ("en", "hash", ("sha256:{}", "checksum {} OK", "etag \"{}\""), _hash),
        ("zh", "hash", ("哈希值为{}。", "提交{}引入了错误"), _hash),
        ("zh", "false id", ("样例{}的月份是错的", "档案号{}", "批次{}合格"), _false_id),
        ("en", "sku", ("Part 415-22-88X", "Model {}-KL", "Replace item B-{}-07"),
         lambda d: number(d, 7)),
        ("en", "date", ("Sales from 01/02/2019 to 28/02/2020", "log 20230115083000 rotated",
                        "Valid 2020-2024, 2025-2029", "backup-2023-11-05-020000.tar.gz",
                        "Sun, 06 Nov 1994 08:49:37 GMT", "at 1609459200 or 1609459200000 ms"),
         None),
        ("zh", "date", ("2020/01/02至2020/12/31", "时间戳1609459200000", "会议2023-11-05 14:00-15:30",
                        "19世纪80年代到1912年1月1日", "第20230115期"), None),
        ("en", "version", ("Chrome/120.0.6099.109 Safari/537.36", "See section 4.10.2.1 of the manual.",
                           "Firmware v3.12.44.7 fixes it.", "driver 31.0.15.3623",
                           "requires foo>=1.2.3.4,<2"), None),
        ("zh", "version", ("升级到版本5.10.102.1", "微信版本8.0.44.1", "见第3.2.1.4节"), None),
        ("en", "ip", ("The subnet mask is 255.255.255.0.", "10.1.2.3 pings 172.16.0.9",
                      "nameserver 1.1.1.1", "Docs use 198.51.100.23 and 2001:db8::1.",
                      "route 169.254.169.254"), None),
        ("zh", "ip", ("本机地址127.0.0.1", "内网192.168.31.5无法访问", "DNS填114.114.114.114",
                      "广播地址255.255.255.255"), None),
        ("en", "decorator", ("@app.route('/x')\ndef x(): ...", "    @cached_property\n    def y(self)",
                             "@Override public String toString()", "@param name the name",
                             "@import url('a.css');", "npm i @angular/core@17.0.1",
                             "class A { @Autowired private Repo repo; }"), None),
        ("zh", "decorator", ("用@dataclass装饰器", "加上@Transactional注解", "@font-face规则"), None),
        ("en", "ssh", ("scp report.pdf deploy@build.acme.io:/srv/www", "rsync -a x backup@nas:/v",
                       "git@gitlab.com:group/project.git", "ubuntu@ip-10-0-0-7:~$ ls"), None),
        ("zh", "ssh", ("执行ssh admin@192.168.1.1登录", "git clone git@gitee.com:a/b.git"), None),
        ("en", "placeholder", ("Send it to jane.doe@example.org.", "Call (XXX) XXX-XXXX.",
                               "api_key = \"YOUR_API_KEY\"", "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
                               "Password: <your password>", "https://user:password@host/",
                               "export TOKEN=${GITHUB_TOKEN}", "[PHONE] and [CARD_2] were removed"),
         None),
        ("zh", "placeholder", ("邮箱：<邮箱>", "密码：******", "手机号：138****5678",
                               "电话：[PHONE_1]"), None),
        ("en", "numbers", ("e = 2.718281828459045235", "1 1 2 3 5 8 13 21 34 55 89 144",
                           "The total was $12,345,678.90", "6.02214076e23 and 299792458",
                           "1000000007 is prime", "[0.12, 0.3456, 0.7890, 0.1234]",
                           "2 3 5 7 11 13 17 19 23 29 31"), None),
        ("zh", "numbers", ("圆周率3.1415926535897932", "中国人口1411778724人", "营收12,345,678,900元",
                           "1 2 3 4 5 6 7 8 9", "光速299792458米每秒"), None),
        ("en", "price", ("Was $1,999.00, now 1499.99 EUR.", "shares at 415.662.10 pesos"), None),
        ("zh", "price", ("原价19999元，现价14999.00元", "单价¥1388.00，数量100"), None),
        ("en", "coordinates", ("40.712776, -74.005974", "(48.8583701,2.2944813)",
                               "POINT(116.397428 39.90923)"), None),
        ("zh", "coordinates", ("坐标116.397428,39.90923", "经纬度：31.230416，121.473701"), None),
        ("en", "colours", ("color: #4111ff; border: #123456", "rgb(255, 128, 0)"), None),
        ("en", "papers", ("doi:10.1038/s41586-020-2649-2", "arXiv:2310.04945v2",
                          "10.1145/3292500.3330701", "CAS 7732-18-5", "PMID: 31452104"), None),
        ("zh", "papers", ("DOI：10.1016/j.cell.2020.02.052", "arXiv:2310.04945第3.3节"), None),
        ("en", "math", ("C = A @ B", "x@y and W @ h + b", "u/v + du/dx = 0",
                        "f(x) = 3x^2 - 12x + 4", "sum(i*i for i in range(1000000000))"), None),
        ("en", "toll free", ("Dial (888) 555-0123 or 911.", "1-866-662-4821 is our hotline"), None),
        ("zh", "service line", ("拨打400-110-3000", "热线12345、110、120", "客服95533"), None),
        ("en", "password prose", ("Password: required, at least 12 characters",
                                  "def login(username: str, password: str) -> None:",
                                  "token = tokenizer.next_token()", "Reset your password here",
                                  "The secret: practice every day.", "username: string"), None),
        ("zh", "password prose", ("密码：必填，至少12位", "密码错误，请重试", "用户名：不能为空"), None),
        ("en", "history", ("Ada Lovelace was born on 10 December 1815.",
                           "Born 4 July 1872, he became president in 1923.",
                           "Her passport expired in 2020."), None),
        ("zh", "history", ("鲁迅出生于1881年9月25日。", "他的护照2020年过期"), None),
        ("en", "files", ("logo@2x.png", "IMG_20230115_083012.jpg", "node_modules/@types/node"), None),
        ("en", "code", ("std::vector<int> a; dead::beef()", "x = 0x4111111111111111",
                        "12:34:56:78:9a:bc is its MAC", "print('%08d' % 20231105)",
                        "A4B5C6D7E8F9A0B1"), None),
    ],
}  # fmt: skip
