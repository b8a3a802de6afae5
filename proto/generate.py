"""Write the Python stubs of the protos: `python proto/generate.py [FOLDER]`, by default into `sdk/src`.

The stubs are checked in, so that nobody needs a compiler to use them; a test runs this into a temporary folder and
compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import (
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
STUBS = HERE.parent / "sdk" / "src"
PACKAGE = "asktell/v1"
INIT = '"""The protos of the contract as Python, written by `make proto`; never edit them."""\n'
TYPES_HEAD = '''"""Types of the service classes, which protoc does not write."""

from collections.abc import AsyncIterator, Awaitable

import grpc
import grpc.aio
'''


def generate(target: Path) -> list[Path]:
    """Write the stubs under `target`.

    Args:
        target: the folder that holds the package `asktell`.

    Returns:
        The files that were written.

    Raises:
        RuntimeError: the compiler refused a proto; it has said why on standard error.
    """
    folder = target / PACKAGE
    folder.mkdir(parents=True, exist_ok=True)
    described = _compile(target, folder / "descriptors.binpb")
    modules = {f".{file.package}.{m.name}": _module(file.name) for file in described.file for m in file.message_type}
    for file in described.file:
        if file.package != PACKAGE.replace("/", "."):
            continue
        classes = folder / f"{Path(file.name).stem}_pb2_grpc.py"
        if file.service:
            classes.with_suffix(".pyi").write_text(_types(file, modules))
        else:
            classes.unlink()
    (folder / "__init__.py").write_text(INIT)
    return sorted(path for path in folder.iterdir() if path.suffix in (".py", ".pyi"))


def _compile(target: Path, described: Path) -> FileDescriptorSet:
    protos = sorted(str(path.relative_to(HERE)) for path in (HERE / PACKAGE).glob("*.proto"))
    googles = Path(annotations_pb2.__file__).parents[2]
    includes = [HERE, Path(protoc.__file__).parent / "_proto", googles]
    outputs = [f"--{plugin}={target}" for plugin in ("python_out", "pyi_out", "grpc_python_out")]
    descriptors = ["--include_imports", f"--descriptor_set_out={described}"]
    if protoc.main(["protoc", *(f"-I{path}" for path in includes), *outputs, *descriptors, *protos]) != 0:
        raise RuntimeError("protoc failed")
    try:
        return FileDescriptorSet.FromString(described.read_bytes())
    finally:
        described.unlink()


def _module(proto: str) -> str:
    return proto.removesuffix(".proto").replace("/", ".") + "_pb2"


def _types(file: FileDescriptorProto, modules: dict[str, str]) -> str:
    used = {modules[t] for s in file.service for m in s.method for t in (m.input_type, m.output_type)}
    imports = "".join(
        f"from {module.rpartition('.')[0]} import {module.rpartition('.')[2]}\n" for module in sorted(used)
    )
    return TYPES_HEAD + imports + "".join(_service_types(service, modules) for service in file.service)


def _service_types(service: ServiceDescriptorProto, modules: dict[str, str]) -> str:
    """A stub for channels that block, one for channels of asyncio (for type checkers alone), and the servicer."""
    name = service.name
    lines = [f"class {name}Stub:", "    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None: ..."]
    lines += [f"    {m.name}: grpc.{_callable(m, modules)}" for m in service.method]
    lines += ["", f"class {name}AsyncStub:"]
    lines += [f"    {m.name}: grpc.aio.{_callable(m, modules)}" for m in service.method]
    lines += ["", f"class {name}Servicer:"]
    lines += [_method(m, modules) for m in service.method]
    servers = "grpc.Server | grpc.aio.Server"
    lines += ["", f"def add_{name}Servicer_to_server(servicer: {name}Servicer, server: {servers}) -> None: ..."]
    return "\n" + "\n".join(lines) + "\n"


def _names(method: MethodDescriptorProto, modules: dict[str, str]) -> tuple[str, str]:
    request, answer = (
        f"{modules[kind].rpartition('.')[2]}.{kind.rpartition('.')[2]}"
        for kind in (method.input_type, method.output_type)
    )
    return request, answer


def _callable(method: MethodDescriptorProto, modules: dict[str, str]) -> str:
    request, answer = _names(method, modules)
    kind = f"{'Stream' if method.client_streaming else 'Unary'}{'Stream' if method.server_streaming else 'Unary'}"
    return f"{kind}MultiCallable[{request}, {answer}]"


def _method(method: MethodDescriptorProto, modules: dict[str, str]) -> str:
    request, answer = _names(method, modules)
    takes = f"AsyncIterator[{request}]" if method.client_streaming else request
    gives = f"AsyncIterator[{answer}] | Awaitable[None]" if method.server_streaming else f"Awaitable[{answer}]"
    context = f"grpc.aio.ServicerContext[{request}, {answer}]"
    argument = "request_iterator" if method.client_streaming else "request"
    return f"    def {method.name}(self, {argument}: {takes}, context: {context}) -> {gives}: ..."


if __name__ == "__main__":
    for written in generate(Path(sys.argv[1]) if len(sys.argv) > 1 else STUBS):
        print(written)
