"""A plugin of the generator: a mock for each client, inside the generated module, through its insertion points.

    --restate_opt=plugins=client_mocks

`StockClientMock` has what `StockClient` has. A test sets answers and looks at the requests that came:

    stock = StockClientMock()
    stock.add.return_value = Level(amount=3)
    ...
    stock.add.assert_awaited_once_with(AddRequest(item_id="a"))
"""

from __future__ import annotations

from collections.abc import Sequence

from protoc_gen_restate.hooks import OutputFile, hookimpl
from protoc_gen_restate.model import Contract, Service
from protoc_gen_restate.naming import output_name
from protoc_gen_restate.options import Options


@hookimpl
def files(contract: Contract, options: Options) -> Sequence[OutputFile]:
    found = []
    for file in contract.files:
        if file.services:
            module = output_name(file.name, options.suffix)
            found.append(OutputFile(module, "import unittest.mock as _mock\n", insertion_point="imports"))
            found.append(OutputFile(module, "\n\n".join(map(mock, file.services)), insertion_point="module"))
    return found


def mock(service: Service) -> str:
    """The class for one client."""
    lines = [f"class {service.python_name}ClientMock:", f'    """Stands in for {service.python_name}Client in tests."""', ""]
    lines.append("    def __init__(self) -> None:")
    for method in service.methods:
        lines += [
            f"        self.{method.python_name} = _mock.AsyncMock()",
            f"        self.{method.python_name}.in_background = _mock.Mock()",
            f"        self.{method.python_name}.delayed = _mock.Mock()",
        ]
    if not service.methods:
        lines.append("        pass")
    return "\n".join(lines) + "\n"
