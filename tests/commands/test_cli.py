"""The parser of `tunetrail`: every command's options are the arguments of the function that it calls."""

import argparse
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module

import pytest

from stages import cli


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield every parser of a command that has no actions of its own."""
    children = [a.choices.values() for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not children:
        yield parser
    for child in (child for choices in children for child in choices):
        yield from commands(child)


@pytest.mark.parametrize("command", commands(cli.parser()), ids=lambda command: command.prog)
def test_options_are_the_arguments_of_the_function(command: argparse.ArgumentParser) -> None:
    module, _, function = command.get_default("call").rpartition(".")
    options = {action.dest: None for action in command._actions if action.dest != "help"}
    inspect.signature(getattr(import_module(module), function)).bind(**options)


def test_help_imports_nothing_but_the_parser() -> None:
    program = (
        "import sys\nfrom stages import cli\ncli.parser().format_help()\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('stages', 'numpy', 'pydantic', 'torch')))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['stages', 'stages.cli', 'stages.errors', 'stages.stage', 'stages.terminal']"


@pytest.mark.parametrize(
    "line",
    [
        ["rate", "export", "--raters", "a", "--output", "x", "--rows", "-1"],
        ["rate", "export", "--raters", "a", "--output", "x", "--rows", "0"],
        ["judge", "--rows", "1.5"],
        ["benchmark", "export", "--output", "x", "--shots", "-1"],
        ["benchmark", "run", "arc", "--output", "x", "--limit", "0"],
    ],
    ids=" ".join,
)
def test_number_out_of_range_is_refused_by_name(line, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.parser().parse_args(line)
    assert stopped.value.code == 2
    assert re.search(
        rf"argument {line[-2]}: '{line[-1]}': must be a whole number of at least [01]$", capsys.readouterr().err.strip()
    )
