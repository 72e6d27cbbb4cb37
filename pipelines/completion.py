"""``bench completion``: what a shell needs to complete commands, options and names."""

import argparse

import shtab

from pipelines.files import STATE

# Names are kept in a file until a declaration, a register of claims or params.yaml is newer: asking takes two seconds.
_NAMES = f"""
_bench_names() {{ (
  cd "$(git rev-parse --show-toplevel 2>/dev/null || pwd)" 2>/dev/null && [ -f params.yaml ] || exit
  names={STATE}/names
  newer=$(find params*.yaml benchmarks/studies -name '*.yaml' -newer $names -o -name study.py -newer $names)
  if [ ! -f $names ] || [ -n "$newer" ]; then
    mkdir -p {STATE} && bench names > $names.$$ && mv $names.$$ $names
  fi
  awk -v kinds=" $* " 'index(kinds, " " $1 " ") {{ print $2 }}' $names
) 2>/dev/null; }}"""
_FUNCTION = {
    "bash": '{name}() {{ compgen -W "$(_bench_names {kinds})" -- "$1"; }}',
    "zsh": '{name}() {{ compadd -- ${{(f)"$(_bench_names {kinds})"}}; }}',
}


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion of every command in a shell's language.

    Args:
        parser: whose arguments have ``complete["bash"]``, ``_bench_KIND_KIND...``, where they take names of kinds.
        shell: bash or zsh.
    """
    (commands,) = [action for action in parser._actions if action.dest == "command"]
    commands.help = ""  # shtab leaves out what help does not list
    arguments = [argument for command in commands.choices.values() for argument in command._actions]
    taken = {argument.complete[shell] for argument in arguments if hasattr(argument, "complete")}
    functions = [
        _FUNCTION[shell].format(name=name, kinds=name.removeprefix("_bench_").replace("_", " "))
        for name in sorted(taken)
    ]
    return shtab.complete(parser, shell, preamble={shell: "\n".join([_NAMES, *functions])})
