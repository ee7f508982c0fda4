"""What an application does with the cache, through psycopg's three ways to send a statement."""

import datetime
import json
import sys

import psycopg
from psycopg.types.json import Jsonb

EVERY_BYTE = bytes(range(256))
failed = 0


def check(title, is_right):
    global failed
    if not is_right:
        failed += 1
    print(f"{'ok' if is_right else 'not ok'} - psycopg: {title}", flush=True)


def checks_of(way, fetch):
    """fetch(sql, parameters) gives all rows."""

    def value(sql, *parameters):
        return fetch(sql, parameters)[0][0]

    def sqlstate(sql, *parameters):
        try:
            fetch(sql, parameters)
        except psycopg.Error as error:
            return error.sqlstate
        return None

    def is_right(title, condition):
        check(f"{title} ({way})", condition)

    key = f"psycopg:{way}:"
    profile = {"name": "Zoë", "tags": [1, 2.5, None, True]}

    # Often enough for a statement to become a prepared one.
    for _ in range(3):
        value("SELECT cache_set(%s, %s, %s)", key + "json", Jsonb(profile), "15 minutes")
    is_right("json, from an object", value("SELECT cache_get(%s)", key + "json") == profile)
    value("SELECT cache_set(%s, %s)", key + "json", json.dumps([1, "two"]))
    is_right("json, from a string", value("SELECT cache_get(%s)", key + "json") == [1, "two"])
    value("SELECT cache_set_text(%s, %s)", key + "text", "grüße, 'quoted' \\ \n")
    is_right("text", value("SELECT cache_get_text(%s)", key + "text") == "grüße, 'quoted' \\ \n")
    value("SELECT cache_set_bytes(%s, %s)", key + "bytes", EVERY_BYTE)
    is_right("bytes, all values", value("SELECT cache_get_bytes(%s)", key + "bytes") == EVERY_BYTE)
    is_right("None on a miss", value("SELECT cache_get(%s)", key + "none") is None)

    value("SELECT cache_set_text(%s, %s, %s)", key + "ttl", "x", "90 seconds")
    left = value("SELECT cache_ttl(%s)", key + "ttl")
    is_right("ttl as a string", datetime.timedelta(seconds=60) < left < datetime.timedelta(seconds=91))
    value("SELECT cache_set_text(%s, %s, ttl => %s)", key + "ttl", "x", datetime.timedelta(hours=2))
    left = value("SELECT cache_ttl(%s)", key + "ttl")
    is_right("ttl as a timedelta", datetime.timedelta(hours=1) < left < datetime.timedelta(hours=3))

    value("SELECT cache_set_many(%s, %s)", Jsonb({key + "a": 1, key + "b": {"n": 2}}), "1 minute")
    rows = fetch("SELECT key, value FROM cache_get_many(%s)", ([key + "a", key + "none", key + "b"],))
    is_right("many, by an array", rows == [(key + "a", 1), (key + "b", {"n": 2})])
    stored = value("SELECT cache_set_many_text(%s, %s)", [key + "c", key + "d"], ["x", "y"])
    is_right("many texts, by two arrays", stored == 2)

    value("SELECT cache_delete(%s)", key + "counter")
    value("SELECT cache_incr(%s)", key + "counter")
    total = value("SELECT cache_incr(%s, %s, ttl => %s)", key + "counter", 2**40, "1 day")
    is_right("incr", total == 2**40 + 1 and value("SELECT cache_get(%s)", key + "counter") == total)

    version = fetch("SELECT found, version FROM cache_entry(%s)", (key + "json",))[0][1]
    again = "SELECT cache_set(%s, %s, if_version => %s)"
    is_right("if_version, 64 bits", version > 2**32 and value(again, key + "json", Jsonb(1), version) is True)
    is_right("if_version, out of date", value(again, key + "json", Jsonb(2), version) is False)

    value("SELECT rate_limit_reset(%s)", key + "limit")
    limit = "SELECT allowed, remaining, retry_after, blocked_until FROM rate_limit(%s, %s, %s, block => %s)"
    given = (key + "limit", 1, "1 hour", datetime.timedelta(minutes=90))
    is_right("a rate limit's row", fetch(limit, given) == [(True, 0, datetime.timedelta(0), None)])
    allowed, remaining, retry_after, blocked_until = fetch(limit, given)[0]
    is_right("its denial", not allowed and retry_after == datetime.timedelta(minutes=90) and blocked_until.tzinfo is not None)
    is_right("rate_limit_allowed", value("SELECT rate_limit_allowed(%s, %s, %s)", key + "limit", 2**40, "1 s") is False)
    is_right("its reset", value("SELECT rate_limit_reset(%s)", key + "limit") == 1)

    is_right("no key: 22004", sqlstate("SELECT cache_set(%s, %s)", None, Jsonb(1)) == "22004")
    is_right("empty key: 22023", sqlstate("SELECT cache_get(%s)", "") == "22023")
    is_right("another kind: 42804", sqlstate("SELECT cache_get(%s)", key + "bytes") == "42804")
    is_right("overflow: 22003", sqlstate("SELECT cache_incr(%s, %s)", key + "counter", 2**63 - 1) == "22003")


with psycopg.connect(autocommit=True) as connection:
    connection.execute("SET client_min_messages = warning")
    connection.execute("CREATE EXTENSION IF NOT EXISTS pgcache")
    client_side = psycopg.ClientCursor(connection)
    checks_of("simple", lambda sql, parameters: client_side.execute(sql, parameters).fetchall())
    checks_of("parameters", lambda sql, parameters: connection.execute(sql, parameters, prepare=False).fetchall())
    checks_of("prepared", lambda sql, parameters: connection.execute(sql, parameters, prepare=True).fetchall())
    connection.execute("SELECT cache_delete_matching('psycopg:%')")

sys.exit(1 if failed else 0)
