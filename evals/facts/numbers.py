"""Numbers, dates and times as text has them, in digits or in words."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from evals.facts.text import one_number

_NUMERALS = {letter: value for value, letter in enumerate("零一二三四五六七八九")} | {
    "〇": 0,
    "两": 2,
    "兩": 2,
}
_TENS = {"十": 10, "百": 100, "千": 1000}
_MYRIADS = {"万": 10_000, "萬": 10_000, "億": 10**8, "亿": 10**8}
_HANGUL = dict(zip("영일이삼사오육칠팔구십백천만억", "零一二三四五六七八九十百千万億", strict=True))
_HANGUL["륙"] = "六"
_COUNTED = "円元块塊毛角分点點時时半歳岁才年月日号號人个個つ枚本冊册回階楼层番度公米キ％%台匹頭头棵条張张步段級级歩名次天"
_HAN_NUMBER = regex.compile(
    rf"(?<![星期周週礼拝拜第])(?:[〇零一二两兩三四五六七八九十百千万萬億亿]{{2,}}|[〇零一二两兩三四五六七八九十百千万萬億亿](?=[{_COUNTED}]))"
)
_HANGUL_NUMBER = regex.compile(
    r"(?<!\p{Hangul})(?:[일이삼사오육륙칠팔구십백천만억영] ?)+(?=원|년|월(?!요)|일(?!요)|시|분|명|개|층|번|살|도|퍼센트|권|마리|킬로|미터)"
)
_NATIVE = {
    word: value
    for value, word in enumerate(
        ["한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉", "열", "열한", "열두"],
        start=1,
    )
}
_NATIVE_NUMBER = regex.compile(
    rf"(?<!\p{{Hangul}})({'|'.join(sorted(_NATIVE, key=len, reverse=True))}) ?(?=시|명|개|마리|살|권|잔|병|대|번|시간|분)"
)


def _han_value(text: str) -> str:
    if not set(text) & (_TENS.keys() | _MYRIADS.keys()):
        return "".join(str(_NUMERALS[letter]) for letter in text)
    total = section = digit = 0
    for letter in text:
        if letter in _NUMERALS:
            digit = _NUMERALS[letter]
        elif letter in _TENS:
            section += (digit or 1) * _TENS[letter]
            digit = 0
        else:
            total += (section + digit or 1) * _MYRIADS[letter]
            section = digit = 0
    return str(total + section + digit)


def han_digits(text: str) -> str:
    """Chinese and Japanese numerals as digits, where they are a number and no part of a name."""
    return _HAN_NUMBER.sub(lambda match: _han_value(match[0]), text)


def hangul_digits(text: str) -> str:
    """Korean numerals as digits, where what is counted follows."""

    def plain(match: regex.Match[str]) -> str:
        return _han_value("".join(_HANGUL[letter] for letter in match[0] if letter != " "))

    text = _NATIVE_NUMBER.sub(lambda match: str(_NATIVE[match[1]]), text)
    return _HANGUL_NUMBER.sub(plain, text)


def from_digits(text: str) -> float:
    """The value of a number in digits, whatever marks its thousands and its fraction."""
    plain = one_number(text.strip())
    try:
        return float(plain)
    except ValueError:
        return float("".join(filter(str.isdigit, plain)) or 0)


def from_words(values: Sequence[tuple[float, str]]) -> list[float]:
    """The numbers that a row of number words says: (2, 'two'), (100, 'hundred') is 200; 17, 80, 8 is the year 1788.

    A value of -1 is an 'and' within a word, after which German and Dutch put the tens.
    """
    numbers: list[float] = []
    total, current, joined = 0.0, None, False
    for value, word in values:
        if value < 0:
            joined = True
            continue
        if current is None and value < 1000:
            current = value
        elif value >= 1000:
            total += (1 if current is None else current) * value
            current = None
        elif current is not None:
            sum_of = _together(current, value, word, joined)
            if sum_of is None:
                numbers.append(total + current)
                total, current = 0.0, value
            else:
                current = sum_of
        joined = False
    if current is not None or total:
        numbers.append(total + (current or 0))
    return numbers


def _together(current: float, value: float, word: str, joined: bool) -> float | None:
    """Two number words as one number; None where they are two."""
    tens, ones = current % 100, current % 10
    thai = "\u0e00" <= word[:1] <= "\u0e7f"
    if value == 100 and current < 100:
        return current * 100
    if thai and value == 10 and ones:
        return current - ones + ones * 10
    if thai and tens >= 10 and not ones and value < 10:
        return current + value
    if word.startswith("vingt") and current == 4:
        return 80
    if tens == 0 and value < 100 and current >= 100:
        return current + value
    if tens >= 20 and ones == 0 and value < 10:
        return current + value
    if tens in (60, 80) and 10 <= value < 20 and word[:1] in "dotqs":  # soixante-dix
        return current + value
    if joined and tens < 10 and value >= 20 and value < 100:
        return current + value
    if 11 <= current <= 20 and 10 <= value < 100:
        return current * 100 + value
    return None
