from __future__ import annotations

import base64
import gzip
import json
import re

import pytest
from hypothesis import given

from megabot_cli.recording.known_secrets import KnownSecrets
from megabot_cli.recording.record import Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.secret_shapes import PSEUDONYM
from tests.recording.arbitrary import CANARY, any_texts, json_texts, planted_texts, thorough

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
KEY = b"k" * 32


def redact(text: str) -> str:
    return Redactor(KEY).clean(text)


def shown(text: str) -> str:
    """The text with each pseudonym as `‹›`, to compare with."""
    return PSEUDONYM.sub("‹›", redact(text))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"token":"abc"}', '{"token":"‹›"}'),
        ('{"name":"X-Api-Key","value":"abc"}', '{"name":"X-Api-Key","value":"‹›"}'),
        ('[{"key":"API_KEY","value":["a"]},7]', '[{"key":"API_KEY","value":["‹›"]},7]'),
        (
            '{"name":"Set-Cookie","x":{"value":"b"},"value":"c"}',
            '{"name":"Set-Cookie","x":{"value":"b"},"value":"‹›"}',
        ),
        ('{"Value":"b","Name":"Cookie"}', '{"Value":"‹›","Name":"Cookie"}'),
        ('{"name":"password","value":12}', '{"name":"password","value":"‹›"}'),
        (
            '{"h":[["Authorization","Bearer abc"],["x-api-key","k"],["Accept","*/*"]]}',
            '{"h":[["Authorization","Bearer ‹›"],["x-api-key","‹›"],["Accept","*/*"]]}',
        ),
        (
            '[[["Set-Cookie",["a=b"]],["password",12]]]',
            '[[["Set-Cookie",["‹›"]],["password","‹›"]]]',
        ),
        ('[ [ "x-api-key" , "k" , true ] ]', '[ [ "x-api-key" , "‹›" , true ] ]'),
        ('[["x-api-key","torn', '[["x-api-key","‹›'),
        ('{"x":"[[\\"token\\",\\"k\\"]]"}', '{"x":"[[\\"token\\",\\"‹›\\"]]"}'),
        (
            '{"rawHeaders":["Host","h","X-Api-Key","k"]}',
            '{"rawHeaders":["Host","h","X-Api-Key","‹›"]}',
        ),
        ('{"NAME":"Cookie","VALUE":"a b"}', '{"NAME":"Cookie","VALUE":"‹›"}'),
        ('{"VALUE":12,"Name":"password"}', '{"VALUE":"‹›","Name":"password"}'),
        (
            '[{"v":"a","n":"token"},{"k":"token","val":"b"}]',
            '[{"v":"‹›","n":"token"},{"k":"token","val":"‹›"}]',
        ),
        (
            '[{"field":"token","value":"a"},{"value":"b","variable":"token"}]',
            '[{"field":"token","value":"‹›"},{"value":"‹›","variable":"token"}]',
        ),
        ('{"header":"token","value":"a"}', '{"header":"token","value":"‹›"}'),
        ('{"value":"a","name":"x","key":"token"}', '{"value":"‹›","name":"x","key":"token"}'),
        (
            '{"rawHeaders":["X-Api-Key","k","Host","h"]}',
            '{"rawHeaders":["X-Api-Key","‹›","Host","h"]}',
        ),
        ('{"Raw-Headers":["A","b","Cookie","c"]}', '{"Raw-Headers":["A","b","Cookie","‹›"]}'),
        (
            '{"rawTrailers":["Cookie","c"],"header":["Host","h","Cookie","c"]}',
            '{"rawTrailers":["Cookie","‹›"],"header":["Host","h","Cookie","‹›"]}',
        ),
        ('[["x-api-key","k",null],["a","b"]]', '[["x-api-key","‹›",null],["a","b"]]'),
        ('[["x-api-key","k"', '[["x-api-key","‹›"'),
        ('[["x-api-key","k",', '[["x-api-key","‹›",'),
        ('{"cookie":[["a","b","c"],{"d":"e"}]}', '{"cookie":[["‹›","‹›","‹›"],{"d":"‹›"}]}'),
        ("[('x-api-key', 'k'), (b'Cookie', b'a b')]", "[('x-api-key', '‹›'), (b'Cookie', b'‹›')]"),
        ('{ "Api-Key" : "a\\"b" , "n": 1.0e2 }', '{ "Api-Key" : "‹›" , "n": 1.0e2 }'),
        ('{"access_token":"a","refreshToken":"b"}', '{"access_token":"‹›","refreshToken":"‹›"}'),
        ('{"authorization":"Bearer abc"}', '{"authorization":"Bearer ‹›"}'),
        ('{"authorization":"Basic abc="}', '{"authorization":"Basic ‹›"}'),
        ('{"cookie":["a=b","c=d"]}', '{"cookie":["‹›","‹›"]}'),
        ('{"secret":{"value":"x","n":3,"no":null}}', '{"secret":{"value":"‹›","n":3,"no":null}}'),
        ('{"password":1234}', '{"password":"‹›"}'),
        ('{"\\u0070assword":"x"}', '{"\\u0070assword":"‹›"}'),
        ('{"chunk":"your key: Bearer abc\\/d+e=="}', '{"chunk":"your key: Bearer ‹›"}'),
        (f'{{"chunk":"it is {JWT}!"}}', '{"chunk":"it is ‹›!"}'),
        (f'{{"{JWT}":1}}', '{"‹›":1}'),
        ('{"body":"{\\"token\\":\\"a b\\"}"}', '{"body":"{\\"token\\":\\"‹›\\"}"}'),
        ('{"body":"{\\"password\\":12}"}', '{"body":"{\\"password\\":\\"‹›\\"}"}'),
        ('{"password":"torn in the mid', '{"password":"‹›'),
        ("{'password': 'a b', 'n': 1}", "{'password': '‹›', 'n': 1}"),
        ('5" wide {"password":"a b"}', '5" wide {"password":"‹›"}'),
        ("token expired: token=abc&x=1", "token expired: token=‹›&x=1"),
        ("X-API-Key: abc\r\nHost: h", "X-API-Key: ‹›\r\nHost: h"),
        ("password: hunter2.", "password: ‹›."),
        ("my key is sk-live-ABCDEFGHIJKLMNOPQRSTUV.", "my key is ‹›."),
        ('{"c":"two\\nsk-proj-a_b-0123456789abcdefghij"}', '{"c":"two\\n‹›"}'),
        (f"use ghp_{'aB1' * 12} or github_pat_{'bC2_' * 12}c", "use ‹› or ‹›"),
        ("slack xoxb-123456789012-abcdef", "slack ‹›"),
        ("aws AKIAABCDEFGHIJKLMNOP, go", "aws ‹›, go"),
        (f"maps AIza{'Sy-x_' * 7}", "maps ‹›"),
        ("postgres://u:pw@h/db", "postgres://u:‹›@h/db"),
        (
            '{"secret_key":"a","secretKey":"b","passwords":"c"}',
            '{"secret_key":"‹›","secretKey":"‹›","passwords":"‹›"}',
        ),
        (
            '{"secrets":"a","tokens":"b","pwd":"c","refresh_tokens":["d"]}',
            '{"secrets":"‹›","tokens":"‹›","pwd":"‹›","refresh_tokens":["‹›"]}',
        ),
        (
            '{"password2":"a","passwordConfirm":"b","db_pwd":5}',
            '{"password2":"‹›","passwordConfirm":"‹›","db_pwd":"‹›"}',
        ),
        ("token: ab12cd, refresh_token: xy-34-zz", "token: ‹›, refresh_token: ‹›"),
        ("secret = hunter22 and SECRET_KEY=abc", "secret = ‹› and SECRET_KEY=‹›"),
        ("run --password hunter --user me", "run --password ‹› --user me"),
        ("--api-key 'abc' --auth-token x1", "--api-key '‹›' --auth-token ‹›"),
        (
            '["curl","--password","a b","--user","me","--api-key","--silent"]',
            '["curl","--password","‹›","--user","me","--api-key","--silent"]',
        ),
        ('{"argv":[["x"],"--auth-token","k",7]}', '{"argv":[["x"],"--auth-token","‹›",7]}'),
        (
            "next=https%3A%2F%2Fh%2F%3Ftoken%3Dabc%26x%3D1 and",
            "next=https%3A%2F%2Fh%2F%3Ftoken%3D‹›%26x%3D1 and",
        ),
        ("q=token%253Dabc%2526x", "q=token%253D‹›%2526x"),
        (
            '{"url":"/?j=%7B%22password%22%3A%22abc%22%7D"}',
            '{"url":"/?j=%7B%22password%22%3A%22‹›%22%7D"}',
        ),
        ("<server><password>a b</password></server>", "<server><password>‹›</password></server>"),
        (
            "<db:apiKey>abc</db:apiKey> <access-token>a1</access-token>",
            "<db:apiKey>‹›</db:apiKey> <access-token>‹›</access-token>",
        ),
        ("say “api_key=foo” or «token=foo»…", "say “api_key=‹›” or «token=‹›»…"),
        ("say token=“foo” twice", "say token=“‹›” twice"),
        ("bearer ab12 or Bearer abcdef", "bearer ‹› or Bearer ‹›"),
        ("bearer aBcDeF", "bearer ‹›"),
        ("bearer abcdef", "bearer ‹›"),
        ("wss://h/ws?session_id=1&token=a%2Fb#f", "wss://h/ws?session_id=1&token=‹›#f"),
    ],
)
def test_only_the_characters_of_the_secret_are_replaced(text: str, kept: str) -> None:
    assert shown(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        '{"name":"Accept","value":"abc"}',
        '{"name":"password","type":"string","values":3}',
        '{"required":["token","name"],"allowed_headers":["Authorization","X-Token"]}',
        '[["token","name","made"],["t","n","m"]]',
        '[{"name":"password"},{"value":"abc"}]',
        '[["a","b","token","c"]]',
        '{"name":"x","token":3,"value":"abc"}',
        '{"name":"' + "a long story, " * 6 + 'password","value":"abc"}',
        '{"max_tokens":15,"tokens":[1,2],"token":3,"tokenizer":"x","token_count":"4"}',
        '{"token":null,"secret":true,"password":"","cookie":[]}',
        '{"content":"Use a bearer token in the Authorization header, not the query."}',
        '{"content":"the secret of my monkey: tokens, cookies and keys"}',
        '{"type":"bearer","key":"value","secretary":"Ann","passenger":"Bob"}',
        "https://example.com/a:b@c?x=1",
        '{"total_tokens":"15","tokens":15,"pwdx":"a","tokens_used":"3"}',
        "a bearer and token of love, the bearer brings self-contained news; Bearer of tidings",
        "a token: the smallest unit. secret: work hard. token = next_token(); token: string",
        "def f(token: str, secret: Secret = make_secret(3)): secret == other",
        "usage: --password TEXT, --token TOKEN, --secret <S>, --token --verbose, -- password x",
        '["megabot","--token","TOKEN","--password",{"a":"b"},"--secret",3,"c"]',
        '["--tokenizer","x","password","y","-p","z"]',
        "https%3A%2F%2Fh%2F%3Ftokens%3D15%26token%3Astring",
        "<password></password> <password> </password> a <token>word</token> <b>password</b>",
        "a task-ABCDEFGHIJKLMNOPQRSTUV, a sk-learn-of-many-words, ghp_ and AKIA, xoxo- and AIza",
        '{"token":"‹redacted:9f2c›","h":"Bearer ‹redacted:9f2c01ab›"}',
        "12345678901234567890 \u2028 \x00 é 😀",
        "",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert Redactor(KEY).redact_text(text) == (text, [])


@pytest.mark.parametrize(
    "url",
    ["wss://u:S3CRET@h/ws", "wss://h/ws?sig=S3CRET&b=", "ws://h/?S3CRET#a", "ws://h/?a&b=S3CRET"],
)
def test_no_value_in_the_query_of_an_address_is_shown(url: str) -> None:
    shown = Redactor(KEY).redact_query(url)
    assert "S3CRET" not in shown
    assert shown.startswith(("wss://", "ws://h/"))
    assert Redactor(KEY).redact_query(shown) == shown
    assert Redactor(KEY).redact_query("ws://h:1/ws") == "ws://h:1/ws"


def test_the_paths_of_what_was_replaced_are_told() -> None:
    text = '{"payload":{"items":[{"x":1},{"token":"a"}],"odd key":"Bearer abc"}}'
    assert Redactor(KEY).redact_text(text)[1] == [
        "$.payload.items[1].token",
        '$.payload["odd key"]',
    ]
    text = '{"h":[{"value":"a","name":"Cookie"},["token","b"]]}'
    assert Redactor(KEY).redact_text(text)[1] == ["$.h[0].value", "$.h[1][1]"]
    assert Redactor(KEY).redact_text(f'{{"x":{{"a":1,"{JWT}":2}}}}')[1] == ["$.x"]


def test_a_path_does_not_tell_a_secret_that_is_a_key() -> None:
    text, paths = Redactor(KEY).redact_text(f'{{"{JWT}":{{"token":"{JWT}"}}}}')
    assert JWT not in text + "".join(paths)


def test_a_thousand_secrets_do_not_make_a_thousand_paths() -> None:
    _, paths = Redactor(KEY).redact_text(json.dumps([{"token": "a"}] * 1000))
    assert len(paths) == 101


def test_equal_secrets_have_equal_pseudonyms_within_one_recording_only() -> None:
    redactor = Redactor(KEY)
    by_key = redactor.clean('{"token":"abc.def"}')
    by_shape = redactor.clean("Bearer abc.def")
    assert PSEUDONYM.findall(by_key) == PSEUDONYM.findall(by_shape)
    assert redactor.clean('{"token":"abc.deg"}') != by_key
    assert Redactor(b"x" * 32).clean('{"token":"abc.def"}') != by_key


def test_an_operator_adds_keys_paths_and_patterns() -> None:
    redactor = Redactor(
        KEY, ["account_number", "$.payload.person[*].ssn"], [r"\bIBAN (?P<secret>\S+)", r"SN-\d+"]
    )
    text = (
        '{"accountNumber":123,"account-number":"x","ssn":"kept","payload":{"person":'
        '[{"ssn":"y"}]},"c":"IBAN DE12 and SN-99","d":"account_number=5"}'
    )
    assert PSEUDONYM.sub("‹›", redactor.clean(text)) == (
        '{"accountNumber":"‹›","account-number":"‹›","ssn":"kept","payload":{"person":'
        '[{"ssn":"‹›"}]},"c":"IBAN ‹› and ‹›","d":"account_number=‹›"}'
    )


def test_a_path_means_the_value_and_not_the_key_after_it() -> None:
    redactor = Redactor(KEY, ["$.id"])
    assert PSEUDONYM.sub("‹›", redactor.clean('{"id":"x","next":"y"}')) == '{"id":"‹›","next":"y"}'


@thorough
@given(planted_texts)
def test_a_secret_planted_anywhere_is_in_no_character_of_what_is_left(text: str) -> None:
    assert CANARY in text
    assert CANARY not in redact(text)


@thorough
@given(any_texts)
def test_any_text_keeps_everything_but_its_secrets(text: str) -> None:
    if PSEUDONYM.search(text) is not None:
        return
    original = ""
    # A number that was a secret is a string now.
    for piece in re.split(rf'(\\*"{PSEUDONYM.pattern}\\*"|{PSEUDONYM.pattern})', redact(text)):
        if PSEUDONYM.search(piece) is None:
            original += re.escape(piece)
        else:
            original += r"(?s:.+)" if piece.startswith("‹") else r'(?s:\\*".+\\*"|[^"\\s]+)'
    assert re.fullmatch(original, text)


@thorough
@given(json_texts)
def test_any_json_stays_json_of_the_same_structure(text: str) -> None:
    def structure(value: object) -> object:
        match value:
            case dict():
                return [structure(inner) for inner in value.values()]
            case list():
                return [structure(inner) for inner in value]
        return None

    assert structure(json.loads(redact(text))) == structure(json.loads(text))


@thorough
@given(any_texts)
def test_nothing_is_found_in_what_was_redacted(text: str) -> None:
    once = redact(text)
    assert Redactor(b"another key").redact_text(once) == (once, [])


class _Tireless(Redactor):
    def may_hold_secret(self, text: str) -> bool:
        return True


@thorough
@given(any_texts)
def test_the_quick_look_never_misses_what_the_close_look_finds(text: str) -> None:
    assert Redactor(KEY).redact_text(text) == _Tireless(KEY).redact_text(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"token":"' + '\\"' * 100_000 + '"}',
        "[" * 200_000 + '"token"',
        '{"a":' * 100_000 + '{"token":"x"}',
        "eyJ" * 100_000,
        "--a-" * 100_000,
        "--" + "a" * 500_000,
        "secret : " * 50_000 + "token: " + "a" * 100_000,
        "bearer " + "a-" * 200_000,
        "eyJaaaa." * 50_000,
        "bearer " * 50_000,
        'token"' * 50_000,
        "token:\\\\\\\\\\\\" * 20_000,
        "://" * 100_000,
        "sk-" * 100_000,
        "sk-" + "a-" * 100_000,
        "ghp_A" * 50_000,
        "password>" * 50_000 + "</",
        "password>" + " " * 400_000 + "</",
        "password>" + "a" * 400_000 + "</",
        "password%3d" * 50_000,
        "token%22%3a%22" + "%25" * 100_000,
        '["--password",' * 50_000,
    ],
    ids=lambda text: str(text[:12]),
)
@pytest.mark.timeout(10)
def test_a_hostile_text_takes_no_longer_than_a_long_one(text: str) -> None:
    redact(text)


