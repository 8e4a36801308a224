//! What the program says of itself: `version` and `completion`.

use quoin_cli::exit::Exit;
use quoin_cli::output;

use super::{Command, ROOT, Shell};

/// The release of etcd whose commands and outputs these are.
const ETCD_VERSION: &str = "3.7.1";
/// The version of the API that belongs to it.
const API_VERSION: &str = "3.7";

pub(super) fn version() -> Result<(), Exit> {
    output::print(&format!("etcdutl version: {ETCD_VERSION}\nAPI version: {API_VERSION}\n"))
}

/// Writes a script that completes the names of commands.
pub(super) fn completion(shell: Shell) -> Result<(), Exit> {
    let names = |command: &Command| {
        let names: Vec<&str> = command.subcommands.iter().map(|sub| sub.name).collect();
        names.join(" ")
    };
    let groups = || ROOT.subcommands.iter().filter(|command| !command.subcommands.is_empty());
    let script = match shell {
        Shell::Bash | Shell::Zsh => {
            let cases: String = groups()
                .map(|group| format!("    {}) words=\"{}\" ;;\n", group.name, names(group)))
                .collect();
            let head = if shell == Shell::Zsh {
                "autoload -U +X bashcompinit && bashcompinit\n"
            } else {
                ""
            };
            format!(
                "{head}_etcdutl() {{\n  local words\n  case \"${{COMP_WORDS[1]}}\" in\n{cases}    \
                 *) words=\"{}\" ;;\n  esac\n  if [ \"$COMP_CWORD\" -gt 2 ]; then\n    \
                 COMPREPLY=($(compgen -f -- \"${{COMP_WORDS[COMP_CWORD]}}\"))\n    return\n  fi\n  \
                 COMPREPLY=($(compgen -W \"$words\" -- \"${{COMP_WORDS[COMP_CWORD]}}\"))\n}}\n\
                 complete -F _etcdutl etcdutl\n",
                names(&ROOT)
            )
        }
        Shell::Fish => {
            let first =
                format!("complete -c etcdutl -n __fish_use_subcommand -xa \"{}\"\n", names(&ROOT));
            let others: String = groups()
                .map(|group| {
                    let (name, subcommands) = (group.name, names(group));
                    format!(
                        "complete -c etcdutl -n \"__fish_seen_subcommand_from {name}\" \
                         -a \"{subcommands}\"\n"
                    )
                })
                .collect();
            first + &others
        }
    };
    output::print(&script)
}
