"""Write train.csv, test.csv and truth.csv again: python make_data.py. Own data, generated, CC0.

Minutes that a delivery takes, by a formula with noise of 2.5 minutes:

    4 + 3.2 * km + 1.5 * parcels
      + 9 if rain and km > 5                     rain costs time on long ways only
      + 12 * exp(-((hour - 17.5) / 1.5) ** 2)    the evening's traffic
      + 1.8 * floors where there is no lift
"""

import csv
import math
import random
from pathlib import Path

TASK = Path(__file__).parent.parent
COLUMNS = ["id", "km", "parcels", "rain", "hour", "floors", "lift"]


def main() -> None:
    rng = random.Random(7)
    train, test, truth = [], [], []
    for number in range(1000):
        km = round(rng.uniform(0.3, 12), 1)
        parcels, floors = rng.randint(1, 8), rng.randint(0, 6)
        rain, lift = int(rng.random() < 0.3), int(rng.random() < 0.5)
        hour = round(rng.uniform(8, 21), 2)
        minutes = 4 + 3.2 * km + 1.5 * parcels + 9 * (rain and km > 5)
        minutes += 12 * math.exp(-(((hour - 17.5) / 1.5) ** 2)) + 1.8 * floors * (1 - lift)
        minutes = round(minutes + rng.gauss(0, 2.5), 1)
        row = [f"d{number:04}", km, parcels, rain, hour, floors, lift]
        if number < 700:
            train.append([*row, minutes])
        else:
            test.append(row)
            truth.append([row[0], minutes])
    for name, header, rows in (
        ("files/train.csv", [*COLUMNS, "minutes"], train),
        ("files/test.csv", COLUMNS, test),
        ("hidden/truth.csv", ["id", "minutes"], truth),
    ):
        with (TASK / name).open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    main()
