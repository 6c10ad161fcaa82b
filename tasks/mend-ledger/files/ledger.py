"""A small ledger. Amounts are whole cents; dates are written as day.month.year.

parse_amount(text) -> cents
    "1.234,50" is 123450: a comma before one or two decimals, dots between thousands, both optional;
    a minus sign may stand in front. Anything else raises ValueError.
split(cents, shares) -> one part per share, in proportion to the shares (whole numbers, 0 or more, not
    all 0). The parts add up to cents exactly: each is rounded down, and the cents that are left go,
    one each, to the parts that lost most by rounding, the earlier first among equals. A negative sum
    is split as the positive one, and every part negated.
running(entries) -> [[date, balance], ...]
    entries are [date, amount text] in any order; the balance after each, in order of date, entries of
    one day in the order given. An empty list gives an empty list.
"""


def parse_amount(text):
    whole, _, decimals = text.replace(".", "").partition(",")
    return int(whole) * 100 + int(decimals or 0)


def split(cents, shares):
    total = sum(shares)
    return [round(cents * share / total) for share in shares]


def running(entries):
    balance, lines = 0, []
    for date, amount in sorted(entries):
        balance += parse_amount(amount)
        lines.append([date, balance])
    return lines
