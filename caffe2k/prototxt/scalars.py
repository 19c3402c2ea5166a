"""The values that scalars stand for: integers, floats, booleans, enum names, strings."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from caffe2k.diagnostics import did_you_mean
from caffe2k.prototxt.tree import Scalar
from caffe2k.schema.message import FieldType

_DECIMAL = re.compile(r"0|[1-9][0-9]*")
_OCTAL = re.compile(r"0[0-7]+")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]+")
_FLOAT = re.compile(r"((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?[fF]?")
_BOOLS = dict.fromkeys(("true", "True", "t", "1"), True) | dict.fromkeys(
    ("false", "False", "f", "0"), False
)
_LONGEST_INTEGER = 30
"""More digits than any field holds, and fewer than Python refuses to read."""

_WORD_FLOATS = {"inf": "inf", "infinity": "inf", "nan": "nan"}
_EXPECTED = {
    "int": "an integer",
    "float": "a number",
    "bool": "`true` or `false`",
    "enum": "a name without quotes",
    "string": "a string in quotes",
    "bytes": "a string in quotes",
    "message": "fields in braces",
}

_EXAMPLES = {
    "int": ": 1",
    "float": ": 0.1",
    "bool": ": true",
    "enum": ": NAME",
    "string": ': "..."',
    "bytes": ': "..."',
    "message": " { ... }",
}


class BadScalar(Exception):
    """A scalar that its field can't hold; `start` and `end` where only a part is wrong."""

    def __init__(
        self,
        code: str,
        message: str,
        help: str | None = None,
        place: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.help = help
        self.place = place


def decode(scalar: Scalar, field: FieldType) -> Any:
    """The value of a scalar in a field of a scalar type.

    Raises BadScalar where TextFormat::Parser::ConsumeFieldValue or io::Tokenizer
    (protobuf) would refuse it.
    """
    return _DECODERS[field.kind](scalar, field)


def guess(scalar: Scalar) -> int | float | bool | str:
    """The value of a scalar in a field whose type is not known; as it is if in doubt."""
    try:
        if scalar.kind == "NUMBER":
            number = _integer(scalar)
            return float(scalar.text.rstrip("fF")) if number is None else number
        if scalar.kind == "STRING":
            content = b"".join(_unquote(text, scalar) for text in scalar.texts)
            return content.decode("utf-8", "replace")
    except BadScalar:
        return scalar.text
    return {"true": True, "false": False}.get(scalar.text, scalar.text)


def wrong_type(field: FieldType, found: str, help: str | None = None) -> BadScalar:
    """A value of one type where another is expected."""
    expected = _EXPECTED[field.kind]
    return BadScalar(
        "wrong-type",
        f"`{field.name}` takes {expected}, not {found}",
        help or f"for example: `{field.name}{_EXAMPLES[field.kind]}`",
    )


def _decode_int(scalar: Scalar, field: FieldType) -> int:
    value = _integer(scalar)
    if value is None:
        raise wrong_type(field, _found(scalar), _plain_number_help(scalar, field))
    assert field.bounds is not None
    low, high = field.bounds
    if not low <= value <= high:
        raise _out_of_range(scalar, field, f"it goes from {low} to {high}")
    if scalar.negative and low == 0:
        raise _out_of_range(scalar, field, "it can't be negative")
    return value


def _decode_float(scalar: Scalar, field: FieldType) -> float:
    sign = "-" if scalar.negative else ""
    text = scalar.texts[0]
    if scalar.kind == "NAME" and text.lower() in _WORD_FLOATS:
        return float(sign + _WORD_FLOATS[text.lower()])
    if scalar.kind != "NUMBER":
        raise wrong_type(field, _found(scalar), _plain_number_help(scalar, field))
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        raise wrong_type(
            field, f"the octal or hexadecimal `{text}`", "write it in decimal"
        )
    if not _FLOAT.fullmatch(text):
        raise _bad_number(scalar)
    return float(sign + text.rstrip("fF"))


def _decode_bool(scalar: Scalar, field: FieldType) -> bool:
    if scalar.kind == "NUMBER" and not scalar.negative:
        number = _integer(scalar)
        if number in (0, 1):
            return bool(number)
    elif scalar.kind == "NAME" and not scalar.negative and scalar.text in _BOOLS:
        return _BOOLS[scalar.text]
    help = None
    if scalar.text.lower().strip("\"'") in ("true", "false"):
        help = "write it in small letters and without quotes"
    raise wrong_type(field, _found(scalar), help)


def _decode_enum(scalar: Scalar, field: FieldType) -> str:
    if scalar.kind == "NUMBER":
        number = _integer(scalar)
        for name, known in field.enum.items():
            if known == number:
                return name
        if number is None:
            help = f"it is one of {', '.join(field.enum)}"
            raise wrong_type(field, _found(scalar), help)
    elif scalar.kind == "STRING":
        content = scalar.text[1:-1]
        bare = content if content in field.enum else None
        help = f"write `{field.name}: {bare}`" if bare else _choices(content, field)
        raise wrong_type(field, f"the string `{scalar.text}`", help)
    elif scalar.text in field.enum:
        return scalar.text
    raise BadScalar(
        "unknown-enum-value",
        f"`{field.name}` has no value `{scalar.text}`",
        _choices(scalar.text, field),
    )


def _choices(word: str, field: FieldType) -> str:
    near = did_you_mean(word.upper(), field.enum)
    return near or f"it is one of {', '.join(field.enum)}"


def _decode_string(scalar: Scalar, field: FieldType) -> str:
    return _decode_bytes(scalar, field).decode("utf-8", "surrogateescape")


def _decode_bytes(scalar: Scalar, field: FieldType) -> bytes:
    if scalar.kind != "STRING":
        help = f'put it in quotes: `{field.name}: "{scalar.text}"`'
        raise wrong_type(field, _found(scalar), help)
    return b"".join(_unquote(text, scalar) for text in scalar.texts)


_DECODERS: dict[str, Callable[[Scalar, FieldType], Any]] = {
    "int": _decode_int,
    "float": _decode_float,
    "bool": _decode_bool,
    "enum": _decode_enum,
    "string": _decode_string,
    "bytes": _decode_bytes,
}


def _integer(scalar: Scalar) -> int | None:
    """The value of an integer literal; None for a float or what is no number."""
    if scalar.kind != "NUMBER":
        return None
    text = scalar.texts[0]
    if _DECIMAL.fullmatch(text):
        value = int(text[:_LONGEST_INTEGER])
    elif _OCTAL.fullmatch(text):
        value = int(text, 8)
    elif _HEXADECIMAL.fullmatch(text):
        value = int(text, 16)
    elif _FLOAT.fullmatch(text):
        return None
    else:
        raise _bad_number(scalar)
    return -value if scalar.negative else value


def _out_of_range(scalar: Scalar, field: FieldType, help: str) -> BadScalar:
    message = f"{scalar.text} is out of range for `{field.name}`"
    return BadScalar("out-of-range", message, help)


def _bad_number(scalar: Scalar) -> BadScalar:
    text = scalar.texts[0]
    help = "write it in decimal, as in 20, 0.5 or 1e-4"
    if text.isdigit():
        help = "a number that begins with 0 is octal: leave out the 0"
    return BadScalar("bad-number", f"`{text}` is no number", help)


def _plain_number_help(scalar: Scalar, field: FieldType) -> str | None:
    """The number that is meant by one in quotes, or by an integer with a point."""
    number = scalar.text.strip("\"'")
    if field.kind == "int":
        number = re.sub(r"\.0*$", "", number)
    fits = _DECIMAL if field.kind == "int" else _FLOAT
    return f"write `{field.name}: {number}`" if fits.fullmatch(number) else None


def _found(scalar: Scalar) -> str:
    if scalar.kind == "STRING":
        return f"the string `{scalar.text}`"
    if scalar.kind == "NUMBER":
        if _integer(scalar) is None:
            return f"the fraction {scalar.text}"
        return f"the number {scalar.text}"
    return f"the name `{scalar.text}`"


_ESCAPE = re.compile(
    r"\\(?:"
    r"(?P<plain>[abfnrtv\\?'\"])"
    r"|(?P<octal>[0-7]{1,3})"
    r"|[xX](?P<hex>[0-9a-fA-F]{1,2})"
    r"|u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|u(?P<short>[0-9a-fA-F]{4})"
    r"|U(?P<long>00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4})"
    r"|(?P<wrong>.))"
    r"|(?P<nul>\0)"
)
_PLAIN = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}


