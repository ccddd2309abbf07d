//! Writes man pages and shell completions, as an installation has them below `/usr/share`: `pages DIRECTORY`.

use clap::Command;
use clap_complete::Shell;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where each shell looks for its completions, and by which name.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions/aril"),
    (Shell::Zsh, "zsh/site-functions/_aril"),
    (Shell::Fish, "fish/vendor_completions.d/aril.fish"),
];

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return ExitCode::from(2);
    };
    match write(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn write(directory: &Path) -> io::Result<()> {
    for (name, text) in manual()? {
        put(&directory.join("man/man8").join(name), &text)?;
    }
    for (shell, path) in SHELLS {
        put(&directory.join(path), &completion(shell))?;
    }
    Ok(())
}

fn put(path: &Path, text: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(path, text)
}

fn completion(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut aril::cli::definition(), "aril", &mut text);
    text
}

/// `aril.8`, and a page for each command: `aril-create.8`.
fn manual() -> io::Result<Vec<(String, Vec<u8>)>> {
    let all = aril::cli::definition().disable_help_subcommand(true);
    let commands: Vec<Command> = all.get_subcommands().cloned().collect();
    let mut pages = vec![page("aril", all)?];
    for command in commands {
        let name = format!("aril-{}", command.get_name());
        let usage = name.replacen('-', " ", 1);
        pages.push(page(&name, command.display_name(name.clone()).bin_name(usage))?);
    }
    Ok(pages)
}

fn page(name: &str, command: Command) -> io::Result<(String, Vec<u8>)> {
    let mut text = Vec::new();
    let source = format!("aril {}", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command).section("8").source(source).manual("aril").render(&mut text)?;
    let text = String::from_utf8_lossy(&text).replace(".SH EXTRA\n", ".SH EXAMPLES\n");
    Ok((format!("{name}.8"), text.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{SHELLS, completion, manual};

    fn names() -> Vec<String> {
        aril::cli::definition().get_subcommands().map(|command| command.get_name().to_owned()).collect()
    }

    #[test]
    fn every_command_has_a_page_with_its_flags() {
        let pages: Vec<_> =
            manual().expect("pages").into_iter().map(|(name, text)| (name, String::from_utf8(text).expect("text"))).collect();
        let of = |name: &str| &pages.iter().find(|(page, _)| page == name).unwrap_or_else(|| panic!("no page {name}")).1;
        for command in aril::cli::definition().get_subcommands() {
            let text = of(&format!("aril-{}.8", command.get_name()));
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{text}");
            for flag in command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(|arg| arg.get_long()) {
                assert!(text.contains(&format!("\\-\\-{}", flag.replace('-', "\\-"))), "aril {} --{flag}: {text}", command.get_name());
            }
            assert!(text.contains(".SH EXAMPLES"), "{text}");
        }
        let main = of("aril.8");
        for name in names() {
            assert!(main.contains(&format!("aril\\-{name}(8)")), "{name}: {main}");
        }
    }

    #[test]
    fn every_command_is_completed() {
        for (shell, _) in SHELLS {
            let text = String::from_utf8(completion(shell)).expect("text");
            for name in names() {
                assert!(text.contains(&name), "{shell}: {name}");
            }
            assert!(text.contains("cgroup-manager") && text.contains("cgroupfs"), "{shell}");
        }
    }
}
