"""Calls a cloud through cs: connection and calls come as JSON on standard input, and for each call its value or what it raised goes as
JSON to standard output. `AIOCloudStack` is used when `asynchronous` is said."""

import asyncio
import json
import sys

from cs import AIOCloudStack, CloudStack, CloudStackApiException, CloudStackException


def raised(error):
    status = getattr(error.response, "status_code", None) or getattr(error.response, "status", None)
    return {
        "raised": type(error).__name__,
        "words": str(error.args[0]),
        "status": status,
        "error": getattr(error, "error", None),
    }


def call(cloud, command, params):
    try:
        return {"value": getattr(cloud, command)(**params)}
    except (CloudStackApiException, CloudStackException) as error:
        return raised(error)


async def call_later(cloud, command, params):
    try:
        return {"value": await getattr(cloud, command)(**params)}
    except (CloudStackApiException, CloudStackException) as error:
        return raised(error)


async def call_all_at_once(cloud, calls):
    return await asyncio.gather(*(call_later(cloud, command, params) for command, params in calls))


def main():
    given = json.load(sys.stdin)
    calls = given["calls"]
    if given["asynchronous"]:
        results = asyncio.run(call_all_at_once(AIOCloudStack(**given["connection"]), calls))
    else:
        cloud = CloudStack(**given["connection"])
        results = [call(cloud, command, params) for command, params in calls]
    json.dump(results, sys.stdout)


main()
