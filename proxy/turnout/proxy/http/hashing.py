"""Hashes that are the same in every process, at every sidecar and in every version: what is dealt by them stays put.

BLAKE2b, since keys come from clients: nobody can make keys that all fall to one endpoint without trying them out.
"""

from hashlib import blake2b

BITS = 64
MASK = (1 << BITS) - 1


def hash_bytes(value: bytes) -> int:
    """64 bits of BLAKE2b (RFC 7693), never 0, which says "no key" to a balancing policy."""
    return int.from_bytes(blake2b(value, digest_size=8).digest(), "big") or 1


def mix(number: int) -> int:
    """64 other bits of a 64-bit number, one for one (the finaliser of SplitMix64, Steele et al. 2014)."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)
