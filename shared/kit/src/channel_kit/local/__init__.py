"""A real PostgreSQL and a real Kafka on one machine, with nothing installed beforehand.

Owns how the two servers are prepared, started as child processes, recognised as ready and stopped. Never used
by a service: only the command line (`qudao up`) and the tests start servers. Each server is described by
`channel_kit.local.server.Server`, so that a supervisor and a test fixture run the very same process.
"""