def test_binary_is_kept_unless_a_secret_shows_in_its_bytes() -> None:
    redactor = Redactor(KEY)
    assert redactor.redact_binary(bytes(range(256)) * 4) is None
    assert redactor.redact_binary(b"\x00\x01token=abc\xff") is not None
    assert redactor.redact_binary(gzip.compress(b'{"token":"abc"}' * 100)) is not None
    assert redactor.redact_binary(gzip.compress(b"{}")[:8]) is None


def test_every_text_of_a_record_is_redacted() -> None:
    record = Record(
        n=1,
        t=0,
        kind="message",
        client=f"c {JWT}",
        session=JWT,
        user=JWT,
        id=JWT,
        type=JWT,
        reply_to=JWT,
        data=f'{{"id":"{JWT}"}}',
        reason=f"no {JWT}",
        note=JWT,
    )
    redacted = Redactor(KEY).redact_record(record)
    assert JWT not in repr(redacted)
    assert redacted.redacted == ["$.id"]
    assert redacted.id == redacted.session


def test_a_close_reason_is_redacted() -> None:
    record = Record(n=1, t=0, kind="close", reason="bad token=abc", code=4001)
    assert PSEUDONYM.sub("‹›", Redactor(KEY).redact_record(record).reason or "") == "bad token=‹›"


