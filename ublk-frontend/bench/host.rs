//! The queue driver beside QEMU's, on the files of this machine, without ublk: `cargo bench -p ublk-frontend --bench host`.
//!
//! `ploop-ublk bench` and `qemu-img bench -i io_uring -t none`, the same requests, in turns; medians of the rounds, and ratios
//! to QEMU on a raw file. Figures of one run can be compared with each other, and with nothing else.
//! `PLOOP_BENCH_DIR` says where the files are (2 GiB; default: cargo's folder for temporary files), `PLOOP_BENCH_ROUNDS` how
//! often each is measured (5).

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const OURS: &str = env!("CARGO_BIN_EXE_ploop-ublk");
/// Virtual size of each disk.
const DISK: &str = "512M";

/// What is measured.
struct Row {
    name: &'static str,
    /// Begins with an empty image each time.
    fresh: bool,
    count: u64,
    size: u64,
    step: u64,
    flags: &'static [&'static str],
}

const fn row(
    name: &'static str,
    fresh: bool,
    count: u64,
    size: u64,
    step: u64,
    flags: &'static [&'static str],
) -> Row {
    Row {
        name,
        fresh,
        count,
        size,
        step,
        flags,
    }
}

const WRITE: &[&str] = &["-w"];
const ROWS: &[Row] = &[
    row(
        "write 4k, first touch, one a cluster",
        true,
        500,
        4096,
        1 << 20,
        WRITE,
    ),
    row(
        "write 64k, first touch, in order",
        true,
        8000,
        65536,
        65536,
        WRITE,
    ),
    row("read 4k, mapped", false, 40000, 4096, 4096, &[]),
    row("write 4k, mapped", false, 40000, 4096, 4096, WRITE),
    row(
        "write 4k, mapped, flush each 64",
        false,
        6400,
        4096,
        4096,
        &["-w", "--flush-interval=64"],
    ),
    row("read 1M, mapped", false, 500, 1 << 20, 1 << 20, &[]),
    row("write 1M, mapped", false, 500, 1 << 20, 1 << 20, WRITE),
];

/// Who is measured: the format for QEMU, or us.
const WHO: &[&str] = &["qemu raw", "qemu parallels", "qemu qcow2", "ploop-ublk"];

/// Operations a second, and microseconds of processor time for each.
#[derive(Clone, Copy)]
struct Figure {
    iops: f64,
    cpu: f64,
}

fn file(folder: &Path, who: &str) -> PathBuf {
    folder.join(who.replace(' ', "-"))
}

/// Runs a program to its end. Its output, or why there is none.
fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ended = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    if ended.status.success() {
        return Ok(said);
    }
    let why = String::from_utf8_lossy(&ended.stderr).into_owned();
    Err(why.lines().last().unwrap_or("failed").to_owned())
}

fn create(folder: &Path, who: &str) -> Result<(), String> {
    let path = file(folder, who);
    // It may not be there.
    let _ = std::fs::remove_file(&path);
    match who.strip_prefix("qemu ") {
        Some(format) => {
            let mut command = Command::new("qemu-img");
            command
                .args(["create", "-q", "-f", format])
                .arg(path)
                .arg(DISK);
            output(&mut command)
        }
        None => output(
            Command::new(OURS)
                .arg("create")
                .arg(path)
                .args(["--size", DISK]),
        ),
    }
    .map(drop)
}

