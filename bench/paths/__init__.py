"""One module a path: `async def measure(lab, options, tell) -> list[Figure]`."""
