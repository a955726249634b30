"""Personal data in a text: found by shape and by checksum where the number has one, and masked with a placeholder that
tells its kind.

A page is never dropped for it. `spans` hold places and kinds, not values: what is masked must not live on in metadata.
"""
import ipaddress
import re

# A number neither begins nor ends inside a longer one, a word or a decimal: sums, versions and identifiers are not
# personal data.
KINDS = dict(
    email=r'(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])',
    id=r'(?<![\w.-])[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?![\w-])',
    card=r'(?<![\w.+-])[2-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}(?![\w-])',
    phone=r'(?<![\w.+-])(?:'
          r'(?:\+86[ -]?|0086[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}'             # China, mobile
          r'|(?:\+86[ -]?)?\(?0\d{2,3}\)?[ -]\d{7,8}'                         # China, landline
          r'|\+[1-9]\d{0,2}(?:[ .-]?\(?\d{1,4}\)?){2,5}'                      # E.164, grouped or not
          r'|(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}'                       # North America
          r')(?![\w-])',
    ip=r'(?<![\w.:-])(?:\d{1,3}(?:\.\d{1,3}){3}'
       r'|(?:[0-9A-Fa-f]{1,4}:){3,7}(?::?[0-9A-Fa-f]{1,4})(?::[0-9A-Fa-f]{1,4}){0,3})(?![\w:]|\.\d)')
PATTERN = re.compile('|'.join(f'(?P<{kind}>{shape})' for kind, shape in KINDS.items()), re.A)
# What any of them needs, so that most pages cost one search: an at sign, five digits in a row or parted by one sign, or
# colons between hex groups.
HINT = re.compile(r'@|\d(?:[ ().-]{0,2}\d){6}|(?:[0-9A-Fa-f]{1,4}:){3}', re.A)
PLACEHOLDERS = {kind: f'[{kind.upper()}]' for kind in KINDS}
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812)."""
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 * (d > 9) for d in doubled) % 10 == 0


def id_checksum(number: str) -> bool:
    """Whether a Chinese identity number of 18 characters ends in its check character (GB 11643: ISO 7064 MOD 11-2)."""
    return '10X98765432'[sum(weight * int(digit) for weight, digit in zip(WEIGHTS, number)) % 11] == number[-1].upper()


def genuine(kind: str, value: str) -> bool:
    """Whether what has the shape also passes the check of its kind."""
    digits = re.sub(r'\D', '', value)
    if kind == 'id':
        return id_checksum(value)
    if kind == 'card':
        return 13 <= len(digits) <= 19 and luhn(digits)
    if kind == 'phone':
        return 8 <= len(digits) <= 15
    if kind == 'ip':
        try:
            return bool(ipaddress.ip_address(value))
        except ValueError:
            return False
    return True


def mask(text: str) -> tuple[str, list[tuple[str, int, int]]]:
    """Puts placeholders for e-mail addresses, phone numbers, identity numbers, bank cards and IP addresses.

    Returns:
        the masked text, and where it was masked: (kind, start, end) in characters of the text given.
    """
    if not HINT.search(text):
        return text, []
    spans = [(match.lastgroup, *match.span()) for match in PATTERN.finditer(text)
             if genuine(match.lastgroup, match.group())]
    return with_placeholders(text, spans), spans


def with_placeholders(text: str, spans: list[tuple[str, int, int]]) -> str:
    """The text with a placeholder for each span (kind, start, end); the spans are in order."""
    parts, at = [], 0
    for kind, start, end in spans:
        parts += [text[at:start], PLACEHOLDERS[kind]]
        at = end
    return ''.join([*parts, text[at:]])
