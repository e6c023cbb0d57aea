"""The formats that JSON Schema names, as regular expressions of texts that have them.

Each matches a subset of what its RFC allows, so that nobody's validator objects: no leap seconds, no comments in mail
addresses, no host names in punycode or longer than 63 characters, which is what one of their labels may have. Regular
expressions have no groups in groups in groups, and nothing that their readers do not agree on.
"""

from __future__ import annotations

_YEAR = r"(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])"
_LEAP_YEAR = r"(?:(?:[1-9]\d|\d[1-9])(?:0[48]|[2468][048]|[13579][26])|00(?:0[48]|[2468][048]|[13579][26])"
_LEAP_YEAR += r"|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE = rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
_DATE += rf"|02-(?:0[1-9]|1\d|2[0-8]))|{_LEAP_YEAR}-02-29)"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_CLOCK = r"(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S)"
_CALENDAR = r"(?:\d+Y(?:\d+M(?:\d+D)?)?|\d+M(?:\d+D)?|\d+D)"
_DURATION = rf"P(?:{_CALENDAR}(?:T{_CLOCK})?|T{_CLOCK}|\d+W)"

_NAME = r"[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*"  # a hyphen never follows another one, so that none is in punycode
_HOSTNAME = rf"(?=.{{1,63}}$){_NAME}"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_EMAIL = rf"(?=[^@]{{1,64}}@.{{1,63}}$){_ATOM}(?:\.{_ATOM})*@{_NAME}"

_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_H16 = r"[0-9A-Fa-f]{1,4}"
_LS32 = rf"(?:{_H16}:{_H16}|{_IPV4})"
_IPV6 = "(?:" + "|".join(
    [
        rf"(?:{_H16}:){{6}}{_LS32}",
        rf"::(?:{_H16}:){{5}}{_LS32}",
        rf"(?:{_H16})?::(?:{_H16}:){{4}}{_LS32}",
        rf"(?:(?:{_H16}:){{0,1}}{_H16})?::(?:{_H16}:){{3}}{_LS32}",
        rf"(?:(?:{_H16}:){{0,2}}{_H16})?::(?:{_H16}:){{2}}{_LS32}",
        rf"(?:(?:{_H16}:){{0,3}}{_H16})?::{_H16}:{_LS32}",
        rf"(?:(?:{_H16}:){{0,4}}{_H16})?::{_LS32}",
        rf"(?:(?:{_H16}:){{0,5}}{_H16})?::{_H16}",
        rf"(?:(?:{_H16}:){{0,6}}{_H16})?::",
    ]
)
_IPV6 += ")"

_UNRESERVED = r"A-Za-z0-9._~!$&'()*+,;=-"  # with the sub-delimiters
_ESCAPED = r"%[0-9A-Fa-f]{2}"
_PCHAR = rf"(?:[:@{_UNRESERVED}]|{_ESCAPED})"
_AUTHORITY = rf"(?:(?:[:{_UNRESERVED}]|{_ESCAPED})*@)?(?:\[{_IPV6}\]|(?:[{_UNRESERVED}]|{_ESCAPED})*)(?::\d{{0,5}})?"
_SUFFIX = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
_HIERARCHY = rf"(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?|{_PCHAR}+(?:/{_PCHAR}*)*)?"
_RELATIVE = rf"(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?"
_RELATIVE += rf"|(?:[@{_UNRESERVED}]|{_ESCAPED})+(?:/{_PCHAR}*)*)?"
_URI = rf"[A-Za-z][A-Za-z0-9+.-]*:{_HIERARCHY}{_SUFFIX}"
_REFERENCE = rf"(?:{_URI}|{_RELATIVE}{_SUFFIX})"
_POINTER = r"(?:/(?:[^/~]|~[01])*)*"

_RANGES = r"(?:a-z|A-Z|0-9|a-f|A-F|\\[dwsDWS./\\^\]\[-]|[A-Za-z0-9_ .,:;!#%+=@/<>\"'*?(){}$])"
_ATOMS = (
    rf"(?:[A-Za-z0-9_ ,:;!#%&=@/<>~\"'-]|[^\x00-\x7f]|\\[dwsDWSbntr.*+?^$|()\[\]{{}}\\/-]|\.|\[\^?{_RANGES}{{1,20}}\])"
)
_ATOMS = rf"(?:{_ATOMS}(?:[*+?]\??|\{{\d{{1,2}}(?:,(?:9\d)?)?\}})?)"
_GROUP = rf"(?:\((?:\?[:=!])?{_ATOMS}*(?:\|{_ATOMS}*)*\)[*+?]?)"
_GROUPS = rf"(?:\((?:\?[:=!])?(?:{_ATOMS}|{_GROUP})*(?:\|(?:{_ATOMS}|{_GROUP})*)*\)[*+?]?)"
_PIECES = rf"(?:{_ATOMS}|{_GROUPS})*"
_REGEX = rf"\^?{_PIECES}(?:\|{_PIECES})*\$?"

_BODIES = {
    "date": _DATE,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": _DURATION,
    "email": _EMAIL,
    "hostname": _HOSTNAME,
    "idn-email": _EMAIL,
    "idn-hostname": _HOSTNAME,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "iri": _URI,
    "iri-reference": _REFERENCE,
    "json-pointer": _POINTER,
    "regex": _REGEX,
    "relative-json-pointer": rf"(?:0|[1-9]\d*)(?:#|{_POINTER})",
    "time": _TIME,
    "uri": _URI,
    "uri-reference": _REFERENCE,
    "uri-template": r"(?:[A-Za-z0-9._~:/?#@!$&()*+,;=-]|\{[A-Za-z0-9_]+(?:,[A-Za-z0-9_]+)*\})*",
    "uuid": r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}",
}
FORMATS = {name: f"^{body}$" for name, body in _BODIES.items()}
