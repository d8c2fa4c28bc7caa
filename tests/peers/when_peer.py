"""Expected ticks of cron lines, for the test `ticks_are_those_of_python`.

    PYTHONTZPATH= python when_peer.py > ticks.jsonl     (with croniter and tzdata installed)

For each line and zone one JSON object: `croniter`, what that library gives (null where it is too
slow), and `rules`, the schedule's own rules counted minute by minute on `zoneinfo`. Of croniter the
rules use only which days, hours and minutes match. An empty PYTHONTZPATH takes the zones of the
package tzdata instead of the system's.
"""

import json
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from croniter import croniter

ZONES = ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu"]
LINES = [
    "30 2 * * *",       # in the gap of New York and Berlin, in the overlap of Berlin
    "30 1 * * *",       # in the overlap of New York
    "0 2 * * *",        # the first moment of gaps
    "0 3 * * *",        # the first moment after gaps
    "45 1 * * *",       # in the overlap of Lord Howe
    "15 2 * * *",       # in the gap of Lord Howe
    "0 2,3 * * *",      # two times on one instant
    "15,45 1-3 * * *",  # several times in gap and overlap
    "0-59/20 1-2 * * 0",
    "*/15 * * * *",
    "0 * * * *",
    "*/15 2 * * *",
    "30 */2 * * *",
    "0 */2 * * *",
    "5-59/10 * * * 6,0",
    "0 9 * * 1-5",
    "0 0 13 * 5",
    "0 0 1,15 * 1",
    "0 12 L * *",
    "0 0 31 * *",
    "59 23 31 12 *",
    "30 2 * 3,10,11 0#2",
    "0 0 */2 * 1",
    "* * * * *",
]
SLOW = {"* * * * *"}
AFTER = datetime(2026, 1, 1, tzinfo=timezone.utc)
UNTIL = datetime(2028, 1, 1, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


def by_croniter(line, zone):
    found = []
    walk = croniter(line, AFTER.astimezone(zone), ret_type=datetime)
    while (due := walk.get_next(datetime).astimezone(timezone.utc)) <= UNTIL:
        found.append(int(due.timestamp()))
    return sorted(set(found)), len(found) - len(set(found))


def by_rules(line, zone):
    interval = any(field.startswith("*") for field in line.split()[:2])
    found = set()
    # The line on a clock without changes gives the local times.
    walk = croniter(line, datetime(2025, 12, 30), ret_type=datetime)
    while (local := walk.get_next(datetime)) < datetime(2028, 1, 3):
        instants = []
        for fold in (0, 1):
            at = local.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc)
            if at.astimezone(zone).replace(tzinfo=None) == local:
                instants.append(at)
        if instants:
            found.update(instants if interval else [min(instants)])
        elif not interval:
            # fold=1 takes the offset after the gap, so this instant lies before it.
            at = local.replace(tzinfo=zone, fold=1).astimezone(timezone.utc)
            while at.astimezone(zone).replace(tzinfo=None) < local:
                at += MINUTE
            found.add(at)
    return sorted(int(at.timestamp()) for at in found if AFTER < at <= UNTIL)


for name in ZONES:
    for line in LINES:
        zone = ZoneInfo(name)
        croniter_ticks, twice = (None, 0) if line in SLOW else by_croniter(line, zone)
        print(json.dumps({
            "line": line,
            "zone": name,
            "after": AFTER.isoformat(),
            "until": UNTIL.isoformat(),
            "croniter": croniter_ticks,
            "croniter_twice": twice,
            "rules": by_rules(line, zone),
        }))
