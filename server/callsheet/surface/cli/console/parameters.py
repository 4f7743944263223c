"""The arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from .completion import complete_gateways, complete_models, complete_open_sheets, complete_tasks

Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for machines.")]
SheetArgument = Annotated[
    str, typer.Argument(metavar="SHEET", help="The sheet's id.", autocompletion=complete_open_sheets)
]
TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="The task's id.", autocompletion=complete_tasks)]
GatewayOption = Annotated[
    str | None, typer.Option("--gateway", metavar="NAME", help="The gateway.", autocompletion=complete_gateways)
]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="ID", help="The gateway's model id.", autocompletion=complete_models)
]

__all__ = ["GatewayOption", "Json", "ModelOption", "SheetArgument", "TaskArgument"]
