//! The side of `cargo test`: every step of every guest is a test, `KERNEL::STEP`; two more a kernel judge the guest as a
//! whole (`KERNEL::guest`: it ended by itself and its kernel did not complain) and the images that it handed out
//! (`KERNEL::qemu-img-check`). One more is about this machine: what systemd says of the unit file.
//!
//! Guests boot when the first test of theirs is wanted; they run at the same time, one thread each.

mod apt;
mod cpio;
mod exported;
mod guests;
mod initramfs;
mod parts;
mod qemu_tools;
mod unit;
mod vm;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::steps::Kernel;
use guests::Guests;

/// Something that is needed is not here, in one line.
#[derive(Clone, Debug)]
struct Missing(String);

impl From<std::io::Error> for Missing {
    fn from(error: std::io::Error) -> Missing {
        Missing(error.to_string())
    }
}

/// The variable that skips everything here.
const SKIP: &str = "PLOOP_SKIP_REAL_KERNEL";

/// A test's name.
fn name(kernel: Kernel, what: &str) -> String {
    format!("{}::{what}", kernel.name())
}

/// Would libtest run a test of this name?
fn wanted(arguments: &Arguments, name: &str) -> bool {
    let matches = |pattern: &String| {
        if arguments.exact {
            name == pattern
        } else {
            name.contains(pattern.as_str())
        }
    };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}

pub(super) fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let skipped = std::env::var_os(SKIP).is_some_and(|value| value == "1");
    if skipped && !arguments.list {
        println!("\n*** {SKIP}=1: NO TEST ON A REAL KERNEL IS RUN ***\n");
    }
    let names: Vec<(Kernel, String)> = Kernel::ALL
        .into_iter()
        .flat_map(|kernel| guests::tests(kernel).map(move |test| (kernel, test)))
        .collect();
    let chosen = names
        .iter()
        .filter(|(kernel, test)| wanted(&arguments, &name(*kernel, test)));
    let guests = Arc::new(Guests::new(chosen.cloned().collect()));
    let trials = names.into_iter().map(|(kernel, test)| {
        let guests = Arc::clone(&guests);
        let judge = {
            let test = test.clone();
            move || match guests.result(kernel, &test) {
                Ok(found) => {
                    println!("{}: {found}", name(kernel, &test));
                    Ok(())
                }
                Err(why) => Err(Failed::from(why)),
            }
        };
        Trial::test(name(kernel, &test), judge).with_ignored_flag(skipped)
    });
    let unit = || {
        unit::check(&guests::cache())
            .map(|found| println!("{}: {found}", unit::TEST))
            .map_err(Failed::from)
    };
    let unit = Trial::test(unit::TEST, unit).with_ignored_flag(skipped);
    let trials = trials.chain(std::iter::once(unit)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
