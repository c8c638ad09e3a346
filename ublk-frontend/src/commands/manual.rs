//! `man` and `completions`: made from the command line's own description.

use std::io::{self, Write};

use clap::CommandFactory;

use crate::cli::{Cli, Completions};
use crate::tool::ToolError;
use crate::tool::output::Output;

fn all(bytes: &[u8], out: &mut Output<impl Write>) -> Result<(), ToolError> {
    out.text(String::from_utf8_lossy(bytes))
}

/// The manual page, one section a command.
pub fn man(out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    let render = |page: &mut Vec<u8>| -> io::Result<()> {
        clap_mangen::Man::new(command.clone()).render(page)?;
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            writeln!(page, ".SH {}", sub.get_name().to_uppercase())?;
            let man = clap_mangen::Man::new(sub.clone());
            man.render_synopsis_section(page)?;
            man.render_description_section(page)?;
            man.render_options_section(page)?;
        }
        Ok(())
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