def test_a_binary_record_with_a_secret_keeps_only_its_size() -> None:
    payload = base64.b64encode(b"\xfftoken=abc").decode()
    record = Record(n=1, t=0, kind="message", opcode="binary", size=10, data_b64=payload)
    redacted = Redactor(KEY).redact_record(record)
    assert redacted.data_b64 is None
    assert PSEUDONYM.fullmatch(redacted.data or "")
    assert (redacted.size, redacted.redacted) == (10, ["$"])


KNOWN = 'plain words/9"ü'


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"no: {KNOWN}.", "no: ‹›."),
        (json.dumps({"a": f"-{KNOWN}-"}), '{"a": "-‹›-"}'),
        (json.dumps({"a": KNOWN}).replace("/", "\\/"), '{"a": "‹›"}'),
        (json.dumps({"a": KNOWN}, ensure_ascii=False), '{"a": "‹›"}'),
        (json.dumps({"a": json.dumps([KNOWN])}), '{"a": "[\\"‹›\\"]"}'),
        (json.dumps({KNOWN: 1}), '{"‹›": 1}'),
        ("GET /?k=plain%20words%2F9%22%C3%BC&b=1", "GET /?k=‹›&b=1"),
        ("GET /?k=plain+words%2F9%22%C3%BC&b=1", "GET /?k=‹›&b=1"),
        ('{"n": 12345678}', '{"n": "‹›"}'),
        ("it is пароль-и-ключ", "it is ‹›"),
        (json.dumps(["пароль-и-ключ"]), '["‹›"]'),
        ("too short to be meant: seven77", "too short to be meant: seven77"),
        ("another plain word/9", "another plain word/9"),
    ],
)
def test_a_secret_in_use_goes_wherever_it_stands_and_however_it_is_spelt(
    text: str, kept: str
) -> None:
    known = KnownSecrets([KNOWN, "12345678", "пароль-и-ключ", "seven77"])
    assert PSEUDONYM.sub("‹›", Redactor(KEY, known=known).clean(text)) == kept


