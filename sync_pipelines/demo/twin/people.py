"""Users as randomuser.me sends them, the same for every seed and page; also as recordings for offline runs."""

from __future__ import annotations

import hashlib
import random
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sync_pipelines.demo.twin.rows import encode_json

RECORDED = (20, 200, 1000, 5000)
SEED = "sync_pipelines"
_FIRST = (
    "Ada",
    "Boris",
    "Chloé",
    "Dilan",
    "Edda",
    "Fatima",
    "Gösta",
    "Hana",
    "Ivo",
    "Joëlle",
    "Kofi",
    "Léa",
    "Mirza",
    "Nuno",
    "Øyvind",
    "Priya",
)
_LAST = (
    "Almeida",
    "Brandt",
    "Çelik",
    "Dubois",
    "Eriksen",
    "Farah",
    "García",
    "Hansen",
    "Ito",
    "Jansen",
    "Kovač",
    "Lopes",
    "Müller",
    "Nguyen",
)
_PLACES = (
    ("Lisboa", "Portugal", "PT"),
    ("Zürich", "Switzerland", "CH"),
    ("Oslo", "Norway", "NO"),
    ("İzmir", "Turkey", "TR"),
    ("Lyon", "France", "FR"),
)
_NOW = datetime(2024, 6, 30, tzinfo=UTC)


def _moment_before(chance: random.Random, fewest_days: int, most_days: int) -> datetime:
    days = chance.randrange(fewest_days, most_days)
    milliseconds = chance.randrange(86_400_000)
    return _NOW - timedelta(days=days, milliseconds=milliseconds)


def _phone(chance: random.Random) -> str:
    area = chance.randrange(100, 999)
    exchange = chance.randrange(100, 999)
    line = chance.randrange(1000, 9999)
    return f"({area}) {exchange}-{line}"


def person(number: int, seed: str = SEED) -> dict[str, Any]:
    """The user of a number from 0."""
    chance = random.Random(f"{seed}/{number}")
    first = chance.choice(_FIRST)
    last = chance.choice(_LAST)
    city, country, nation = chance.choice(_PLACES)
    username = f"user{number:05d}"
    password = f"pass{chance.randrange(10**6)}"
    salt = f"{chance.randrange(16**8):08x}"
    # The seed fixes every value, so that the order of the draws is part of the recordings.
    born = _moment_before(chance, 18 * 365, 80 * 365)
    joined = _moment_before(chance, 1, 15 * 365)
    gender = chance.choice(("female", "male"))
    is_woman = gender == "female"
    folder = "women" if is_woman else "men"
    picture = f"https://randomuser.me/api/portraits/{{}}{folder}/{number % 100}.jpg"
    secret = f"{password}{salt}".encode()
    return {
        "gender": gender,
        "name": {"title": "Ms" if is_woman else "Mr", "first": first, "last": last},
        "location": {
            "street": {
                "number": chance.randrange(1, 9999),
                "name": f"{chance.choice(_LAST)} Street",
            },
            "city": city,
            "state": f"{city} region",
            "country": country,
            # As at randomuser.me: a number here, a text there.
            "postcode": chance.randrange(1000, 99999)
            if number % 3
            else f"{chance.randrange(10, 99)} {chance.randrange(100, 999)}",
            "coordinates": {
                "latitude": f"{chance.uniform(-90, 90):.4f}",
                "longitude": f"{chance.uniform(-180, 180):.4f}",
            },
            "timezone": {
                "offset": chance.choice(("+1:00", "0:00", "-3:30", "+5:45")),
                "description": "somewhere",
            },
        },
        "email": f"{username}@example.com",
        "login": {
            "uuid": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            "username": username,
            "password": password,
            "salt": salt,
            "md5": hashlib.md5(secret, usedforsecurity=False).hexdigest(),
            "sha1": hashlib.sha1(secret, usedforsecurity=False).hexdigest(),
            "sha256": hashlib.sha256(secret).hexdigest(),
        },
        "dob": {"date": _moment(born), "age": (_NOW - born).days // 365},
        "registered": {"date": _moment(joined), "age": (_NOW - joined).days // 365},
        "phone": _phone(chance),
        "cell": _phone(chance),
        "id": {"name": "BSN", "value": f"{number:08d}"}
        if number % 4
        else {"name": "", "value": None},
        "picture": {
            "large": picture.format(""),
            "medium": picture.format("med/"),
            "thumbnail": picture.format("thumb/"),
        },
        "nat": nation,
    }


def _moment(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def answer(results: int, page: int, seed: str = SEED) -> bytes:
    """One answer of `GET /api/?results=…&page=…&seed=…`; pages never end."""
    first = (page - 1) * results
    people = [person(number, seed) for number in range(first, first + results)]
    return encode_json(
        {
            "results": people,
            "info": {"seed": seed, "results": results, "page": page, "version": "1.4"},
        }
    )


def write_recordings(folder: Path) -> list[Path]:
    """Write data.json and its subsets of 20, 200, 1000 and 5000 users."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, count in [
        ("data.json", RECORDED[-1]),
        *((f"data.json.{count}", count) for count in RECORDED),
    ]:
        path = folder / name
        path.write_bytes(answer(count, 1))
        written.append(path)
    return written


if __name__ == "__main__":
    for file in write_recordings(Path(sys.argv[1] if len(sys.argv) > 1 else "data")):
        print(file)
