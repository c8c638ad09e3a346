//! `man` and `completions`: made from the command line's own description.

use std::io::{self, Write};

use clap::{Command, CommandFactory};

use crate::cli::{Cli, Completions};
use crate::tool::ToolError;
use crate::tool::output::Output;

fn all(bytes: &[u8], out: &mut Output<impl Write>) -> Result<(), ToolError> {
    out.text(String::from_utf8_lossy(bytes))
}

/// A section for each command below this one, and for those below it.
fn sections(above: &str, command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    for sub in command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        let name = format!("{above}{}", sub.get_name());
        writeln!(page, ".SH {}", name.to_uppercase())?;
        let man = clap_mangen::Man::new(sub.clone());
        man.render_synopsis_section(page)?;
        man.render_description_section(page)?;
        man.render_options_section(page)?;
        sections(&format!("{name} "), sub, page)?;
    }
    Ok(())
}

/// The manual page, one section a command.
pub fn man(out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    let render = |page: &mut Vec<u8>| -> io::Result<()> {
        clap_mangen::Man::new(command.clone()).render(page)?;
        sections("", &command, page)
    };
    render(&mut page).map_err(ToolError::Output)?;
    all(&page, out)
}

/// Completions for a shell.
pub fn completions(asked: &Completions, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let mut script = Vec::new();
    clap_complete::generate(asked.shell, &mut Cli::command(), "ploop-ublk", &mut script);
    all(&script, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_nested_commands() {
        let mut page = Vec::new();
        man(&mut Output::new(&mut page)).expect("made");
        let page = String::from_utf8(page).expect("text");
        for section in ["ADD", "SNAPSHOT CREATE", "SNAPSHOT MERGE"] {
            assert!(page.contains(&format!(".SH {section}\n")), "{section}");
        }
        assert!(!page.contains(" HELP\n"), "clap's own help is no command");
    }
}