fn measure(folder: &Path, who: &str, row: &Row) -> Result<Figure, String> {
    let path = file(folder, who);
    let numbers = |step: &str| {
        vec![
            format!("-c{}", row.count),
            "-d64".to_owned(),
            format!("-s{}", row.size),
            format!("{step}{}", row.step),
        ]
    };
    match who.strip_prefix("qemu ") {
        Some(format) => {
            // The shell tells the processor time of its child.
            let mut command = Command::new("bash");
            command
                .args([
                    "-c",
                    "TIMEFORMAT='cpu %U %S'; { time \"$@\"; } 2>&1",
                    "bash",
                    "qemu-img",
                    "bench",
                ])
                .args(["-f", format, "-t", "none", "-i", "io_uring"])
                .args(numbers("-S"))
                .args(row.flags)
                // As ours does: a flush waits for nobody.
                .args(
                    row.flags
                        .iter()
                        .any(|flag| flag.starts_with("--flush"))
                        .then_some("--no-drain"),
                )
                .arg(path);
            qemu_figure(&output(&mut command)?, row.count)
        }
        None => {
            let mut command = Command::new(OURS);
            command
                .args(["bench", "--json", "--direct=on"])
                .args(numbers("--step="))
                .args(row.flags)
                .arg(path);
            let text = output(&mut command)?;
            let value: serde_json::Value =
                serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let number = |key: &str| value[key].as_f64().ok_or(format!("no {key} in {text}"));
            Ok(Figure {
                iops: number("iops")?,
                cpu: number("cpu_us_per_request")?,
            })
        }
    }
}

fn qemu_figure(text: &str, count: u64) -> Result<Figure, String> {
    let word_after = |start: &str, nth: usize| {
        let line = text.lines().find(|line| line.starts_with(start));
        let word = line.and_then(|line| line.split_whitespace().nth(nth));
        word.and_then(|word| word.parse::<f64>().ok())
            .ok_or_else(|| format!("cannot be read: {text}"))
    };
    let seconds = word_after("Run completed in", 3)?;
    let cpu = word_after("cpu", 1)? + word_after("cpu", 2)?;
    Ok(Figure {
        iops: count as f64 / seconds,
        cpu: cpu * 1e6 / count as f64,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// All rounds of a row, everybody in turn. A peer that cannot be measured says why.
fn rounds(folder: &Path, row: &Row, rounds: usize) -> Vec<Result<Figure, String>> {
    let mut figures: Vec<Result<Vec<Figure>, String>> =
        WHO.iter().map(|_| Ok(Vec::new())).collect();
    for _ in 0..rounds {
        for (who, figures) in WHO.iter().zip(&mut figures) {
            let Ok(list) = figures else { continue };
            let measured = match row.fresh {
                true => create(folder, who),
                false => Ok(()),
            }
            .and_then(|()| measure(folder, who, row));
            match measured {
                Ok(figure) => list.push(figure),
                Err(why) => *figures = Err(why),
            }
        }
    }
    let middle = |list: Vec<Figure>| Figure {
        iops: median(list.iter().map(|figure| figure.iops).collect()),
        cpu: median(list.iter().map(|figure| figure.cpu).collect()),
    };
    figures.into_iter().map(|list| list.map(middle)).collect()
}

fn main() -> ExitCode {
    let folder = std::env::var_os("PLOOP_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let folder = folder.join("side-by-side");
    let count = std::env::var("PLOOP_BENCH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5);
    if let Err(error) = std::fs::create_dir_all(&folder) {
        eprintln!("{}: {error}", folder.display());
        return ExitCode::FAILURE;
    }
    println!(
        "medians of {count} rounds in {}; 64 under way; ratios to QEMU on a raw file",
        folder.display()
    );
    for one in ROWS {
        println!("\n{}", one.name);
        let figures = rounds(&folder, one, count);
        let raw = figures[0].as_ref().ok().copied();
        for (who, figure) in WHO.iter().zip(figures) {
            match (figure, raw) {
                (Ok(Figure { iops, cpu }), Some(raw)) => println!(
                    "  {who:<16}{iops:>10.0} IOPS {:>6.2} x  {cpu:>9.2} CPU us/op {:>6.2} x",
                    iops / raw.iops,
                    cpu / raw.cpu
                ),
                (Ok(Figure { iops, cpu }), None) => {
                    println!("  {who:<16}{iops:>10.0} IOPS           {cpu:>9.2} CPU us/op")
                }
                (Err(why), _) => println!("  {who:<16}not measured: {why}"),
            }
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    ExitCode::SUCCESS
}