def test_a_secret_in_bytes_is_found_in_any_of_its_spellings() -> None:
    redactor = Redactor(KEY, known=KnownSecrets(["geheim-üöä"]))
    assert redactor.redact_binary("\x00geheim-üöä".encode()) is not None
    assert redactor.redact_binary(b"\x00geheim-uoa") is None


def test_what_is_learnt_later_counts_from_then_on_also_for_names_seen_before() -> None:
    known = KnownSecrets()
    redactor = Redactor(KEY, known=known)

    def client() -> str | None:
        return redactor.redact_record(Record(n=1, t=0, kind="open", client="c-Lw9Vb4xR")).client

    assert client() == "c-Lw9Vb4xR"
    known.learn("a profile", ["Lw9Vb4xR"])
    assert PSEUDONYM.sub("‹›", str(client())) == "c-‹›"


def test_of_each_owner_the_last_four_are_remembered() -> None:
    known = KnownSecrets()
    known.learn("other", ["other-secret"])
    for number in range(6):
        known.learn("own", [f"secret-{number}"])
        known.learn("own", [f"secret-{number}"])
    held = {"other-secret", "secret-2", "secret-3", "secret-4", "secret-5"}
    assert set(known.now.values) == held


@thorough
@given(any_texts)
def test_any_text_with_a_known_secret_loses_it(text: str) -> None:
    redactor = Redactor(KEY, known=KnownSecrets([CANARY]))
    assert CANARY not in redactor.clean(f"{text} {CANARY}")
