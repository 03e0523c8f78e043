"""`[log]`: level and format of the log."""

from typing import Literal

from attrs import frozen

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "json"]


@frozen
class Log:
    """`[log]`: the lowest level that is written to standard error, and the format."""

    level: LogLevel = "info"
    format: LogFormat = "auto"
