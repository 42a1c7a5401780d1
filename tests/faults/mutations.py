"""Damage videos at random, as networks, disks and people do."""

import random


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Apply one to four kinds of damage."""
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(KINDS)(data, rng)
    return data


def _flip_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 4, 32, 256))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _flip_near_the_start(data: bytes, rng: random.Random) -> bytes:
    """Damage the start of the file, where headers often are."""
    size = min(len(data), 2048)
    part = _flip_bytes(data[:size], rng)
    return part + data[size:]


def _flip_near_the_end(data: bytes, rng: random.Random) -> bytes:
    return _flip_near_the_start(data[::-1], rng)[::-1]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _leave_out(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 4, 100, 4096)) :]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    end = start + rng.choice((1, 4, 100, 4096))
    return data[:end] + data[start:end] * rng.randint(1, 3) + data[end:]


def _number(data: bytes, rng: random.Random) -> bytes:
    """Replace four bytes by a number that programs often mishandle."""
    if len(data) < 4:
        return data
    place = rng.randrange(len(data) - 3)
    value = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
    return data[:place] + value.to_bytes(4, rng.choice(("big", "little"))) + data[place + 4 :]


def _number_in_a_header(data: bytes, rng: random.Random) -> bytes:
    size = min(len(data), 2048)
    if rng.random() < 0.5:
        return _number(data[:size], rng) + data[size:]
    return data[:-size] + _number(data[-size:], rng)


KINDS = (
    _flip_bytes,
    _flip_near_the_start,
    _flip_near_the_end,
    _cut,
    _leave_out,
    _repeat,
    _number,
    _number_in_a_header,
)
