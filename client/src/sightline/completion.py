"""Completion of the command line by a shell, made of its parser."""

from __future__ import annotations

import argparse

# Both shells read all of it: what one of them does not run has to be something that it can read.
SCRIPT = """\
# Completion of sightline by bash or zsh: source <(sightline completion)
_sightline_words() {{ # the last word, and those between the command and it; none where a file may stand
  local current=$1 word commands="{commands}" options="{options}"
  shift
  for word in "$@"; do
    case $word in
{cases}
    esac
  done
  case $current in
    -*) echo "$options" ;;
    *) echo "$commands" ;;
  esac
}}
if [ -n "${{ZSH_VERSION:-}}" ]; then
  _sightline() {{
    local found
    found=$(_sightline_words "${{words[CURRENT]}}" "${{words[@]:1:$((CURRENT - 2))}}")
    if [ -n "$found" ]; then compadd -- $(echo "$found"); else _files; fi
  }}
  typeset -f compdef >/dev/null || {{ autoload -U compinit && compinit; }}
  compdef _sightline sightline
else
  _sightline() {{
    local current=${{COMP_WORDS[COMP_CWORD]}}
    COMPREPLY=($(compgen -W "$(_sightline_words "$current" "${{COMP_WORDS[@]:1:$((COMP_CWORD - 1))}}")" -- "$current"))
  }}
  complete -o default -F _sightline sightline
fi
"""


def script(parser: argparse.ArgumentParser) -> str:
    """Return a script for bash and zsh that completes the commands of a parser, their options, and files."""
    [commands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    cases = "\n".join(
        f'      {name}) commands="" options="{" ".join(_options(each))}" ;;' for name, each in commands.choices.items()
    )
    return SCRIPT.format(commands=" ".join(commands.choices), options=" ".join(_options(parser)), cases=cases)


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
