use sim::fuzzing::control::{Stats, converting, stack};
use sim::report::Failure;
use sim::tape::Tape;

fn all(run: impl Fn(&mut Tape) -> Result<Stats, Failure>) -> u64 {
    let mut runs = 0;
    for seed in 0..3000 {
        match run(&mut Tape::from_seed(seed)) {
            Ok(stats) => runs += stats.runs,
            Err(failure) => panic!("seed {seed}: {failure}"),
        }
    }
    runs
}

/// Closed or not, an image with m_Flags bit 1 is read and never written.
#[test]
fn an_image_in_the_middle_of_a_conversion_is_never_written() {
    assert_eq!(all(converting::run), 3000);
}

/// Whatever the sizes: core and model read the same, and a larger disk ends in zeros.
#[test]
fn stacks_of_any_sizes() {
    let grown = all(stack::run);
    assert!((1000..2900).contains(&grown), "{grown} of 3000 fit");
}
