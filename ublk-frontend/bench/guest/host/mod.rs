//! The side of `cargo bench`: fetches what is needed, boots a guest for each quantity, prints the table.

#[path = "../../../tests/real_kernel/host/apt.rs"]
mod apt;
mod boot;
#[path = "../../../tests/real_kernel/host/cpio.rs"]
mod cpio;
mod figures;
#[path = "../../../tests/real_kernel/host/initramfs.rs"]
mod initramfs;
#[path = "../../../tests/real_kernel/host/parts.rs"]
mod parts;
mod rublk;
mod table;
#[path = "../../../tests/real_kernel/host/vm.rs"]
mod vm;

use std::process::ExitCode;

use clap::Parser;

use crate::kernel::Kernel;
use crate::rows::{Quantity, Row};
use figures::Figures;

/// Something that is needed is not here, in one line.
#[derive(Clone, Debug)]
struct Missing(String);

impl From<std::io::Error> for Missing {
    fn from(error: std::io::Error) -> Missing {
        Missing(error.to_string())
    }
}

/// Block devices side by side on a real kernel, in a guest of this machine.
#[derive(Debug, Parser)]
struct Cli {
    /// The guest's kernel.
    #[arg(long, default_value = Kernel::Newest.name(), value_parser = kernel)]
    kernel: Kernel,
    /// How often everything is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Only these rows, by name.
    #[arg(long, value_delimiter = ',', value_parser = row)]
    rows: Vec<Row>,
    /// Only this: instructions or iops.
    #[arg(long, value_parser = quantity)]
    only: Option<Quantity>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn kernel(name: &str) -> Result<Kernel, String> {
    let mut all = Kernel::ALL.into_iter();
    all.find(|kernel| kernel.name() == name)
        .ok_or_else(|| format!("one of {:?}", Kernel::ALL.map(Kernel::name)))
}

fn row(name: &str) -> Result<Row, String> {
    let mut all = Row::ALL.into_iter();
    all.find(|row| row.name() == name)
        .ok_or_else(|| format!("one of {:?}", Row::ALL.map(Row::name)))
}

fn quantity(name: &str) -> Result<Quantity, String> {
    let mut all = Quantity::ALL.into_iter();
    all.find(|quantity| quantity.name() == name)
        .ok_or_else(|| format!("one of {:?}", Quantity::ALL.map(Quantity::name)))
}

pub(super) fn main() -> ExitCode {
    let cli = Cli::parse();
    let rows = match cli.rows.is_empty() {
        true => Row::ALL.to_vec(),
        false => cli.rows,
    };
    let mut figures = Figures::new(cli.kernel, cli.rounds);
    if let Err(Missing(what)) = boot::measure(&rows, cli.only, &mut figures) {
        eprintln!("nothing can be measured: {what}");
        return ExitCode::FAILURE;
    }
    if cli.json {
        println!("{}", table::json(&rows, &figures));
    } else {
        print!("{}", table::text(&rows, cli.only, &figures));
    }
    match figures.is_whole() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
