"""200,000 uses of a cache of 100,000 keys, in a process of their own, within 4 seconds.

What that process prints depends on a number drawn here, so that printing something and leaving early
does not help.
"""

import json
import random
import subprocess
import sys

KEYS = 100_000
SALT = random.SystemRandom().randrange(1, 10**9)
USES = f"""
import sys
sys.path.insert(0, "/work")
from solution import LRUCache
cache = LRUCache({KEYS})
for key in range({KEYS}):
    cache.put(key, key ^ {SALT})
print("\\n", sum(cache.get(key * 7919 % {KEYS}) or 0 for key in range({KEYS})))
"""

try:
    done = subprocess.run(
        [sys.executable, "-I", "-"], input=USES, capture_output=True, text=True, timeout=4, check=False
    )
    if done.stdout.split()[-1:] == [str(sum(key ^ SALT for key in range(KEYS)))]:
        verdict = {"value": 1.0, "feedback": "200,000 calls in time"}
    elif done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        verdict = {"value": 0.0, "feedback": f"200,000 calls could not be made: {last[:200]}"}
    else:
        verdict = {"value": 0.0, "feedback": f"of {KEYS:,} keys in a cache of {KEYS:,}, some were lost"}
except subprocess.TimeoutExpired:
    verdict = {"value": 0.0, "feedback": "200,000 calls took more than 4 s"}
print(json.dumps(verdict))
