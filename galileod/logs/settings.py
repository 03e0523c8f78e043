"""`[log]`: what is written to standard error."""

from typing import Literal

from attrs import frozen

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "json"]


@frozen
class Log:
    """`[log]`: what is written to standard error."""

    level: LogLevel = "info"
    format: LogFormat = "auto"