def _unquote(text: str, scalar: Scalar) -> bytes:
    """The bytes of one quoted string (io::Tokenizer::ParseStringAppend, protobuf)."""
    if "\\" not in text and "\0" not in text:
        return text[1:-1].encode("utf-8", "surrogateescape")
    result = bytearray()
    done = 1
    for found in _ESCAPE.finditer(text, 1, len(text) - 1):
        result += text[done : found.start()].encode("utf-8", "surrogateescape")
        done = found.end()
        if found["wrong"] or found["nul"]:
            raise _bad_escape(found, scalar)
        result += _escaped(found)
    return bytes(result + text[done:-1].encode("utf-8", "surrogateescape"))


def _escaped(found: re.Match[str]) -> bytes:
    if char := found["plain"]:
        return bytes([_PLAIN.get(char, ord(char))])
    if octal := found["octal"]:
        return bytes([int(octal, 8) & 0xFF])
    if digits := found["hex"]:
        return bytes([int(digits, 16)])
    if high := found["high"]:
        pair = ((int(high, 16) & 0x3FF) << 10) + (int(found["low"], 16) & 0x3FF)
        return chr(0x10000 + pair).encode()
    code = int(found["short"] or found["long"], 16)
    return chr(code).encode("utf-8", "surrogatepass")


def _bad_escape(found: re.Match[str], scalar: Scalar) -> BadScalar:
    place = None
    if len(scalar.texts) == 1:
        place = (scalar.start + found.start(), scalar.start + found.end())
    if found["nul"]:
        message = "a string can't hold the character NUL itself"
        return BadScalar("bad-string", message, "write `\\0`", place)
    message = f"`{found.group()}` is no escape sequence"
    help = "a backslash itself is written `\\\\`"
    return BadScalar("bad-string", message, help, place)
